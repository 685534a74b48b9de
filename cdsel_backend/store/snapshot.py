"""What the store holds of one project, read once as it stands."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from cdsel_backend.settings import ProjectSettings, Resolved, resolve_project
from cdsel_backend.store.arrays import Answers, TaskArrays
from cdsel_backend.store.problems import DISCONNECTED, Problem
from cdsel_backend.store.records import (
    Annotation,
    Annotator,
    AuditEntry,
    Copy,
    Directive,
    Item,
    Project,
    QueueTask,
    Round,
    Selection,
    Training,
)
from cdsel_backend.store.store import Store


class Snapshot:
    """One project's rows, each kind read when it is first asked for. "Items" are images, by our ids.

    Attributes:
        project: the project's row.
        resolved: its settings, and where each came from.
    """

    def __init__(self, store: Store, project: int) -> None:
        self._store = store
        self.project: Project = store.project(project)
        self.resolved: Resolved = resolve_project(self.project.layers)

    @property
    def store(self) -> Store:
        """Where it was read."""
        return self._store

    @property
    def settings(self) -> ProjectSettings:
        """The settings in force; a pool outside Label Studio has no tasks that could be delivered in place."""
        found = self.resolved.settings
        outside = self.queue_is_pool and found.delivery == "in_place"
        return found.model_copy(update={"delivery": "queue_project"}) if outside else found

    @cached_property
    def items(self) -> list[Item]:
        """Every image that ever was in the pool."""
        return self._store.items(self.project.id)

    @property
    def queue_is_pool(self) -> bool:
        """Whether the connected project is the queue, because the pool lies outside Label Studio."""
        return self.project.queue_project == self.project.pool_project

    @property
    def item_count(self) -> int:
        """How many images are in the pool."""
        return self._store.embedding_progress(self.project.id).items

    @cached_property
    def problems(self) -> list[Problem]:
        """The problems that nobody dismissed."""
        return [problem for problem in self._store.problems(self.project.id) if problem.dismissed is None]

    def present(self, items: Collection[int]) -> set[int]:
        """The images, of some, that are in the pool and can be used."""
        return self._store.usable(items)

    @cached_property
    def annotations(self) -> list[Annotation]:
        """Every annotation in Label Studio."""
        return self._store.labels(self.project.id)

    @cached_property
    def _answers(self) -> Answers:
        """Every annotation as arrays, and those of contested items as records."""
        return self._store.answers(self.project.id)

    @cached_property
    def directives(self) -> dict[int, Directive]:
        """Item -> what an admin wants of it, in the order in which that was said."""
        return self._store.directives(self.project.id)

    @property
    def excluded(self) -> set[int]:
        """Items that an admin excluded: they are never selected."""
        return {item for item, wanted in self.directives.items() if wanted is Directive.EXCLUDED}

    @cached_property
    def selections(self) -> list[Selection]:
        """Every image that was ever selected, in rank order."""
        return self._store.selections(self.project.id)

    @cached_property
    def copies(self) -> list[Copy]:
        """Further tasks of images in the queue, in rank order: second readings, and moves to another queue."""
        return self._store.copies(self.project.id)

    @cached_property
    def tasks(self) -> list[QueueTask]:
        """Every task in a queue: first tasks in rank order, then copies."""
        return [row for row in (*self.selections, *self.copies) if row.live]

    @cached_property
    def deleted_tasks(self) -> list[QueueTask]:
        """Every task that was in a queue and was deleted there: first tasks in rank order, then copies."""
        return [row for row in (*self.selections, *self.copies) if row.withdrawn_at is not None]

    @cached_property
    def annotators(self) -> dict[str, Annotator]:
        """Every account that the setting `annotators` named once: e-mail -> its row."""
        return {row.email: row for row in self._store.annotators(self.project.id)}

    @cached_property
    def queues(self) -> dict[str, int]:
        """Whose queue -> its project in Label Studio; "" is everyone's. Also queues of people who have left."""
        found = {email: row.queue_project for email, row in self.annotators.items() if row.queue_project}
        return ({"": self.project.queue_project} if self.project.queue_project else {}) | found

    @property
    def sources(self) -> list[int]:
        """The projects of Label Studio that concern this one: the pool, and every queue."""
        return [self.project.pool_project, *self.queues.values()]

    @cached_property
    def in_queues(self) -> TaskArrays:
        """Every task that is, was or is to be in a queue, as arrays: first tasks in rank order, then copies."""
        return self._store.queue_tasks(self.project.id)

    @property
    def last_rank(self) -> int:
        """The highest rank given so far, 0 before the first."""
        return int(self.in_queues.rank.max(initial=0))

    @cached_property
    def rounds(self) -> list[Round]:
        """The rounds so far, oldest first."""
        return self._store.rounds(self.project.id)

    @cached_property
    def trainings(self) -> list[Training]:
        """The trainings so far, oldest first."""
        return self._store.trainings(self.project.id)

    @cached_property
    def versions(self) -> dict[str, Training]:
        """The model versions so far, oldest first, and the training that each came of."""
        return {row.version: row for row in self.trainings if row.version}

    @property
    def unexplained(self) -> Training | None:
        """The newest training that made a model, while its insight is still to be computed."""
        newest = next(reversed(self.versions.values()), None)
        return newest if newest is not None and not newest.explained else None

    @property
    def with_insight(self) -> Training | None:
        """The newest training that has an insight (`reconcile/insight.py`)."""
        return next((row for row in reversed(self.trainings) if row.metrics.get("insight")), None)

    @cached_property
    def champion_changes(self) -> list[AuditEntry]:
        """The audit's rows on which model serves, newest first: what was promoted or taken back by hand."""
        return self._store.audit(self.project.id, names=("champion",))

    @property
    def disconnected(self) -> bool:
        """Whether an admin removed this backend from the project in Label Studio."""
        return DISCONNECTED in self.project.problems

    @property
    def stopped(self) -> bool:
        """Whether nothing is selected or pushed: an admin paused the project, or removed this backend from it."""
        return self.settings.paused or self.disconnected

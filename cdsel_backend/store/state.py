"""One project's state as it stands, and what follows from it: nothing here is stored."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from cdsel_backend.labels import majority
from cdsel_backend.labels.pace import Pace, measure_pace
from cdsel_backend.settings import ProjectSettings, Resolved, environment_layer, resolve
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


class State:
    """A snapshot of one project, each part read when it is first asked for. "Items" are images, by our ids.

    Attributes:
        project: the project's row.
        resolved: its settings, and where each came from.
    """

    def __init__(self, store: Store, project: int) -> None:
        self._store = store
        self.project: Project = store.project(project)
        self.resolved: Resolved = resolve({"environment": environment_layer()[0], **self.project.layers})

    @property
    def store(self) -> Store:
        """Where it was read."""
        return self._store

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
        return self._store.embedding_progress(self.project.id)[2]

    @cached_property
    def problems(self) -> list[Problem]:
        """What is wrong and was not dismissed."""
        return [problem for problem in self._store.problems(self.project.id) if problem.dismissed is None]

    def present(self, items: Collection[int]) -> set[int]:
        """Those of some images that are in the pool and can be used."""
        found = self._store.items_by_id(items).values()
        return {row.id for row in found if not row.gone and row.problem is None}

    @cached_property
    def annotations(self) -> list[Annotation]:
        """Every annotation in Label Studio."""
        return self._store.labels(self.project.id)

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
    def withdrawn(self) -> set[int]:
        """Items whose every task was deleted before a label came in: they are not selected again."""
        return {row.item for row in self.deleted_tasks} - self.pushed - self.labels.keys()

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
    def staff(self) -> dict[str, int | None]:
        """Whose queues are filled now, and how many images each may get in all; {"": None} without `annotators`.

        An account that Label Studio does not know is not among them.
        """
        if not self.settings.annotators or self.settings.delivery == "in_place":
            return {"": None}
        known = self.annotators
        return {
            email: quota
            for email, quota in self.settings.annotators.items()
            if email in known and known[email].user is not None
        }

    @cached_property
    def placed(self) -> dict[str, set[int]]:
        """Whose queue -> the items that are in it, whatever became of them, or were labelled before they left it."""
        placed: dict[str, set[int]] = {name: set() for name in (*self.staff, *self.queues)}
        labelled = (row for row in self.deleted_tasks if row.item in self.labels)
        for row in (*self.tasks, *labelled):
            placed.setdefault(row.annotator, set()).add(row.item)
        return placed

    @cached_property
    def places(self) -> dict[str, int]:
        """Whose queue -> how many more images it may get; everyone's is bounded by the budget alone."""
        return {
            name: self.left if quota is None else max(0, quota - len(self.placed[name]))
            for name, quota in self.staff.items()
        }

    @property
    def last_rank(self) -> int:
        """The highest rank given so far, 0 before the first."""
        return max((row.rank for row in (*self.selections, *self.copies)), default=0)

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
    def settings(self) -> ProjectSettings:
        """The settings in force."""
        return self.resolved.settings

    @cached_property
    def labels(self) -> dict[int, str]:
        """Item -> the label that counts: `majority` of the readings that decide."""
        return {item: majority(rows) for item, rows in self.deciding.items() if rows[0].label is not None}

    @cached_property
    def deciding(self) -> dict[int, list[Annotation]]:
        """Item -> its readings, or those alone that are marked as ground truth in Label Studio where any is.

        One of these that gives a class that is not learned, as for "cannot tell", leaves the image without a label.
        """
        deciding = dict(self.readings)
        marked: dict[int, list[Annotation]] = {}
        for row in self.annotations:
            if row.ground_truth and row.label is None and row.question is None and row.ignored is not None:
                marked.setdefault(row.item, []).append(row)
        for item, rows in self.readings.items():
            if true := [row for row in rows if row.ground_truth]:
                marked[item] = true
        return deciding | marked

    @property
    def adjudicated(self) -> set[int]:
        """Items of which somebody decided in Label Studio what is true."""
        return {item for item, rows in self.deciding.items() if rows[0].ground_truth}

    @cached_property
    def readings(self) -> dict[int, list[Annotation]]:
        """Item -> the newest label of each who labelled it; one without an annotator's name stands for itself.

        Of one annotator, what is marked as ground truth goes before what is newer.
        """
        readings: dict[int, dict[str | int, Annotation]] = {}
        for row in sorted(
            self.annotations, key=lambda row: (row.ground_truth, row.updated_at, row.annotation)
        ):
            if row.label is not None:
                readings.setdefault(row.item, {})[row.annotator or row.annotation] = row
        return {item: list(by.values()) for item, by in sorted(readings.items())}

    @cached_property
    def skipped(self) -> set[int]:
        """Items that an annotator skipped, or submitted without a label that is learned, and nobody labelled."""
        return {row.item for row in self.annotations if row.question is None} - self.labels.keys()

    @cached_property
    def other_answers(self) -> set[int]:
        """Items with answers to other questions than the one that is learned, and nothing else."""
        return {row.item for row in self.annotations} - self.skipped - self.labels.keys()

    @cached_property
    def answered_otherwise(self) -> set[int]:
        """Those of `other_answers` that Label Studio hands to nobody: each of their tasks in the queues has an answer.

        One that was answered in the pool project alone is still open in its queue.
        """
        answered = {(row.source, row.task) for row in self.annotations}
        unknown = {row.item for row in self.annotations if row.task is None}
        pool = self.project.pool_project
        handed_out = {
            row.item
            for row in self.tasks
            if (self.queues.get(row.annotator, pool), row.queue_task) not in answered
        }
        return self.other_answers - (handed_out - unknown)

    @cached_property
    def pushed(self) -> set[int]:
        """Items that are in the queue, whatever became of them."""
        return {row.item for row in self.tasks}

    @cached_property
    def open(self) -> set[int]:
        """Items in the queue that wait for an annotator."""
        return self.pushed - self.labels.keys() - self.skipped - self.answered_otherwise

    @cached_property
    def used(self) -> set[int]:
        """Items that count against the budget; see `used_images` for how many images these are.

        Labelled images, wherever they were labelled, and every image in the queue: a skipped one, too, since it
        stays there and may still be labelled. One whose task was deleted there counts only if it was labelled, and so
        does one with answers to other questions alone: Label Studio hands it to nobody any more.
        """
        return self.labels.keys() | (self.pushed - self.answered_otherwise)

    @cached_property
    def used_images(self) -> int:
        """How many images count against the budget: several tasks of the pool that show one image are one."""
        used = self.used
        return len(used) - sum(max(0, len(used & items) - 1) for items in self.same_images)

    @cached_property
    def same_images(self) -> list[set[int]]:
        """Items that are labelled or in a queue and show the same picture, byte for byte, as others of these."""
        return self._store.double_images(self.project.id) if len(self.labels.keys() | self.pushed) > 1 else []

    @cached_property
    def undecided(self) -> set[int]:
        """Items whose only answer is a class that is not learned (`ignore_classes`); `skipped` holds them, too."""
        return {row.item for row in self.annotations if row.ignored is not None} & self.skipped

    @cached_property
    def pace(self) -> Pace:
        """How long annotators take for an image."""
        return measure_pace((row.annotator, row.seconds) for row in self.annotations)

    @property
    def budget(self) -> int:
        """How many images may be labelled in all: `budget`, or fewer where `budget_hours` allows fewer."""
        hours = self.settings.budget_hours
        if hours is None:
            return self.settings.budget
        allowed = self.pace.images_in(hours * 3600 / (1 + self.settings.overlap))
        # Until it is known how long an image takes, one round is what tells.
        return min(self.settings.budget, self.settings.round_size if allowed is None else allowed)

    @property
    def left(self) -> int:
        """How many more images the budget lets into the queue."""
        return max(0, self.budget - self.used_images)

    @property
    def room(self) -> int:
        """How many more images can be pushed: what the budget leaves and the annotators' quotas hold."""
        places = sum(self.places.values())
        if self.staff != {"": None} and len(self.staff) > 1:
            # Each second reading takes a place, too; whatever is left, one image needs no more than one.
            places = max(min(places, 1), int(places / (1 + self.settings.overlap)))
        return min(self.left, places)

    @cached_property
    def waiting(self) -> list[Selection]:
        """Selected images that are still to enter the queue, in rank order.

        One that was labelled elsewhere, left the pool, became unusable, was deleted from its queue or is excluded is
        not pushed, nor are those of `repeated`.
        """
        return [row for row in self._unpushed if row.item not in self.repeated]

    @cached_property
    def repeated(self) -> set[int]:
        """Selected images that are not pushed, because another that shows the same file is now labelled, skipped or in
        a queue: its copy was labelled in the pool project, or their files are equal only now."""
        contents = {
            item: row.content_hash
            for item, row in self._store.items_by_id({row.item for row in self._unpushed}).items()
            if row.content_hash is not None
        }
        known = self._store.showing(self.project.id, set(contents.values()))
        worth = self.labels.keys() | self.pushed | self.skipped
        shown = {content for item, content in known if item in worth}
        repeated: set[int] = set()
        for row in self._unpushed:
            content = contents.get(row.item)
            if content in shown:
                repeated.add(row.item)
            elif content is not None:
                shown.add(content)
        return repeated

    @cached_property
    def _unpushed(self) -> list[Selection]:
        """Selected images that may still enter the queue as far as they themselves go, in rank order."""
        unpushed = [
            row for row in self.selections if row.withdrawn_at is None and row.item not in self.pushed
        ]
        if not unpushed:
            return []
        present = self.present({row.item for row in unpushed})
        directives = self._store.directives(self.project.id, items=present)
        excluded = {item for item, wanted in directives.items() if wanted is Directive.EXCLUDED}
        free = present - self.labels.keys() - self.skipped - excluded
        return [row for row in unpushed if row.item in free]

    @property
    def disconnected(self) -> bool:
        """Whether an admin removed this backend from the project in Label Studio."""
        return DISCONNECTED in self.project.problems

    @property
    def stopped(self) -> bool:
        """Whether nothing is selected or pushed: an admin paused the project, or removed this backend from it."""
        return self.settings.paused or self.disconnected

    @cached_property
    def low_water(self) -> int:
        """How many open images in everyone's queue, or in all queues of annotators together, are few."""
        return int(self.settings.refill_at * self.settings.round_size)

    @property
    def runs_low(self) -> bool:
        """Whether few open images are left, in all or in the queue of somebody who may get more."""
        return self._at_most(self.low_water)

    @property
    def runs_dry(self) -> bool:
        """Whether so few are left that nothing is to be waited for; never where the next round waits for the last."""
        return bool(self.low_water) and self._at_most(self.low_water / 2)

    def _at_most(self, few: float) -> bool:
        if self.staff == {"": None} or len(self.open) <= few:
            return len(self.open) <= few
        return any(
            self.places[name] > 0 and len(self.placed[name] & self.open) <= few / len(self.staff)
            for name in self.staff
        )

    @property
    def ended_rounds(self) -> int:
        """How many rounds a training need not wait for any more.

        Those that are complete, those that another round follows, and the last one where few of it are open and more
        images can be pushed.
        """
        closing = bool(self.low_water and self.room and not self.waiting and self.runs_low)
        return max(self.complete_rounds, len(self.rounds) - (not closing)) if self.rounds else 0

    @property
    def complete_rounds(self) -> int:
        """How many rounds are labelled or skipped to the end."""
        waiting = {row.item for row in self.waiting}
        busy = {row.round for row in self.selections if row.item in self.open or row.item in waiting}
        return sum(row.number not in busy for row in self.rounds)

    @cached_property
    def champion_changes(self) -> list[AuditEntry]:
        """The audit's rows on which model serves, newest first: what was promoted or taken back by hand."""
        return self._store.audit(self.project.id, names=("champion",))

    @cached_property
    def trained_labels(self) -> dict[int, str]:
        """Item -> the label that the last training saw."""
        return (
            {int(item): label for item, label in self.trainings[-1].labels.items()} if self.trainings else {}
        )

    @cached_property
    def label_changes(self) -> dict[int, str | None]:
        """Item -> its label, or None where it is gone, where that is not what the last training saw.

        Only of images of the pool that can be used: a label of another counts from the moment its image can be read.
        """
        seen = self.trained_labels
        changed = [
            item for item in seen.keys() | self.labels.keys() if seen.get(item) != self.labels.get(item)
        ]
        return {
            item: self.labels.get(item)
            for item, row in self._store.items_by_id(changed).items()
            if not row.gone and row.content_hash is not None and row.problem is None
        }

    @property
    def changed_labels(self) -> int:
        """How many labels are new, changed or gone since the last training, of images that can be used."""
        return len(self.label_changes)

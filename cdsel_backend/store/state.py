"""One project's state as it stands, and what follows from it: nothing here is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Row

from cdsel_backend.settings import ProjectSettings, Resolved, environment_layer, resolve
from cdsel_backend.store.store import Store


class State:
    """A snapshot of one project, each part read when it is first asked for. "Items" are images, by our ids.

    Attributes:
        project: the project's row.
        resolved: its settings, and where each came from.
    """

    def __init__(self, store: Store, project: int) -> None:
        self._store = store
        self.project: Row[Any] = store.project(project)
        self.resolved: Resolved = resolve({"environment": environment_layer()[0], **self.project.layers})

    @cached_property
    def items(self) -> list[Row[Any]]:
        """Every image that ever was in the pool."""
        return self._store.items(self.project.id)

    @cached_property
    def annotations(self) -> list[Row[Any]]:
        """Every annotation in Label Studio."""
        return self._store.labels(self.project.id)

    @cached_property
    def selections(self) -> list[Row[Any]]:
        """Every image that was ever selected, in rank order."""
        return self._store.selections(self.project.id)

    @cached_property
    def rounds(self) -> list[Row[Any]]:
        """The rounds so far, oldest first."""
        return self._store.rounds(self.project.id)

    @cached_property
    def trainings(self) -> list[Row[Any]]:
        """The trainings so far, oldest first."""
        return self._store.trainings(self.project.id)

    @property
    def settings(self) -> ProjectSettings:
        """The settings in force."""
        return self.resolved.settings

    @cached_property
    def labels(self) -> dict[int, str]:
        """Item -> the label that counts: the majority of its annotations, the newest among equals."""
        votes: dict[int, list[Row[Any]]] = {}
        for annotation in self.annotations:
            if annotation.label is not None:
                votes.setdefault(annotation.item, []).append(annotation)
        return {item: _majority(rows) for item, rows in sorted(votes.items())}

    @cached_property
    def skipped(self) -> set[int]:
        """Items that an annotator skipped, or submitted without a usable label, and nobody labelled."""
        return {row.item for row in self.annotations} - self.labels.keys()

    @cached_property
    def pushed(self) -> set[int]:
        """Items that are in the queue, whatever became of them."""
        return {row.item for row in self.selections if row.queue_task is not None}

    @cached_property
    def open(self) -> set[int]:
        """Items in the queue that wait for an annotator."""
        return self.pushed - self.labels.keys() - self.skipped

    @cached_property
    def used(self) -> set[int]:
        """Items that count against the budget.

        Labelled images, wherever they were labelled, and every image in the queue: a skipped one, too, since it
        stays there and may still be labelled.
        """
        return self.labels.keys() | self.pushed

    @property
    def left(self) -> int:
        """How many more images the budget lets into the queue."""
        return max(0, self.settings.budget - len(self.used))

    @cached_property
    def waiting(self) -> list[Row[Any]]:
        """Selected images that are still to enter the queue, in rank order.

        One that was labelled elsewhere, or left the pool, meanwhile is not pushed any more.
        """
        unpushed = [row for row in self.selections if row.queue_task is None]
        if not unpushed:
            return []
        present = {row.id for row in self.items if not row.gone}
        free = present - self.labels.keys() - self.skipped
        return [row for row in unpushed if row.item in free]

    @property
    def complete_rounds(self) -> int:
        """How many rounds are labelled or skipped to the end."""
        waiting = {row.item for row in self.waiting}
        busy = {row.round for row in self.selections if row.item in self.open or row.item in waiting}
        return sum(row.number not in busy for row in self.rounds)

    @cached_property
    def changed_labels(self) -> int:
        """How many labels are new, changed or gone since the last training."""
        seen = (
            {int(item): label for item, label in self.trainings[-1].labels.items()} if self.trainings else {}
        )
        return sum(seen.get(item) != self.labels.get(item) for item in seen.keys() | self.labels.keys())


def _majority(rows: Sequence[Row[Any]]) -> str:
    votes: Counter[str] = Counter(row.label for row in rows)
    most = max(votes.values())
    newest_first = sorted(rows, key=lambda row: (row.updated_at, row.annotation), reverse=True)
    return next(str(row.label) for row in newest_first if votes[row.label] == most)

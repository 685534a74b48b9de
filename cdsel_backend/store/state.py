"""One project's state as it stands, and what follows from it: nothing here is stored."""

from __future__ import annotations

from functools import cached_property

from cdsel_backend.store.budget import Budget


class State(Budget):
    """A snapshot of one project, each part read when it is first asked for.

    Its parents hold what is read (`Snapshot`), the labels that follow from the annotations (`Readings`), and the room
    in the queues (`Budget`). This class tells how far the rounds are and what no training has learned yet.
    """

    @property
    def ended_rounds(self) -> int:
        """How many rounds a training need not wait for any more.

        These are the complete ones, those that another round follows, and the last one where few of its images are open
        and more can be pushed.
        """
        closing = bool(self.low_water and self.room and not self.waiting_items and self.runs_low)
        return max(self.complete_rounds, len(self.rounds) - (not closing)) if self.rounds else 0

    @property
    def complete_rounds(self) -> int:
        """How many rounds are labelled or skipped to the end."""
        found = self.in_queues
        busy = set(found.round[: found.first][found.selected(self.open.union(self.waiting_items))].tolist())
        return sum(row.number not in busy for row in self.rounds)

    @cached_property
    def trained_labels(self) -> dict[int, str]:
        """Item -> the label that the last training saw."""
        if not self.trainings:
            return {}
        seen = self._store.training_labels(self.project.id, self.trainings[-1].number)
        return {int(item): label for item, label in seen.items()}

    @cached_property
    def label_changes(self) -> dict[int, str | None]:
        """Item -> its label now (None: it is gone), for the items whose label is another than the last training saw.

        Only images of the pool that can be used are among them; another counts once its image can be read.
        """
        seen = self.trained_labels
        changed = [
            item for item in seen.keys() | self.labels.keys() if seen.get(item) != self.labels.get(item)
        ]
        return {item: self.labels.get(item) for item in sorted(self._store.usable(changed, read=True))}

    @property
    def changed_labels(self) -> int:
        """How many labels are new, changed or gone since the last training, of images that can be used."""
        return len(self.label_changes)

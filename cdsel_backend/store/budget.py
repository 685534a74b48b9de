"""Which images are in a project's queues, which count against its budget, and how many more may enter."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from cdsel_backend.store.arrays import among
from cdsel_backend.store.readings import Readings
from cdsel_backend.store.records import Directive, Selection


class Budget(Readings):
    """The queues of a project, and the room that the budget and the annotators' quotas leave in them."""

    @cached_property
    def withdrawn(self) -> set[int]:
        """Items whose every task was deleted before a label came in: they are not selected again."""
        deleted = self.in_queues.item[self.in_queues.withdrawn]
        return set(deleted.tolist()) - self.pushed - self.labels.keys()

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
        found = self.in_queues
        counts = found.live | (found.withdrawn & among(found.item, self.labels.keys()))
        for code, name in enumerate(found.annotator.texts):
            if items := found.item[counts & (found.annotator.codes == code)].tolist():
                placed.setdefault(name, set()).update(items)
        return placed

    @cached_property
    def places(self) -> dict[str, int]:
        """Whose queue -> how many more images it may get; everyone's is bounded by the budget alone."""
        return {
            name: self.left if quota is None else max(0, quota - len(self.placed[name]))
            for name, quota in self.staff.items()
        }

    @cached_property
    def answered_otherwise(self) -> set[int]:
        """The `other_answers` that no annotator sees any more, because each of their tasks in a queue has an answer.

        An item that was answered in the pool project alone is still open in its queue.
        """
        if not self.other_answers:
            return set()
        found, pool = self.in_queues, self.project.pool_project
        given = self._store.labels_of(self.project.id, self.other_answers)
        answered = {(row.source, row.task) for row in given}
        unknown = {row.item for row in given if row.task is None}
        asked = np.flatnonzero(found.live & among(found.item, self.other_answers))
        queues = [self.queues.get(name, pool) for name in found.annotator.texts]
        handed_out = {
            int(found.item[row])
            for row in asked
            if (queues[found.annotator.codes[row]], int(found.task[row])) not in answered
        }
        return self.other_answers - (handed_out - unknown)

    @cached_property
    def pushed(self) -> set[int]:
        """Items that are in the queue, whatever became of them."""
        return set(self.in_queues.item[self.in_queues.live].tolist())

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
        """The selections of `waiting_items`."""
        return self._store.selections_of(self.project.id, self.waiting_items)

    @cached_property
    def waiting_items(self) -> list[int]:
        """Selected images that are still to enter the queue, in rank order.

        One that was labelled elsewhere, left the pool, became unusable, was deleted from its queue or is excluded is
        not pushed, nor are those of `repeated`.
        """
        return [item for item in self._unpushed if item not in self.repeated]

    @cached_property
    def repeated(self) -> set[int]:
        """Selected images that are not pushed, because another that shows the same file is now labelled, skipped or in
        a queue: its copy was labelled in the pool project, or their files are equal only now."""
        contents = self._store.contents(self._unpushed)
        known = self._store.showing(self.project.id, set(contents.values()))
        worth = self.labels.keys() | self.pushed | self.skipped
        shown = {content for item, content in known if item in worth}
        repeated: set[int] = set()
        for item in self._unpushed:
            content = contents.get(item)
            if content in shown:
                repeated.add(item)
            elif content is not None:
                shown.add(content)
        return repeated

    @cached_property
    def _unpushed(self) -> list[int]:
        """Selected images that may still enter the queue as far as they themselves go, in rank order."""
        found = self.in_queues
        selected = found.item[: found.first][~found.withdrawn[: found.first]]
        unpushed = selected[~among(selected, self.pushed)].tolist()
        if not unpushed:
            return []
        present = self.present(unpushed)
        directives = self._store.directives(self.project.id, items=present)
        excluded = {item for item, wanted in directives.items() if wanted is Directive.EXCLUDED}
        free = present - self.labels.keys() - self.skipped - excluded
        return [item for item in unpushed if item in free]

    @cached_property
    def low_water(self) -> int:
        """The number of open images, of all queues together, from which on there are few (`refill_at`)."""
        return int(self.settings.refill_at * self.settings.round_size)

    @property
    def runs_low(self) -> bool:
        """Whether few open images are left, in all or in the queue of somebody who may get more."""
        return self._at_most(self.low_water)

    @property
    def runs_dry(self) -> bool:
        """Whether so few images are open that the next ones are pushed without waiting for a training.

        Never where `low_water` is 0: a round is then chosen only once the last one is labelled.
        """
        return bool(self.low_water) and self._at_most(self.low_water / 2)

    def _at_most(self, few: float) -> bool:
        if self.staff == {"": None} or len(self.open) <= few:
            return len(self.open) <= few
        return any(
            self.places[name] > 0 and len(self.placed[name] & self.open) <= few / len(self.staff)
            for name in self.staff
        )

"""The tasks of a queue, listed as they change, where the queue is a long one.

A listing costs Label Studio about a second of CPU for each 1,000 tasks, and one is due at every label that comes in. So
this process keeps what it listed, asks for what is new or changed, and lists all again where the numbers disagree, as
after a deletion, and once an hour.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cdsel_backend.labelstudio.changes import changed_tasks
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.reconcile.clock import is_over
from cdsel_backend.store.records import Json

KEPT_FROM = 100  # tasks; to ask what changed in a shorter queue costs as much as to list it
LIST_WHOLE_SECONDS = 3600.0


@dataclass
class QueueListing:
    """The tasks of one queue as they were listed last, by their ids; JSON text takes a tenth of the memory."""

    tasks: dict[int, bytes] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    watermark: str = ""
    whole_at: float = 0.0

    def bring_in(self, studio: LabelStudio, queue: int) -> None:
        """Make it what the queue holds now.

        Raises:
            LabelStudioError: the queue cannot be listed; what is known of it stays.
        """
        now = time.time()
        watermark = "" if is_over(self.whole_at, LIST_WHOLE_SECONDS, now) else self.watermark
        if not self._take(studio, queue, watermark, now):
            self._take(studio, queue, "", now)

    def _take(self, studio: LabelStudio, queue: int, watermark: str, now: float) -> bool:
        """List what changed since a watermark; returns whether that suffices to know what the queue holds now."""
        changes = changed_tasks(studio, queue, watermark)
        listed = {int(task["id"]): json.dumps(task).encode() for task in changes.tasks}
        if changes.complete:
            self.tasks, self.unreadable, self.whole_at = listed, changes.unreadable, now
        else:
            self.tasks |= listed
            self.unreadable = (self.unreadable | changes.unreadable) - listed.keys()
        for task in self.unreadable:
            self.tasks.pop(task, None)
        self.watermark = changes.watermark
        all_known = len(self.tasks) + len(self.unreadable) == changes.total
        return changes.complete or (all_known and not changes.went_back)


def tasks_of_queue(
    kept: dict[int, QueueListing], studio: LabelStudio, queue: int, expected: int
) -> tuple[Sequence[Json], set[int]]:
    """Every task of a queue with its annotations, in the order of their ids, and those at which Label Studio fails.

    Args:
        kept: queue -> what this process listed of it before; changed.
        studio, queue: which queue.
        expected: tasks that the books have in it.

    Raises:
        LabelStudioError: it cannot be listed.
    """
    if expected < KEPT_FROM:
        kept.pop(queue, None)
        unreadable: set[int] = set()
        return list(studio.tasks(queue, with_annotations=True, unreadable=unreadable)), unreadable
    listing = kept.setdefault(queue, QueueListing())
    listing.bring_in(studio, queue)
    return [json.loads(listing.tasks[task]) for task in sorted(listing.tasks)], set(listing.unreadable)

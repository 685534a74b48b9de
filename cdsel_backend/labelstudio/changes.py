"""The tasks of a project that are new or changed since they were listed last, by their times in Label Studio."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain

from cdsel_backend.labelstudio.tasks import Tasks
from cdsel_backend.labelstudio.times import read_time, read_zoned
from cdsel_backend.store.records import Json

OVERLAP = timedelta(seconds=60)
"""What was changed so long before the last change that was seen is listed again: a slow transaction of Label Studio's
writes a time before others can see it."""
CLOCKS_FORWARD = timedelta(hours=1)
"""By which a zone other than UTC puts its clocks forward: a time of that hour is read as one an hour later."""
CLOCK_SLACK = timedelta(seconds=60)
"""Label Studio's present is known to the second, and its database may be on another machine."""


@dataclass(frozen=True)
class _Watermark:
    """When a task was changed last, the highest id, and when (our clock) that change was first seen as the last.

    `settled`: the pool was listed so long after it that no slow transaction can still bring an earlier change.
    """

    changed: str
    last: int
    seen_at: float
    settled: bool = False

    @classmethod
    def read(cls, text: str) -> _Watermark | None:
        """Read the JSON of one; None where all is to be listed."""
        try:
            mark = cls(*json.loads(text))
            read_time(mark.changed)  # of a pool without a task there is none
            return mark
        except (ValueError, TypeError):
            return None

    def since(self) -> str:
        """The time after which changes have to be listed, as Label Studio's filters read it.

        They read it in the zone in which Label Studio writes times, its Django's TIME_ZONE, whatever the Z says.
        """
        changed = read_zoned(self.changed)
        if not self.settled:
            changed -= OVERLAP + (CLOCKS_FORWARD if changed.utcoffset() else timedelta())
        return changed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def is_ahead(self, now: datetime | None) -> bool:
        """Whether it lies after Label Studio's present, whose clock was set back."""
        return now is not None and bool(self.changed) and read_time(self.changed) - now > CLOCK_SLACK


@dataclass(frozen=True)
class TaskChanges:
    """The tasks of a project that are new or changed, and how many it has in all.

    `complete`: all are listed. `went_back`: the last change is an earlier one than it was, as where the task changed
    last was deleted, or Label Studio restored from a backup. `watermark`: what the next listing goes on from.
    """

    tasks: Iterator[Json]
    complete: bool
    went_back: bool
    watermark: str
    total: int
    unreadable: set[int]
    """Tasks at which Label Studio fails; they are known once `tasks` are taken."""


def changed_tasks(studio: Tasks, project: int, watermark: str = "") -> TaskChanges:
    """List the tasks that are new or changed since a watermark, with their annotations; all of them without one.

    A task counts as changed, too, where one of its annotations was created, changed, deleted or skipped. Where
    Label Studio's clock was set back behind the watermark, all are listed: their times say nothing then.

    Raises:
        LabelStudioError: the project cannot be listed.
    """
    newest = studio.newest(project)  # before: what changes meanwhile is listed again next time
    known = _Watermark.read(watermark)
    if known is not None and known.is_ahead(newest.now):
        known = None
    mark = _Watermark(newest.changed, newest.last, time.time())
    if mark.is_ahead(newest.now) and newest.now is not None:
        zone = read_zoned(newest.changed).tzinfo
        mark = replace(mark, changed=newest.now.astimezone(zone).isoformat())
    elif known is not None and known.changed == (newest.changed or known.changed):
        long_ago = time.time() - known.seen_at > OVERLAP.total_seconds()
        mark = replace(known, last=newest.last, settled=known.settled or long_ago)
    unreadable: set[int] = set()
    listed = partial(studio.tasks, project, with_annotations=True, unreadable=unreadable)
    parts = [listed()] if known is None else []
    if known is not None and not (known.settled and newest.changed == known.changed):
        parts.append(listed(changed_since=known.since()))
    if known is not None and newest.last > known.last:
        parts.append(listed(after=known.last))  # what has a higher id is new, however old it says it is
    return TaskChanges(
        _once(chain.from_iterable(parts)),
        complete=known is None,
        went_back=known is not None and read_time(mark.changed or known.changed) < read_time(known.changed),
        watermark=json.dumps(astuple(mark)),
        total=newest.total,
        unreadable=unreadable,
    )


def _once(tasks: Iterable[Json]) -> Iterator[Json]:
    seen: set[int] = set()
    for task in tasks:
        if task["id"] not in seen:
            seen.add(task["id"])
            yield task

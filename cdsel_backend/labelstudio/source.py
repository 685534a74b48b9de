"""A project of Label Studio as a pool (`pool/source.py`): its tasks are the items."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import Listing, SourceItem
from cdsel_backend.store.records import Json

CLOUD_SCHEMES = ("s3://", "gs://", "azure-blob://")


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
        """What was changed after this time is to be listed; written as Label Studio's filters want it.

        That is without an offset, in the zone in which Label Studio writes times, its Django's TIME_ZONE.
        """
        changed = _read(self.changed)
        if not self.settled:
            changed -= OVERLAP + (CLOCKS_FORWARD if changed.utcoffset() else timedelta())
        return changed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def is_ahead(self, now: datetime | None) -> bool:
        """Whether it lies after Label Studio's present, whose clock was set back."""
        return now is not None and bool(self.changed) and read_time(self.changed) - now > CLOCK_SLACK


def read_time(text: str) -> datetime:
    """Read a time as Label Studio writes it.

    Raises:
        ValueError: it is none.
    """
    return _read(text).astimezone(timezone.utc)


def _read(text: str) -> datetime:
    """Read a time with the offset that it was written with; before Python 3.11 `fromisoformat` knows no Z."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


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


def changed_tasks(studio: LabelStudio, project: int, watermark: str = "") -> TaskChanges:
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
        zone = _read(newest.changed).tzinfo
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


@dataclass(frozen=True)
class TaskItem(SourceItem):
    """A task of the pool project; its key is its id."""

    annotations: Sequence[Mapping[str, Any]] = ()
    """Those made in the pool project, as Label Studio writes them."""
    created_at: str = ""
    """When Label Studio made the task: what tells it from another that had its number."""

    @property
    def task(self) -> int:
        """The task's id."""
        return int(self.key)


@dataclass(frozen=True)
class TaskListing(Listing):
    """What the pool project lists, and how many tasks it has in all."""

    items: Iterator[TaskItem]
    total: int
    unreadable: set[int]
    """Tasks at which Label Studio fails; they are known once the items are taken."""


class LabelStudioPool:
    """The tasks of one project, and where in `task.data` the image is."""

    def __init__(self, studio: LabelStudio, project: int, image: ImageField) -> None:
        self._studio = studio
        self._project = project
        self._image = image
        self._reader = ImageReader(studio)

    def list(self, watermark: str = "") -> TaskListing:
        """List the tasks that are new or changed since a watermark (see `changed_tasks`).

        Raises:
            LabelStudioError: a SourceError: the project cannot be listed.
        """
        changes = changed_tasks(self._studio, self._project, watermark)
        return TaskListing(
            map(self._item, changes.tasks),
            complete=changes.complete,
            watermark=changes.watermark,
            total=changes.total,
            unreadable=changes.unreadable,
        )

    def _item(self, task: Json) -> TaskItem:
        return TaskItem(
            str(task["id"]),
            self._image.read(task["data"]) or "",
            task["data"],
            annotations=tuple(task.get("annotations") or ()),
            created_at=str(task.get("created_at") or ""),
        )

    def count(self, low: int, high: int) -> int:
        """How many tasks have an id from `low` to `high`.

        Raises:
            LabelStudioError: Label Studio does not say.
        """
        return self._studio.count_tasks(self._project, low, high)

    def describe(self, item: SourceItem) -> Mapping[str, Any]:
        """Nothing: what is known of an image is in its task's data."""
        return {}

    def read(self, item: SourceItem) -> bytes:
        """The bytes of a task's image.

        Raises:
            UnreadableImage: there is none, or it cannot be had; the message says why.
            LabelStudioError: Label Studio itself is away.
        """
        if not item.image:
            raise UnreadableImage(f"the task has no text in its image field {self._image.value!r}")
        return self._reader.read(item.image, int(item.key))

    def annotator_address(self, item: SourceItem) -> str:
        """The address that a task of another project shows the image by."""
        return annotator_address(item, self._studio.prefix())


def annotator_address(item: SourceItem, prefix: str = "") -> str:
    """The address that a task of another project shows a task's image by.

    Another project has no cloud storage of its own: Label Studio signs through the task of the pool. Label Studio puts
    the path below which browsers find it before the addresses of its own storages only: `prefix` comes before others.
    """
    address = item.image
    if address.startswith(CLOUD_SCHEMES):
        uri = quote(base64.b64encode(address.encode()).decode())
        address = f"/tasks/{item.key}/presign/?fileuri={uri}"
    is_path = address.startswith("/") and not address.startswith("//")
    return f"{prefix}{address}" if is_path and not address.startswith(f"{prefix}/") else address


def is_shown_as(item: SourceItem, address: object) -> bool:
    """Whether a task that shows this address may show this image: its own address, or a picture uploaded for it."""
    if not isinstance(address, str):
        return False
    own = annotator_address(item)
    # What comes before Label Studio's own paths is the prefix below which browsers find it.
    path = re.sub(r"^(/[\w.-]+)+(?=/(data|tasks)/)", "", address)
    if address == own or path == own:
        return True
    return re.fullmatch(rf"/data/upload/\d+/[0-9a-f]+-item-{item.key}\.png", path) is not None

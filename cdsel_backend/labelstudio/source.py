"""A project of Label Studio as a pool (`pool/source.py`): its tasks are the items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdsel_backend.labelstudio.changes import changed_tasks
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.labelstudio.home import CLOUD, signing_path
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import Listing, SourceItem
from cdsel_backend.store.records import Json


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
    if address.startswith(tuple(f"{scheme}://" for scheme in CLOUD)):
        address = signing_path(item.key, address)
    is_path = address.startswith("/") and not address.startswith("//")
    return f"{prefix}{address}" if is_path and not address.startswith(f"{prefix}/") else address


def is_shown_as(item: SourceItem, address: object) -> bool:
    """Whether an address that a task shows is that of an item's image, or of a picture that was uploaded for it."""
    if not isinstance(address, str):
        return False
    own = annotator_address(item)
    # What comes before Label Studio's own paths is the prefix below which browsers find it.
    path = re.sub(r"^(/[\w.-]+)+(?=/(data|tasks)/)", "", address)
    if address == own or path == own:
        return True
    return re.fullmatch(rf"/data/upload/\d+/[0-9a-f]+-item-{item.key}\.png", path) is not None

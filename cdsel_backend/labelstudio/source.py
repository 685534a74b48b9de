"""A project of Label Studio as a pool (`pool/source.py`): its tasks are the items."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import Listing, SourceItem

CLOUD_SCHEMES = ("s3://", "gs://", "azure-blob://")


@dataclass(frozen=True)
class TaskItem(SourceItem):
    """A task of the pool project; its key is its id."""

    annotations: Sequence[Mapping[str, Any]] = ()
    """Those made in the pool project, as Label Studio writes them."""

    @property
    def task(self) -> int:
        """The task's id."""
        return int(self.key)


@dataclass(frozen=True)
class TaskListing(Listing):
    """What the pool project lists."""

    items: Iterator[TaskItem]


class LabelStudioPool:
    """The tasks of one project, and where in `task.data` the image is."""

    def __init__(self, studio: LabelStudio, project: int, image: ImageField) -> None:
        self._studio = studio
        self._project = project
        self._image = image
        self._reader = ImageReader(studio)

    def list(self, watermark: str = "") -> TaskListing:
        """List every task with its annotations; the watermark is not used yet.

        Raises:
            LabelStudioError: a SourceError: the project cannot be listed.
        """
        return TaskListing(self._items(), complete=True, watermark=watermark)

    def _items(self) -> Iterator[TaskItem]:
        for task in self._studio.tasks(self._project, with_annotations=True):
            yield TaskItem(
                str(task["id"]),
                self._image.read(task["data"]) or "",
                task["data"],
                annotations=tuple(task.get("annotations") or ()),
            )

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
        return annotator_address(item)


def annotator_address(item: SourceItem) -> str:
    """The address that a task of another project shows a task's image by.

    Another project has no cloud storage of its own: Label Studio signs through the task of the pool.
    """
    if not item.image.startswith(CLOUD_SCHEMES):
        return item.image
    uri = quote(base64.b64encode(item.image.encode()).decode())
    return f"/tasks/{item.key}/presign/?fileuri={uri}"

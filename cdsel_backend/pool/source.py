"""The port to a pool: where the items come from, how an image is read, and how an annotator gets to see it.

A pool is a project of Label Studio (`labelstudio/source.py`), or a table of files, a folder or a bucket (`sources/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class SourceItem:
    """One item of a pool, as its source lists it.

    Attributes:
        key: names it in the source, once and for all.
        image: where its image is, as the source writes it; "" where it has none.
        data: its variables.
        stamp: changes when the bytes of the image do; "" where the source cannot tell.
        problem: why the image cannot be used, where the listing shows it already.
        unlisted: whether it stands for a folder that could not be listed: of what lies below it nothing is known.
    """

    key: str
    image: str
    data: Mapping[str, Any]
    stamp: str = ""
    problem: str | None = None
    unlisted: bool = False


@dataclass(frozen=True)
class Listing:
    """What a source lists.

    Attributes:
        items: to be consumed once.
        complete: whether every item of the source is among them, so that what is missing is gone; else they are what
            is new or changed.
        watermark: what `PoolSource.list` is to be given next time.
    """

    items: Iterator[SourceItem]
    complete: bool
    watermark: str


class PoolSource(Protocol):
    """A pool. Its methods may be called from several threads."""

    def list(self, watermark: str = "") -> Listing | None:
        """List what changed since a watermark ("" for everything); None where certainly nothing did.

        Raises:
            SourceError: the source cannot be listed; the message names it and the fix.
        """

    def describe(self, item: SourceItem) -> Mapping[str, Any]:
        """Return the variables that an image's own file tells, such as a DICOM header; asked once for each image.

        Raises:
            UnreadableImage: the file cannot be read now.
            SourceError: the source itself is away.
        """

    def read(self, item: SourceItem) -> bytes:
        """Return the bytes of an item's image.

        Raises:
            UnreadableImage: this image cannot be had; the message says why.
            SourceError: the source itself is away.
        """

    def annotator_address(self, item: SourceItem) -> str | None:
        """Return the address at which annotators see the image; None where it has to be uploaded for them."""


class SourceError(Exception):
    """A source that cannot be used as a whole; the message names it and the fix."""

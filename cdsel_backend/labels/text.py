"""Labels as text, where the kind must be read off the text itself: in the books labels outlive a labeling config."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from cdsel_backend.labels.kind import LabelKind
from cdsel_backend.labels.presence import PRESENCE
from cdsel_backend.labels.single import SINGLE

KINDS: tuple[LabelKind, ...] = (PRESENCE, SINGLE)
"""Every kind, in the order in which texts are tried: any text is a class, so `single` comes last."""


class Reading(Protocol):
    """A label that one person gave an image: the text, when (ISO 8601), and the annotation's id."""

    @property
    def label(self) -> str | None:
        """The text."""

    @property
    def updated_at(self) -> str:
        """When it was given or changed last."""

    @property
    def annotation(self) -> int:
        """Its id in Label Studio."""


def kind_of(texts: Sequence[str]) -> LabelKind:
    """Return the first kind of which all the texts are labels."""
    return next(kind for kind in KINDS if all(kind.names(text) is not None for text in texts))


def label_names(text: str) -> tuple[str, ...]:
    """Return the classes that a label names."""
    return kind_of([text]).names(text) or ()


def display_label(text: str) -> str:
    """Return a label as people read it."""
    return kind_of([text]).display(text)


def majority(readings: Sequence[Reading]) -> str:
    """Return the label of one image from its readings, one of each annotator."""
    if len(readings) == 1:
        return sole_label(str(readings[0].label))
    newest_first = sorted(readings, key=lambda row: (row.updated_at, row.annotation), reverse=True)
    texts = [str(row.label) for row in newest_first]
    return kind_of(texts).majority(texts)


@lru_cache(maxsize=10_000)
def sole_label(text: str) -> str:
    """Return the label of an image that was read once: most are, and few texts are many images' label."""
    return kind_of([text]).majority([text])

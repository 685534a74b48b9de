"""Where the items of a project come from."""

from __future__ import annotations

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.source import LabelStudioPool
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.store import State
from cdsel_backend.store.records import Item


def pool_source(studio: LabelStudio, state: State) -> LabelStudioPool:
    """The source of a project's items.

    Raises:
        UnsupportedLabelConfig: its labeling config names no image; the message says what is wrong.
    """
    return LabelStudioPool(studio, state.project.pool_project, space_of(state).image)


def source_item(item: Item) -> SourceItem:
    """An item of the store as its source knows it."""
    return SourceItem(str(item.task), item.image, item.data)

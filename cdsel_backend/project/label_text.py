"""The labels of a project as people read them."""

from __future__ import annotations

from collections.abc import Callable

from cdsel_backend.labels import display_label
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig, space_of
from cdsel_backend.store import State


def label_reader(state: State) -> Callable[[str], str]:
    """Return what makes a label readable: a class is called what the labeling config calls it, also `["a"]`."""
    try:
        space = space_of(state)
    except UnsupportedLabelConfig:  # labels outlive it
        return display_label
    classes = frozenset() if space.kind.several else frozenset(space.classes)
    return lambda text: text if text in classes else display_label(text)

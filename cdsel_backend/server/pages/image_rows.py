"""What a list of images says of each: for the gallery's page, and for its CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdsel_backend.project.label_text import label_reader
from cdsel_backend.server.facets import VARIABLE
from cdsel_backend.server.pages.image_search import FoundImages
from cdsel_backend.server.people import name_of, names_of
from cdsel_backend.store import Store
from cdsel_backend.store.database import chunks
from cdsel_backend.store.records import Item, Selection
from cdsel_backend.table import Cells

KNOWN = (
    *("task", "image", "state", "problem", "label", "annotators", "round", "rank", "reason"),
    *("prediction", "prediction_against_label", "doubt", "agreement", "directive"),
)
"""The columns that every image has."""


@dataclass(frozen=True)
class ImageRow:
    """An image in a list: its item, its label as people read it, its selection, and its level of each facet."""

    item: Item
    label: str | None
    annotators: tuple[str, ...]
    selection: Selection | None
    levels: Mapping[str, str]

    @property
    def predicted(self) -> str:
        """The prediction, "" where there is none."""
        if "error" not in self.levels:
            return ""
        if "prediction" in self.levels:
            return self.levels["prediction"].replace("no prediction", "")
        shown = [
            key for key, level in self.levels.items() if key.startswith("prediction.") and level == "present"
        ]
        return ", ".join(key.removeprefix("prediction.") for key in shown)

    def cells(self) -> Cells:
        """A row of the CSV file: what is known of the image, then the fields of its task."""
        chosen = self.selection
        levels = {key: level for key, level in self.levels.items() if not key.startswith(VARIABLE)}
        return {
            "task": self.item.task,
            "image": self.item.image,
            "state": levels.pop("state"),
            "problem": self.item.problem,
            "label": self.label,
            "annotators": "; ".join(self.annotators),
            "round": chosen.round if chosen else None,
            "rank": chosen.rank if chosen else None,
            "reason": chosen.sentence if chosen else None,
            "prediction": self.predicted,
            "prediction_against_label": levels.get("error"),
            "doubt": levels.get("doubt"),
            "agreement": levels.get("agreement"),
            "directive": levels.get("directive"),
            **{f"data.{name}": value for name, value in self.item.data.items()},
        }


def image_rows(found: FoundImages, ids: Sequence[int]) -> Iterator[ImageRow]:
    """The rows of some images, in their order; their items alone are read, part by part."""
    state = found.state
    names, read = names_of(state), label_reader(state)
    for part in chunks(ids):
        items, readings = state.store.items_by_id(part), state.readings_of(part)
        chosen = {row.item: row for row in state.store.selections_of(state.project.id, part)}
        for item, levels in zip(part, found.levels_of(part), strict=True):
            if item in items:
                yield ImageRow(
                    items[item],
                    read(state.labels[item]) if item in state.labels else None,
                    tuple(name_of(row.annotator, names) for row in readings.get(item, ())),
                    chosen.get(item),
                    levels,
                )


def columns_of(found: FoundImages, ids: Sequence[int]) -> list[str]:
    """The columns of a CSV file of some images: the fields of their tasks follow what is known of every image."""
    return [*KNOWN, *data_columns(found.state.store, ids)]


def data_columns(store: Store, ids: Sequence[int]) -> list[str]:
    """The columns for the fields of the tasks of some images; not all images are read at once."""
    names: dict[str, None] = {}
    for part in chunks(ids):
        for item in store.items_by_id(part).values():
            names.update(dict.fromkeys(item.data))
    return [f"data.{name}" for name in names]

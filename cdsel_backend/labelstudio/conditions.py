"""When Label Studio shows a control at all: `visibleWhen` on it, or on a tag around it.

An annotator who was not shown a question says nothing by leaving it empty, so the conditions are judged by the rest of
her answer, as Label Studio's editor judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from xml.etree import ElementTree

_Kind = Literal["choice-selected", "choice-unselected", "region-selected", "no-region-selected"]
_SHAPES = {"x", "points", "vertices", "rle", "imageDataURL"}  # what the value of a region holds


@dataclass(frozen=True)
class Condition:
    """One `visibleWhen`: `tag` names another control, `values` what of it counts; empty: any."""

    kind: _Kind
    tag: str = ""
    values: frozenset[str] = frozenset()

    def holds(self, result: Sequence[Mapping[str, Any]]) -> bool:
        """Whether an annotation with this `result` was shown the control.

        What is selected for a moment is in no result: a region counts as selected where one was drawn, and the
        opposite always holds.
        """
        if self.kind == "no-region-selected":
            return True
        parts = [
            part for part in result if isinstance(part, Mapping) and isinstance(part.get("value"), Mapping)
        ]
        if self.kind == "region-selected":
            drawn = [part for part in parts if is_drawn(part["value"])]
            return any(
                (not self.tag or part.get("from_name") == self.tag)
                and (not self.values or self.values & _names(part["value"]))
                for part in drawn
            )
        chosen = {
            name for part in parts if part.get("from_name") == self.tag for name in _names(part["value"])
        }
        return bool(chosen & self.values if self.values else chosen) == (self.kind == "choice-selected")


def conditions_of(root: ElementTree.Element, control: ElementTree.Element) -> tuple[Condition, ...]:
    """The conditions of a control and of the tags around it; a kind that is not known counts as none."""
    around = {inner: outer for outer in root.iter() for inner in outer}
    found: list[Condition] = []
    tag: ElementTree.Element | None = control
    while tag is not None:
        if tag.get("visibleWhen") in get_args(_Kind):
            kind, name = cast(_Kind, tag.get("visibleWhen")), tag.get("whenTagName", "")
            wanted = tag.get("whenChoiceValue" if kind.startswith("choice") else "whenLabelValue", "")
            found.append(Condition(kind, name, _values(root, name, wanted)))
        tag = around.get(tag)
    return tuple(found)


def _values(root: ElementTree.Element, name: str, wanted: str) -> frozenset[str]:
    """The values that a condition names, with their aliases, which results hold."""
    values = {value.strip() for value in wanted.split(",") if value.strip()}
    aliases = {
        tag.get("alias", "")
        for control in root.iter()
        if control.get("name") == name
        for tag in control.iter()
        if tag.get("value") in values and tag.get("alias")
    }
    return frozenset(values | aliases)


def is_drawn(value: Mapping[str, Any]) -> bool:
    """Whether the value of a part of a result is a region."""
    return bool(value.keys() & _SHAPES)


def _names(value: Mapping[str, Any]) -> set[str]:
    """The names that a part of a result holds: choices, labels, or the paths of a taxonomy."""
    held = [names for names in value.values() if isinstance(names, list)]
    return {str(name[-1] if isinstance(name, list) and name else name) for names in held for name in names}

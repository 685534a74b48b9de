"""What Label Studio's webhooks say, as one typed event.

A webhook only says "look now": the loop reads the truth from Label Studio's API, so an event keeps little more than
which project to look at. That also spares it the fields that differ between actions: an annotation under
`annotation` or a list of them, deletions without a task id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdsel_backend.server.bounds import MAX_TEXT, is_plain
from cdsel_backend.store.numbers import is_number

KEPT_IDS = 1000  # of tasks and of annotations: nobody reads more of them in a log


class UnreadableEvent(ValueError):
    """A payload that is none of Label Studio's."""


@dataclass(frozen=True)
class Event:
    """Something happened in a project of Label Studio.

    Attributes:
        action: Label Studio's name of it.
        project: the Label Studio project, if the payload names one.
        tasks, annotations: ids that the payload names, for whoever reads the log of events.
    """

    action: str
    project: int | None
    tasks: tuple[int, ...]
    annotations: tuple[int, ...]

    def summary(self) -> dict[str, object]:
        """What is kept of it, as JSON."""
        return {"tasks": list(self.tasks[:KEPT_IDS]), "annotations": list(self.annotations[:KEPT_IDS])}


def read_event(payload: object) -> Event:
    """Read a webhook's payload; an action that we do not know is no fault.

    Raises:
        UnreadableEvent: the payload is no JSON object, or names no action.
    """
    if not isinstance(payload, Mapping) or not is_plain(payload.get("action"), longest=MAX_TEXT):
        raise UnreadableEvent(
            f'a webhook needs a JSON object with an "action" of at most {MAX_TEXT} characters'
        )
    annotations = _mappings(payload, "annotation") + _mappings(payload, "annotations")
    tasks = _ids(_mappings(payload, "task") + _mappings(payload, "tasks"))
    if not tasks:
        tasks = tuple(annotation["task"] for annotation in annotations if is_number(annotation.get("task")))
    project = _ids(_mappings(payload, "project"))
    return Event(payload["action"], project[0] if project else None, tasks, _ids(annotations))


def _mappings(payload: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = payload.get(key)
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, Mapping)]


def _ids(values: list[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(value["id"] for value in values if is_number(value.get("id")))

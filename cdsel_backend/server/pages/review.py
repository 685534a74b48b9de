"""What a training found out about the labels; which to look at again: unlikely ones, and those that are disputed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cdsel_backend.labels import label_names
from cdsel_backend.project.label_text import label_reader
from cdsel_backend.server.people import disagreements
from cdsel_backend.store import State
from cdsel_backend.store.arrays import among
from cdsel_backend.store.records import Json

VERDICTS = {
    "yes": "Yes",
    "perhaps": "Perhaps",
    "slowly": "Only a little",
    "hardly": "Probably not",
    "cannot tell": "Not known yet",
}
"""The answers to "is another round worth it?"."""
SHOWN_FIRST = 3  # of each list at once; the others are folded
SHOWN = 12  # of each list on the page; the CSV files hold all


@dataclass(frozen=True)
class Place:
    """A task in Label Studio, and whose queue it lies in: an e-mail, or nothing where all share it."""

    project: int
    task: int
    annotator: str


@dataclass(frozen=True)
class SuspectLabel:
    """A label that the newest training suspects: what was given, what is likelier, and the probabilities of both."""

    item: int
    label: str
    other: str
    own: float
    likelihood: float
    tasks: list[Place]


@dataclass(frozen=True)
class Dispute:
    """An image that annotators label differently: who gave which label, and the one that counts."""

    item: int
    label: str
    readings: list[tuple[str, str]]
    tasks: list[Place]


def suspects(state: State) -> list[SuspectLabel]:
    """What the newest training suspects and nobody has changed since, the least likely first."""
    listed = latest_insight(state).get("suspects", [])
    adjudicated = state.adjudicated
    standing = [
        suspect
        for suspect in listed
        if suspect["item"] not in adjudicated and _stands(suspect, state.labels.get(suspect["item"]))
    ]
    tasks = tasks_of(state, [suspect["item"] for suspect in standing])
    return [
        SuspectLabel(
            item=suspect["item"],
            label=_words(suspect["class"], suspect["label"]),
            other=_words(suspect["class"], suspect["other"]),
            own=suspect["own"],
            likelihood=suspect["likelihood"],
            tasks=tasks[suspect["item"]],
        )
        for suspect in standing
    ]


def disputed(state: State) -> list[Dispute]:
    """Images that annotators label differently."""
    found, read = disagreements(state), label_reader(state)
    tasks = tasks_of(state, list(found))
    return [
        Dispute(
            item,
            read(state.labels[item]),
            [(who, read(label)) for who, label in readings],
            tasks[item],
        )
        for item, readings in found.items()
    ]


def latest_insight(state: State) -> Json:
    """What the newest training that has an insight found of labels and pool; {} where none has one."""
    training = state.with_insight
    found: Json = training.metrics["insight"] if training else {}
    return {name: _named_anew(value) for name, value in found.items()}


def why_no_insight(state: State) -> str:
    """Why it is not known (yet) what the newest model says of labels and pool."""
    if not state.versions:
        return "Known from the first model on."
    if state.unexplained:
        return "Being computed for the newest model."
    return "Not known: the labels do not suffice, or the log of the worker says why it cannot be computed."


def _named_anew(value: Any) -> Any:
    """A part of an insight; older trainings called its `sentence` its `words`."""
    if isinstance(value, dict) and "words" in value:
        return value | {"sentence": value["words"]}
    return value


def tasks_of(state: State, items: list[int]) -> dict[int, list[Place]]:
    """Item -> where Label Studio shows it: its queues, or the pool where it is in none and the pool lies there."""
    pool = state.store.items_by_id(items)
    found: dict[int, list[Place]] = {item: [] for item in items}
    tasks = state.in_queues
    for row in np.flatnonzero(tasks.live & among(tasks.item, found)).tolist():
        item, task, annotator = int(tasks.item[row]), int(tasks.task[row]), tasks.annotator.text(row) or ""
        queue = state.queues.get(annotator)
        # Delivered in place, an image's task is the pool's own; outside Label Studio an image has none.
        if queue is not None and (pool[item].source is not None or task != pool[item].task):
            found[item].append(Place(queue, task, annotator))
    for item, places in found.items():
        if not places and pool[item].source is None:
            places.append(Place(state.project.pool_project, pool[item].task, ""))
    return found


def _stands(suspect: Json, label: str | None) -> bool:
    """Whether the label is still what was suspected."""
    if label is None or suspect["class"] is None:
        return bool(label == suspect["label"])
    return bool((suspect["class"] in label_names(label)) == (suspect["label"] == "present"))


def _words(name: str | None, outcome: str) -> str:
    return outcome if name is None else name if outcome == "present" else f"no {name}"

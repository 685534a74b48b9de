"""What the images of a pool can be coloured by on the map and filtered by in the gallery: one list for both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.project.pool_predictions import PoolPredictions
from cdsel_backend.server.people import name_of, names_of
from cdsel_backend.server.pool_table import PoolTable
from cdsel_backend.store import State
from cdsel_backend.store.arrays import ids_of
from cdsel_backend.store.records import Directive

NOT_LABELLED = "not labelled"
NO_ROUND = "not selected"
NO_PREDICTION = "no prediction"
SEVERAL = "several of them"
STATES = ("in the pool", "labelled", "with the annotators", "skipped")
DOUBTS = ((0.05, "below 5 %"), (0.2, "5 to 20 %"), (0.4, "20 to 40 %"), (np.inf, "40 % or more"))
"""The chance that the prediction is wrong, as the model puts it: the upper bound of each level."""
NOT_EMBEDDED = "not embedded"
"""The state of images without a vector, which wait or cannot be used; those that were labelled or pushed have two."""
LEVELS = 250  # of a facet that can be drawn: codes are bytes
MOST_CLASSES = 20  # that have facets of their own where an image may show several
VARIABLE = "variable."  # begins the key of a variable of the metadata


@dataclass(frozen=True, eq=False)
class Facet:
    """One thing that is known of each of n images.

    `key`: its name in an address; `codes` (n,): indices into `levels`; `grey`: the level that says there is nothing;
    `members`: level -> rows, where an image may have several levels and `codes` says so of one of them only.
    """

    key: str
    name: str
    levels: tuple[str, ...]
    codes: NDArray[np.integer[Any]]
    ordered: bool = False
    grey: int | None = None
    note: str = ""
    members: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Level -> how many images have it."""
        counts = np.bincount(self.codes, minlength=len(self.levels))
        return {
            level: len(self.members[level]) if level in self.members else int(count)
            for level, count in zip(self.levels, counts, strict=True)
        }

    def mask(self, levels: Sequence[str]) -> NDArray[np.bool_]:
        """Return (n,): whether an image has one of some levels; those that are not known here are no image's."""
        wanted = [code for code, level in enumerate(self.levels) if level in levels]
        found = np.isin(self.codes, wanted)
        for level in levels:
            found[self.members.get(level, [])] = True
        return np.asarray(found)


def facets(state: State, table: PoolTable, predicted: PoolPredictions | None) -> list[Facet]:
    """Every facet of a pool: the variables first, confounders at their head, then what people and the model say."""
    return [
        *_variables(state, table),
        *_labels(state, table),
        *(() if predicted is None else _predictions(state, table, predicted.among(table.ids))),
        _rounds(state, table),
        _states(state, table),
        *_people(state, table),
        *_directives(state, table),
    ]


def state_codes(state: State, table: PoolTable) -> NDArray[np.uint8]:
    """(n,): indices into `STATES`."""
    codes = np.zeros(len(table), dtype=np.uint8)
    for code, items in ((3, state.skipped), (2, state.open), (1, state.labels)):
        codes[table.rows(items)] = code
    return codes


def _variables(state: State, table: PoolTable) -> Iterator[Facet]:
    report = Report.from_json(state.project.report)
    order = {finding.variable: rank for rank, finding in enumerate(report.findings)}
    verdicts = {finding.variable: finding.verdict for finding in report.findings}
    columns = (
        column
        for column in table.columns
        if column.excluded is None and (table.others is None or 1 < len(column.levels) <= LEVELS)
    )
    for column in sorted(columns, key=lambda column: order.get(column.name, len(order))):
        yield Facet(
            f"{VARIABLE}{column.name}",
            column.name,
            tuple(column.levels),
            column.codes,
            ordered=column.kind == "numeric",
            note=verdicts.get(column.name, ""),
        )


def _labels(state: State, table: PoolTable) -> Iterator[Facet]:
    several = table.space.kind.several
    classes = [*table.classes[: LEVELS - 2], *((SEVERAL,) if several else ())]
    codes = np.full(len(table), len(classes))
    rows, given = table.labelled(state.labels)
    named = [table.codes(label) for label in given.texts]
    levels = [
        min(own[0] if len(own) == 1 else LEVELS, len(classes) - 1) if own else len(classes) for own in named
    ]
    codes[rows] = np.array(levels, dtype=np.int64)[given.codes]
    yield Facet("label", "label", (*classes, NOT_LABELLED), codes, grey=len(classes))
    if several:
        decided = table.space.kind.codes(table.view(state).labels)
        yield from _by_class(table, "label", decided, NOT_LABELLED)


def _by_class(table: PoolTable, key: str, decided: NDArray[np.integer[Any]], none: str) -> Iterator[Facet]:
    """Of each class whether an image shows it, where an image may show several; `decided` (n, q)."""
    decisions = table.space.kind.decisions(table.space.classes)[:MOST_CLASSES]
    for number, decision in enumerate(decisions):
        levels = (*decision.outcomes, none)
        codes = np.where(decided[:, number] < 0, len(levels) - 1, decided[:, number])
        yield Facet(f"{key}.{decision.name}", f"{key}: {decision.name}", levels, codes, grey=len(levels) - 1)


def _predictions(state: State, table: PoolTable, predictions: PoolPredictions) -> Iterator[Facet]:
    kind = table.space.kind
    none = (predictions.outcomes < 0).all(axis=1)
    if kind.several:
        yield from _by_class(table, "prediction", predictions.outcomes, NO_PREDICTION)
    else:
        levels = (*table.space.classes, NO_PREDICTION)
        codes = np.where(none, len(levels) - 1, predictions.outcomes[:, 0])
        yield Facet("prediction", "prediction", levels, codes, grey=len(levels) - 1)
    given = kind.codes(table.view(state).labels)
    compared = (given >= 0) & (predictions.outcomes >= 0)
    wrong = (compared & (given != predictions.outcomes)).any(axis=1)
    yield Facet(
        "error",
        "error of the model",
        ("prediction as labelled", "prediction differs", "nothing to compare"),
        np.where(~compared.any(axis=1), 2, np.where(wrong, 1, 0)),
        grey=2,
        note="of images that the model was trained on it is right more often",
    )
    bounds = [bound for bound, _ in DOUBTS[:-1]]
    doubt = np.where(np.isfinite(predictions.doubt), np.digitize(predictions.doubt, bounds), len(DOUBTS))
    names = (*(name for _, name in DOUBTS), NO_PREDICTION)
    yield Facet("doubt", "doubt of the model", names, doubt, ordered=True, grey=len(DOUBTS))


def _rounds(state: State, table: PoolTable) -> Facet:
    names = [f"round {row.number}" for row in state.rounds[: LEVELS - 1]]
    codes = np.full(len(table), len(names))
    tasks = state.in_queues
    rows, known = table.among(tasks.item[: tasks.first])
    codes[rows] = np.minimum(tasks.round[: tasks.first][known], len(names)) - 1
    return Facet("round", "round", (*names, NO_ROUND), codes, ordered=True, grey=len(names))


def _states(state: State, table: PoolTable) -> Facet:
    codes = state_codes(state, table)
    if table.others is not None:
        return Facet("state", "state", STATES, codes, grey=0)
    every = np.arange(len(table), dtype=np.int64)
    return Facet("state", "state", (NOT_EMBEDDED, *STATES[1:]), codes, members={NOT_EMBEDDED: every})


def _people(state: State, table: PoolTable) -> Iterator[Facet]:
    """Who labelled an image, which several people may have, and whether they agree."""
    known = names_of(state)
    readers: dict[str, set[int]] = {}
    for annotator, items in state.labelled_by.items():
        readers.setdefault(name_of(annotator, known), set()).update(items.tolist())
    names = tuple(sorted(readers))
    members = {name: table.rows(items) for name, items in readers.items()}
    codes = np.full(len(table), len(names))
    for number, name in enumerate(names):
        codes[members[name]] = number
    if names:
        yield Facet("annotator", "annotator", (*names, NOT_LABELLED), codes, grey=len(names), members=members)
    twice = state.several_readings
    if twice:
        agreed = np.full(len(table), 2)
        rows, here = table.among(ids_of(twice))
        differ = np.array([len({reading.label for reading in readings}) > 1 for readings in twice.values()])
        agreed[rows] = differ[here]
        yield Facet(
            "agreement",
            "agreement",
            ("annotators agree", "annotators disagree", "fewer than two labels"),
            agreed,
            grey=2,
        )


def _directives(state: State, table: PoolTable) -> Iterator[Facet]:
    if not state.directives:
        return
    codes = np.full(len(table), 2)
    rows, known = table.among(ids_of(state.directives))
    codes[rows] = np.array([wanted is Directive.FIRST for wanted in state.directives.values()])[known]
    yield Facet("directive", "excluded or first", ("excluded", "put first", "none"), codes, grey=2)

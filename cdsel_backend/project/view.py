"""The pool of a project as the loop and the pages look at it: items, metadata and labels; no vectors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.labels import LabelKind
from cdsel_backend.labelstudio.labels import LabelSpace
from cdsel_backend.labelstudio.times import seconds_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.store import State, Store
from cdsel_backend.store.arrays import among


@dataclass(frozen=True)
class PoolView:
    """Some items of a project, one row each, in ascending order of item ids."""

    state: State
    ids: NDArray[np.int64]
    columns: Sequence[Column]
    space: LabelSpace
    offers: Sequence[tuple[float, Sequence[str]]] = ()
    """Since when (seconds since the epoch, ascending) which classes were on offer; empty: these, ever since."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes: labels are indices into them, or have a column for each."""
        return self.space.classes

    @property
    def kind(self) -> LabelKind:
        """The kind of label: what annotators decide, and how `labels` encodes it."""
        return self.space.kind

    @cached_property
    def labels(self) -> NDArray[np.integer[Any]]:
        """The labels of the rows as their kind has them; where nobody decided, also as a class came later, -1."""
        given = self.state.labels
        rows = np.flatnonzero(among(self.ids, given))
        texts = [given[item] for item in self.ids[rows].tolist()]
        # Few of a large pool have a label: the others are all like this one.
        found = np.repeat(self.kind.encode([None], self.classes), len(self.ids), axis=0)
        found[rows] = self.kind.encode(texts, self.classes, lambda index: self._offered(int(rows[index])))
        return found

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Rows with a label, or with one for some class."""
        return self.kind.labelled(self.labels)

    def _offered(self, row: int) -> Sequence[str]:
        """The classes that were on offer when a row was labelled last."""
        if not self.offers:
            return self.classes
        starts = [since for since, _ in self.offers]
        offer = bisect_right(starts, self._labelled_at.get(int(self.ids[row]), 0.0)) - 1
        return self.offers[max(offer, 0)][1]

    @cached_property
    def _labelled_at(self) -> dict[int, float]:
        """Item -> when it was labelled last, in seconds since the epoch."""
        found: dict[int, float] = {}
        for given in self.state.annotations:
            if given.label is not None:
                found[given.item] = max(found.get(given.item, 0.0), seconds_of(given.updated_at))
        return found

    @cached_property
    def taken(self) -> NDArray[np.bool_]:
        """Rows that are not to be selected any more."""
        state = self.state
        taken = state.used | state.skipped | state.excluded | {row.item for row in state.selections}
        return among(self.ids, taken)

    @cached_property
    def represents(self) -> NDArray[np.float64]:
        """(n,): for how many items each row speaks where chance alone chose it, else 0 (`level_shares`)."""
        selected = {row.item: row.represents for row in self.state.selections}
        return np.array([selected.get(item, 0.0) for item in self.ids.tolist()], dtype=np.float64)

    @cached_property
    def confounders(self) -> list[Column]:
        """The columns that the report in force names as confounders."""
        report = Report.from_json(self.state.project.report)
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in report.confounders if name in by_name]


def read_offers(store: Store, project: int) -> list[tuple[float, list[str]]]:
    """Since when (seconds since the epoch, ascending) annotators could choose which classes."""
    return [(since, names) for since, names in store.fact(_offers_fact(project)) or ()]


def note_offer(store: Store, project: int, classes: Sequence[str], now: float) -> None:
    """Keep which classes annotators can choose from now on; the first ones count as there from the start."""
    offers = read_offers(store, project)
    if not offers or offers[-1][1] != list(classes):
        store.set_fact(_offers_fact(project), [*offers, (now if offers else 0.0, list(classes))])


def _offers_fact(project: int) -> str:
    return f"classes of project {project}"

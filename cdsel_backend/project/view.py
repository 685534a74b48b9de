"""The pool of a project as the loop and the pages look at it: items, metadata, labels, groups, held-out; no vectors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.labels import LabelKind
from cdsel_backend.labelstudio.labels import LabelSpace, space_of
from cdsel_backend.pool.columns import Column, read_columns
from cdsel_backend.pool.groups import group_id
from cdsel_backend.store import State, Store
from cdsel_backend.training import is_held_out


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
        """What labels are indices into, or columns of."""
        return self.space.classes

    @property
    def kind(self) -> LabelKind:
        """What annotators decide, and how `labels` says it."""
        return self.space.kind

    @cached_property
    def rows(self) -> list[Any]:
        """The item of each row."""
        by_id = {row.id: row for row in self.state.items}
        return [by_id[int(item)] for item in self.ids]

    @cached_property
    def labels(self) -> NDArray[np.integer[Any]]:
        """The labels of the rows as their kind has them; where nobody decided, also as a class came later, -1."""
        texts = [self.state.labels.get(item) for item in self.ids.tolist()]
        return self.kind.encode(texts, self.classes, self._offered)

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
                found[given.item] = max(found.get(given.item, 0.0), _seconds(given.updated_at))
        return found

    @cached_property
    def group_keys(self) -> list[str]:
        """The patient or lesion of each row; where none is known, the image itself, so that copies go together."""
        return self._keys_by(self.state.settings.group)

    def _keys_by(self, name: str | None) -> list[str]:
        images = [f"image={row.content_hash}" for row in self.rows]
        if name is None:
            return images
        # Those whose patient is "unknown" or "N/A" are not one giant patient.
        groups = [group_id(row.data.get(name)) for row in self.rows]
        return [
            image if group is None else f"{name}={group}" for group, image in zip(groups, images, strict=True)
        ]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The group of each row as a code."""
        return np.unique(self.group_keys, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows whose labels are for evaluation only: fixed by the hash of their group."""
        return np.asarray(is_held_out(self.group_keys), dtype=bool)

    def unseen_by(self, group: str | None) -> NDArray[np.bool_]:
        """Labelled rows that are held out now, and were when images were split by `group`.

        Nor was another image of their group of today trained on then: where the setting changes, images change sides,
        and what a model was trained on does not tell how good it is.
        """
        trained_then = self.labelled & ~is_held_out(self._keys_by(group))
        return self.labelled & self.held_out & ~np.isin(self.groups, self.groups[trained_then])

    @cached_property
    def taken(self) -> NDArray[np.bool_]:
        """Rows that are not to be selected any more."""
        state = self.state
        taken = state.used | state.skipped | {row.item for row in state.selections}
        return np.array([int(item) in taken for item in self.ids], dtype=bool)

    @cached_property
    def confounders(self) -> list[Column]:
        """The columns that the report in force names as confounders."""
        report = Report.from_json(self.state.project.report)
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in report.confounders if name in by_name]


def view_of(store: Store, state: State, ids: NDArray[np.int64]) -> PoolView:
    """The view of the items `ids` (n,) of a project, ascending; their metadata is typed together."""
    space = space_of(state)
    by_id = {row.id: row for row in state.items}
    metadata = [space.image.metadata(by_id[item].metadata) for item in ids.tolist()]
    columns = read_columns(metadata, ignore=state.settings.ignore, groups=state.settings.group)
    return PoolView(state, ids, columns, space, read_offers(store, state.project.id))


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


def _seconds(at: str) -> float:
    """A time of Label Studio as seconds since the epoch; 0 for what is none."""
    try:
        return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0

"""The embedded pool of a project: its view and the vectors of its backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.project.metadata import TypedPool, group_key, typed_pool
from cdsel_backend.project.view import PoolView, read_offers
from cdsel_backend.round import RoundPool
from cdsel_backend.selection import Pictures
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Item
from cdsel_backend.store.vectors import VectorStore
from cdsel_backend.training import TrainingLabels, TrainingOptions, one_side_each

Vectors = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Item ids (m,), ascending, and their vectors (m, d)."""
_ITEMS = 5000  # whose metadata are in memory at once


class PoolVectors:
    """The vectors (n, d) of a pool in float32, read from where they are kept as they are asked for.

    A million of 384 values take 1.5 GB at once, and nobody needs them at once.
    """

    def __init__(self, kept: VectorStore, backbone: str, positions: NDArray[np.int64]) -> None:
        """Read those at `positions` (n,)."""
        self._kept, self._backbone, self._positions = kept, backbone, positions
        self.shape: tuple[int, ...] = (len(positions), self[:1].shape[1])

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each is kept (n,): images of the same content have the same."""
        return self._positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        return self._kept.rows(self._backbone, self._positions[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(np.float32 if dtype is None else dtype, copy=False)


@dataclass(frozen=True, kw_only=True)
class EmbeddedPool(PoolView):
    """The items that have a vector, and those vectors (n, d)."""

    typed: TypedPool
    vectors: PoolVectors
    vectors_by: Callable[[str, NDArray[np.int64]], Vectors]
    """(A backbone's fingerprint, item ids) -> the items, of these, that have a vector of it, with their vectors."""

    @cached_property
    def round_pool(self) -> RoundPool:
        """The pool as a round and a training read it."""
        return RoundPool(self.vectors, self.confounders, self.classes, self.kind, self.groups, self.pictures)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of each row as a code."""
        return self.typed.groups

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows whose labels are for evaluation only: fixed by the hash of their group."""
        return self.typed.held_out

    @property
    def training_labels(self) -> TrainingLabels:
        """The labels as a training reads them, but for those that are held out."""
        return TrainingLabels(
            self.labels,
            self.classes,
            kind=self.kind,
            groups=self.groups,
            trainable=~self.held_out,
            represents=self.represents,
        )

    @property
    def training_options(self) -> TrainingOptions:
        """How the project's settings train."""
        settings = self.state.settings
        return TrainingOptions(strength=settings.strength, seed=settings.seed)

    @cached_property
    def pictures(self) -> Pictures:
        """Which rows show the same picture, byte for byte."""
        return Pictures.of(self.vectors.positions)

    def unseen_by(self, group: str | None) -> NDArray[np.bool_]:
        """(n,): whether a labelled row is unseen by a model of now and by one trained under the setting `group`.

        They are held out now, and were held out when images were split by `group`. Where that is another setting than
        today's, a patient may have had images on both sides. So a row is left out, too, if another image of its group
        of today was trained on then.
        """
        rows = np.flatnonzero(self.labelled)
        if group == self.state.settings.group:
            trained_then = rows[~self.held_out[rows]]
        else:
            items = self.items(rows)
            keys = [group_key(item, group) for item in items]
            trained_then = rows[~one_side_each(keys, [item.content_hash for item in items])[1]]
        return self.labelled & self.held_out & ~np.isin(self.groups, self.groups[trained_then])

    def items(self, rows: NDArray[np.int64]) -> list[Item]:
        """The items of some rows, in their order."""
        ids = self.ids[rows].tolist()
        by_id = self.state.store.items_by_id(set(ids))
        return [by_id[item] for item in ids]

    def encoded(self, variable: Column, rows: NDArray[np.int64]) -> Column:
        """A variable of a model over some rows, by the model's own levels."""
        if variable.field in self.typed.fields.values:
            return variable.encode_field(self.typed.fields).take(rows)
        parts = [
            variable.encode([item.metadata for item in self.items(rows[start : start + _ITEMS])])
            for start in range(0, max(len(rows), 1), _ITEMS)
        ]
        return parts[0].with_codes(np.concatenate([part.codes for part in parts]))


def read_pool(state: State, server: ServerSettings | None = None) -> EmbeddedPool:
    """Read the embedded pool of a project; `server`: where its typed metadata may be kept."""
    store = state.store
    project = state.project
    typed = typed_pool(state, server)
    ids, positions = store.positions(project.id, project.backbone)
    if not np.array_equal(ids, typed.ids):
        # The pool moved between the two looks: what is in both is the pool, and the next pass sees the rest.
        typed = typed.take(np.flatnonzero(np.isin(typed.ids, ids)))
        positions = positions[np.isin(ids, typed.ids)]
    return EmbeddedPool(
        state,
        typed.ids,
        typed.columns,
        space_of(state),
        read_offers(store, project.id),
        typed=typed,
        vectors=PoolVectors(store.vectors_kept, project.backbone, positions),
        vectors_by=partial(store.vectors_of, project.id),
    )

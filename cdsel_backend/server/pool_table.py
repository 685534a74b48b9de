"""The embedded pool as the pages need it: metadata and places on a map; no vectors kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import LabelSpace, space_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import MISSING, Column
from cdsel_backend.pool.fields import Fields
from cdsel_backend.project.layout import Layout, make_layout, read_layout
from cdsel_backend.project.metadata import TypedPool, pool_key
from cdsel_backend.project.view import PoolView, read_offers
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.arrays import Coded, ids_of

KEPT = 4  # projects
STALE = 5.0  # times as long as it took to make, for which a table serves while its pool moves
MOST_TYPED = 20_000
"""Images that are not embedded whose metadata are read: while a pool is embedded, nearly all wait."""
FAR = 1.8  # of the width that holds 99.8 % of the images: what the map shows at most


@dataclass(frozen=True, eq=False)
class PoolTable:
    """The pool at one moment: its layout, and what its images can be labelled."""

    layout: Layout
    space: LabelSpace
    offers: Sequence[tuple[float, Sequence[str]]]
    others: PoolTable | None = None
    """The table of the images that are not embedded. They have no place on the map, and the variables of this table,
    or none where there are more than `MOST_TYPED` of them. None in that table itself."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Item ids (n,), ascending."""
        return self.layout.pool.ids

    @property
    def columns(self) -> Sequence[Column]:
        """The metadata, n items each."""
        return self.layout.pool.columns

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What an image can be labelled: the classes; where it may show any of them, also that it shows none."""
        return self.space.kind.listed(self.space.classes)

    @cached_property
    def unit(self) -> NDArray[np.uint16]:
        """Places (n, 2) on the map as uint16, one scale for both axes; the few that lie far out are put at the edge."""
        places = self.layout.places
        if not len(self):
            return np.zeros((0, 2), dtype="<u2")
        low, high = np.quantile(places, [0.001, 0.999], axis=0)
        middle = (low + high) / 2
        farthest = 2 * float(np.abs(places - middle).max())
        reach = max(min(farthest, FAR * float((high - low).max())), 1e-9) * 1.04
        unit: NDArray[np.uint16] = np.round(np.clip((places - middle) / reach + 0.5, 0, 1) * 65535).astype(
            "<u2"
        )
        return unit

    def codes(self, label: str) -> list[int]:
        """The `classes` that a label names, as indices; several where an image shows several."""
        return self.space.kind.listed_codes(label, self.space.classes)

    def labelled(self, labels: Mapping[int, str]) -> tuple[NDArray[np.int64], Coded]:
        """The rows (m,) of those items that have a label, in the order of `labels`, and these."""
        rows, known = self.among(ids_of(labels))
        return rows, Coded.of(list(labels.values()))[known]

    def view(self, state: State) -> PoolView:
        """The rows with their labels as they stand now."""
        return PoolView(state, self.ids, self.columns, self.space, self.offers)

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> Column | None:
        """A variable by its name."""
        return next((column for column in self.columns if column.name == name), None)

    def among(self, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows (m,) of those items (n,) that are in the table, in their order, and which these are (n,)."""
        at = np.searchsorted(self.ids, items)
        known = at < len(self)
        known[known] = self.ids[at[known]] == items[known]
        return at[known], known

    def rows(self, items: Collection[int]) -> NDArray[np.int64]:
        """The rows of those items that are in the table, ascending."""
        return np.sort(self.among(ids_of(items))[0])


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    key: tuple[Any, ...] | None = None
    table: PoolTable | None = None
    took: float = 0.0  # seconds to make it
    made_at: float = 0.0


class PoolTables:
    """The tables of the projects looked at last, each made again when its pool moved.

    While a large pool is being embedded it moves all the time: a table then serves `STALE` times as long as it took.
    """

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self._server = server
        self._store = store
        self._lock = threading.Lock()
        self._kept: LRUCache[int, _Kept] = LRUCache(maxsize=KEPT)

    def table(self, state: State) -> PoolTable:
        """The pool's table as it stands."""
        kept, key = self._entry(state), self._key(state)
        with kept.lock:
            stale = kept.key != key and time.monotonic() - kept.made_at > STALE * kept.took
            if kept.table is None or stale:
                start = time.monotonic()
                kept.table, kept.key = _read(self._server, state), key
                kept.made_at = time.monotonic()
                kept.took = kept.made_at - start
            return kept.table

    def _entry(self, state: State) -> _Kept:
        with self._lock:
            return self._kept.setdefault(state.project.id, _Kept())

    def _key(self, state: State) -> tuple[Any, ...]:
        return pool_key(state), state.project.label_config


def _read(server: ServerSettings, state: State) -> PoolTable:
    layout = read_layout(server, state) or make_layout(state)
    space, offers = space_of(state), read_offers(state.store, state.project.id)
    others = PoolTable(_not_embedded(state, layout.pool.columns), space, offers)
    return PoolTable(layout, space, offers, others)


def _typed_alike(columns: Sequence[Column], metadata: Sequence[Mapping[str, object]]) -> list[Column]:
    """The variables of other images by their levels, and by new ones: none of a site's images may be readable."""
    own = {column.name: column for column in read_columns(metadata)}
    found = []
    for column in columns:
        typed, new = column.encode(metadata), own.get(column.name)
        if typed.kind == "categorical" and new is not None and new.kind == "categorical":
            names = np.where(typed.names == MISSING, new.names, typed.names)
            levels, codes = np.unique(names, return_inverse=True)
            typed = replace(typed, levels=tuple(levels.tolist()), codes=codes.astype(np.int64))
        found.append(typed)
    return found


def _not_embedded(state: State, columns: Sequence[Column]) -> Layout:
    """The images that are not embedded: their metadata by the levels of the embedded ones, and no place."""
    ids = state.store.not_embedded(state.project.id)
    items = state.store.items_by_id(ids.tolist()) if len(ids) <= MOST_TYPED else {}
    ids = np.array(sorted(items), dtype=np.int64) if items else ids
    image = space_of(state).image
    metadata = [image.metadata(items[item].metadata) for item in ids.tolist()] if items else []
    n = len(ids)
    pool = TypedPool(
        ids=ids,
        tasks=np.array([items[item].task for item in ids.tolist()] if items else np.zeros(n), dtype=np.int64),
        columns=_typed_alike(columns, metadata) if items else [],
        held_out=np.zeros(n, dtype=bool),
        groups=np.full(n, -1, dtype=np.int64),
        shared=np.zeros(n, dtype=bool),
        fields=Fields(n, {}, {}),
        unread=None,
    )
    return Layout(pool, np.zeros((n, 2), dtype=np.float32))

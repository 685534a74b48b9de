"""The embedded pool as the pages need it: metadata, places on a map, what the champion expects; no vectors kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from cdsel_backend.labelstudio.labels import LabelSpace, parse_label_space
from cdsel_backend.pool.columns import Column, read_columns
from cdsel_backend.reconcile.context import Pool, answers, load_champion, read_offers
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.label_text import NONE, presence_names
from cdsel_backend.training import ModelFormatError

SAMPLE = 4000  # vectors that the axes of the map are fitted on
KEPT = 4  # projects
STALE = 5.0


@dataclass(frozen=True, eq=False)
class PoolTable:
    """The pool at one moment: `ids` and `tasks` (n,), `columns` of n items, `places` (n, 2) float32.

    `held_out` (n,) are the rows whose labels no model is trained on.
    """

    ids: NDArray[np.int64]
    tasks: NDArray[np.int64]
    columns: Sequence[Column]
    places: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    space: LabelSpace
    offers: Sequence[tuple[float, Sequence[str]]]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What an image can be labelled: the classes; where it may show any of them, also that it shows none."""
        return (*self.space.classes, *((NONE,) if self.space.kind == "presence" else ()))

    def codes(self, label: str) -> list[int]:
        """The `classes` that a label names, as indices; several where an image shows several."""
        names = presence_names(label) if self.space.kind == "presence" else (label,)
        known = [self.classes.index(name) for name in names or () if name in self.space.classes]
        return [len(self.classes) - 1] if names == () else known

    def labels(self, state: State) -> NDArray[Any]:
        """The labels of the rows as they stand now, as `Pool.labels` has them."""
        nothing = np.zeros((len(self.ids), 0), dtype=np.float32)
        return Pool(state, self.ids, nothing, self.columns, self.space, self.offers).labels

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Item -> its row."""
        return {int(item): row for row, item in enumerate(self.ids)}

    def column(self, name: str) -> Column | None:
        """A variable by its name."""
        return next((column for column in self.columns if column.name == name), None)

    def rows(self, items: Any) -> NDArray[np.int64]:
        """The rows of those items that are in the table."""
        return np.array(sorted(self.row_of[item] for item in items if item in self.row_of), dtype=np.int64)


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    key: tuple[Any, ...] | None = None
    table: PoolTable | None = None
    took: float = 0.0  # seconds to make it
    made_at: float = 0.0
    expected_key: tuple[Any, ...] | None = None
    expected: NDArray[np.float32] | None = None


class PoolTables:
    """The tables of the projects looked at last, each made again when its pool moved.

    While a large pool is being embedded it moves all the time: a table then serves `STALE` times as long as it took.
    """

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self._server = server
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[int, _Kept] = {}

    def table(self, state: State) -> PoolTable:
        """The pool's table as it stands."""
        kept, key = self._entry(state), self._key(state)
        with kept.lock:
            stale = kept.key != key and time.monotonic() - kept.made_at > STALE * kept.took
            if kept.table is None or stale:
                start = time.monotonic()
                kept.table, kept.key = _read(self._store, state), key
                kept.made_at = time.monotonic()
                kept.took = kept.made_at - start
            return kept.table

    def expected(self, state: State) -> NDArray[np.float32] | None:
        """The champion's probabilities (n, c) for the rows of `table(state)`; None without a champion."""
        if state.project.champion is None:
            return None
        table = self.table(state)
        kept = self._entry(state)
        key = (kept.key, state.project.champion)
        with kept.lock:
            if kept.expected_key != key:
                kept.expected, kept.expected_key = self._predict(state, table), key
            return kept.expected

    def _entry(self, state: State) -> _Kept:
        with self._lock:
            entry = self._kept.pop(state.project.id, None) or _Kept()
            self._kept[state.project.id] = entry  # the newest last
            while len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
            return entry

    def _key(self, state: State) -> tuple[Any, ...]:
        project, settings = state.project, state.settings
        embedded = self._store.embedding_progress(project.id, project.backbone)
        return (
            project.backbone,
            project.pool_version,
            project.label_config,
            embedded,
            tuple(settings.ignore),
            settings.group,
        )

    def _predict(self, state: State, table: PoolTable) -> NDArray[np.float32] | None:
        try:
            model = load_champion(self._server, state)
        except ModelFormatError:
            return None  # the worker reports it
        if model is None:
            return None
        parts = []
        for ids, vectors in self._store.iter_vectors(state.project.id, state.project.backbone):
            rows = table.rows(ids.tolist())
            if len(rows) != len(ids):
                return None  # the pool moved meanwhile: the next look finds it whole
            parts.append(
                answers(model, table.space, vectors, [column.take(rows) for column in table.columns])
            )
        return np.concatenate(parts).astype(np.float32) if parts else None


def _read(store: Store, state: State) -> PoolTable:
    project = state.project
    space = parse_label_space(project.label_config)
    ids, places = _places(store, project.id, project.backbone)
    by_id = {row.id: row for row in state.items}
    rows = [by_id[item] for item in ids.tolist()]
    metadata = [{key: value for key, value in row.data.items() if key != space.image_key} for row in rows]
    columns = read_columns(metadata, ignore=state.settings.ignore, groups=state.settings.group)
    pool = Pool(state, ids, np.zeros((len(ids), 0), dtype=np.float32), columns, space)
    return PoolTable(
        ids=ids,
        tasks=np.array([row.task for row in rows], dtype=np.int64),
        columns=columns,
        places=places,
        held_out=pool.held_out,
        space=space,
        offers=read_offers(store, project.id),
    )


def _places(store: Store, project: int, backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Item ids (n,) and where they lie on the two main axes of the pool (n, 2).

    The axes are fitted on an even sample, so that a large pool is read part by part and never held whole.
    """
    embedded, _, _ = store.embedding_progress(project, backbone)
    every = max(1, embedded // SAMPLE)
    sample = [vectors for _, vectors in store.iter_vectors(project, backbone, every=every)]
    fitted = np.concatenate(sample) if sample else np.zeros((0, 0), dtype=np.float32)
    if len(fitted) < 3 or fitted.shape[1] < 2:
        ids = np.concatenate(
            [ids for ids, _ in store.iter_vectors(project, backbone)] or [np.zeros(0, np.int64)]
        )
        return ids, np.zeros((len(ids), 2), dtype=np.float32)
    axes = PCA(n_components=2, svd_solver="randomized", random_state=0).fit(fitted)
    found = [
        (ids, axes.transform(vectors).astype(np.float32))
        for ids, vectors in store.iter_vectors(project, backbone)
    ]
    return np.concatenate([ids for ids, _ in found]), np.concatenate([places for _, places in found])

"""The pool laid out beforehand: a place on the map for each image, in one file a project.

Reading 100,000 vectors takes seconds. The worker does it once the pool is embedded, so that the first look at the map
needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.project.array_file import key_of, read_arrays, write_arrays
from cdsel_backend.project.metadata import TypedPool, is_typed, pool_key, typed_pool
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

SAMPLE = 4000  # vectors that the axes of the map are fitted on


@dataclass(frozen=True, eq=False)
class Layout:
    """The embedded pool at one moment, and `places` (n, 2) float32, on its two main axes."""

    pool: TypedPool
    places: NDArray[np.float32]


def keep_layout(server: ServerSettings, state: State) -> bool:
    """Keep the layout of the pool in a file, again whenever the pool moved; returns whether it was written."""
    if not state.store.embedding_progress(state.project.id).embedded:
        return False
    key, path = pool_key(state), _path(server, state)
    if key_of(path) == key and is_typed(state, server):
        return False
    layout = make_layout(state, server)
    write_arrays(path, key, {"ids": layout.pool.ids, "places": layout.places}, {})
    return True


def make_layout(state: State, server: ServerSettings | None = None) -> Layout:
    """Read the embedded pool and lay it out; `server`: where its typed metadata may be kept."""
    pool = typed_pool(state, server)
    ids, places = _places(state.store, state.project.id, state.project.backbone)
    if not np.array_equal(ids, pool.ids):  # the pool moved between the two looks
        known = dict(zip(ids.tolist(), places, strict=True))
        nowhere = np.zeros(2, dtype=np.float32)
        places = np.array([known.get(item, nowhere) for item in pool.ids.tolist()]).reshape(-1, 2)
    return Layout(pool, places)


def read_layout(server: ServerSettings, state: State) -> Layout | None:
    """The layout that the worker kept; None where there is none, or one of another moment."""
    key = pool_key(state)
    kept = read_arrays(_path(server, state), key)
    if kept is None or not is_typed(state, server):
        return None
    pool, places = typed_pool(state, server), kept[0]["places"]
    return Layout(pool, places) if len(places) == len(pool.ids) else None


def _path(server: ServerSettings, state: State) -> Path:
    return server.layouts_folder / f"{state.project.id}.npz"


def _places(store: Store, project: int, backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Item ids (n,) and where they lie on the two main axes of the pool (n, 2).

    The axes are fitted on an even sample, so that a large pool is read part by part and never held whole.
    """
    every = max(1, store.embedding_progress(project).embedded // SAMPLE)
    sample = [vectors for _, vectors in store.iter_vectors(project, backbone, every=every)]
    fitted = np.concatenate(sample) if sample else np.zeros((0, 0), dtype=np.float32)
    # Equal vectors have no axes, and nothing to be divided by.
    if len(fitted) < 3 or fitted.shape[1] < 2 or not np.ptp(fitted, axis=0).any():
        ids = np.concatenate(
            [ids for ids, _ in store.iter_vectors(project, backbone)] or [np.zeros(0, np.int64)]
        )
        return ids, np.zeros((len(ids), 2), dtype=np.float32)
    from sklearn.decomposition import PCA  # slow to load

    axes = PCA(n_components=2, svd_solver="randomized", random_state=0).fit(fitted)
    found = [
        (ids, axes.transform(vectors).astype(np.float32))
        for ids, vectors in store.iter_vectors(project, backbone)
    ]
    return np.concatenate([ids for ids, _ in found]), np.concatenate([places for _, places in found])

"""The pool laid out beforehand: metadata as columns and a place on the map for each image, in one file a project.

Reading 100,000 vectors and typing their metadata takes seconds. The worker does it once the pool is embedded, so that
the first look at the map needs neither.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.project.view import view_of
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

SAMPLE = 4000  # vectors that the axes of the map are fitted on
FORM = 2  # of the file, since it holds groups


@dataclass(frozen=True, eq=False)
class Layout:
    """The embedded pool at one moment: n images in order of item ids.

    `ids` and `tasks` (n,) int64; `columns` of n items; `places` (n, 2) float32, on the two main axes of the pool;
    `held_out` (n,) bool, the images whose labels no model is trained on; `groups` (n,) int64, the patient or lesion.
    """

    ids: NDArray[np.int64]
    tasks: NDArray[np.int64]
    columns: Sequence[Column]
    places: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    groups: NDArray[np.int64]


def layout_key(store: Store, state: State) -> str:
    """What a layout depends on."""
    project, settings = state.project, state.settings
    embedded = store.embedding_progress(project.id)
    parts = [
        FORM,
        project.backbone,
        project.pool_version,
        space_of(state).image.value,
        *embedded,
        sorted(settings.ignore),
        settings.group,
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def keep_layout(server: ServerSettings, store: Store, state: State) -> bool:
    """Keep the layout of the pool in a file, again whenever the pool moved; returns whether it was written."""
    if not store.embedding_progress(state.project.id)[0]:
        return False
    key = layout_key(store, state)
    path = _path(server, state)
    if _key_of(path) == key:
        return False
    _write(path, key, make_layout(store, state))
    return True


def make_layout(store: Store, state: State) -> Layout:
    """Read the embedded pool and lay it out."""
    ids, places = _places(store, state.project.id, state.project.backbone)
    view = view_of(store, state, ids)
    return Layout(
        ids=ids,
        tasks=np.array([row.task for row in view.rows], dtype=np.int64),
        columns=view.columns,
        places=places,
        held_out=view.held_out,
        groups=view.groups,
    )


def read_layout(server: ServerSettings, state: State, key: str) -> Layout | None:
    """The layout that the worker kept; None where there is none, or one of another moment."""
    path = _path(server, state)
    if _key_of(path) != key:
        return None
    with np.load(path, allow_pickle=False) as kept:
        head = json.loads(bytes(kept["head"]))
        if head["key"] != key:
            return None  # the worker wrote another meanwhile
        columns = [
            Column.from_meta(one, kept[f"codes_{place}"].astype(np.int64))
            for place, one in enumerate(head["columns"])
        ]
        others = (kept[name] for name in ("places", "held_out", "groups"))
        return Layout(kept["ids"], kept["tasks"], columns, *others)


def _path(server: ServerSettings, state: State) -> Path:
    return server.data_dir / "layouts" / f"{state.project.id}.npz"


def _key_of(path: Path) -> str | None:
    """The key of a file; None where there is no whole one."""
    try:
        with zipfile.ZipFile(path) as parts, parts.open("head.npy") as head:
            stored = np.lib.format.read_array(head, allow_pickle=False)  # type: ignore[no-untyped-call]
            return str(json.loads(stored.tobytes())["key"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None


def _write(path: Path, key: str, layout: Layout) -> None:
    head = {
        "key": key,
        "columns": [one.meta() for one in layout.columns],
    }
    # A column has at most a few dozen levels, unless it is no candidate.
    codes = {f"codes_{place}": one.codes.astype(np.int32) for place, one in enumerate(layout.columns)}
    data = io.BytesIO()
    np.savez(
        data,
        head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        ids=layout.ids,
        tasks=layout.tasks,
        places=layout.places,
        held_out=layout.held_out,
        groups=layout.groups,
        **codes,  # type: ignore[arg-type]  # NumPy's stubs take any keyword for allow_pickle
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    part.write_bytes(data.getbuffer())
    part.replace(path)


def _places(store: Store, project: int, backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Item ids (n,) and where they lie on the two main axes of the pool (n, 2).

    The axes are fitted on an even sample, so that a large pool is read part by part and never held whole.
    """
    embedded, _, _ = store.embedding_progress(project)
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

"""Predictions: the one door to what the champion, or any model, says of images of a project."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import LabelSpace, space_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows
from cdsel_backend.project.embedded import EmbeddedPool, Vectors
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.training import Model, TunedModel, answers_for, load, load_meta

KEPT = 8  # models in memory, of whatever projects
_BLOCK = 65_536  # images that a model is asked about at once


class Predictions:
    """The predictions of the champions of all projects; the models that were asked last stay loaded.

    May be used from several threads.
    """

    def __init__(self, server: ServerSettings, store: Store, *, kept: int = KEPT) -> None:
        self._server = server
        self._store = store
        self._lock = threading.Lock()
        self._models: LRUCache[Path, tuple[Model, str | None]] = LRUCache(maxsize=kept)

    def model(self, state: State) -> Model | None:
        """The champion, as `load_champion` gives it, from memory where it was asked before.

        Raises:
            ModelFormatError: its folder is damaged; the message names the file.
        """
        version = state.project.champion
        if version is None:
            return None
        folder = model_folder(self._server, state.project.id) / version
        with self._lock:  # a version is written once: what was loaded is what its folder holds
            if folder not in self._models:
                self._models[folder] = load(folder), trained_on(folder)
            model, backbone = self._models[folder]
        return _serving(model, backbone, state)

    def of_items(self, state: State, items: Collection[int]) -> dict[int, NDArray[np.float64]] | None:
        """Item -> probabilities (c,) in the order of the classes, of those that have a vector; None without a champion.

        Raises:
            ModelFormatError: the champion's folder is damaged; the message names the file.
        """
        model = self.model(state)
        if model is None:
            return None
        project = state.project

        def vectors_by(backbone: str, ids: NDArray[np.int64]) -> Vectors:
            return self._store.vectors_of(project.id, backbone, ids)

        ids, vectors = vectors_by(project.backbone, np.array(sorted(items), dtype=np.int64))
        if not len(ids):
            return {}
        by_id = self._store.items_by_id(ids.tolist())
        metadata = [by_id[item].metadata for item in ids.tolist()]
        space = space_of(state)

        def encode(variable: Column) -> Column:
            return variable.encode(metadata)

        found = _with_tuned(model, space, ids, vectors, encode, vectors_by)
        return dict(zip(ids.tolist(), found, strict=True))


def model_folder(server: ServerSettings, project: int) -> Path:
    """Where the model versions of a project are."""
    return server.data_dir / "models" / str(project)


def load_champion(server: ServerSettings, state: State) -> Model | None:
    """The champion; none before the first, while the labeling config asks for what it does not know, and while the
    pool's vectors are of another backbone than those it was trained on.

    Raises:
        ModelFormatError: its folder is damaged; the message names the file.
    """
    return load_version(server, state, state.project.champion)


def load_version(server: ServerSettings, state: State, version: str | None) -> Model | None:
    """A model version, as `load_champion` loads the champion.

    Raises:
        ModelFormatError: its folder is damaged; the message names the file.
    """
    if version is None:
        return None
    folder = model_folder(server, state.project.id) / version
    return _serving(load(folder), trained_on(folder), state)


def trained_on(folder: Path) -> str | None:
    """The fingerprint of the backbone whose vectors a model version was trained on; None where it does not say.

    Raises:
        ModelFormatError: the folder is damaged; the message names the file.
    """
    return load_meta(folder).get("backbone")


def _serving(model: Model, backbone: str | None, state: State) -> Model | None:
    if backbone not in (None, state.project.backbone):
        return None
    return None if misfit(model, space_of(state)) else model


def predict(model: Model, pool: EmbeddedPool, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (m, c) of rows of the pool, in the order of its classes.

    A model with a fine-tuned backbone goes by that backbone's vectors, too, for images that have one.
    """
    encode = partial(pool.encoded, rows=rows)
    return _with_tuned(model, pool.space, pool.ids[rows], pool.vectors[rows], encode, pool.vectors_by)


def predict_pool(model: Model, pool: EmbeddedPool) -> NDArray[np.float64]:
    """Probabilities (n, c) of the whole pool, by the vectors that all of it has."""
    every = np.arange(len(pool.ids), dtype=np.int64)
    return answers_by(model, pool.space, pool.vectors, partial(pool.encoded, rows=every))


def _with_tuned(
    model: Model,
    space: LabelSpace,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    encode: Callable[[Column], Column],
    vectors_by: Callable[[str, NDArray[np.int64]], Vectors],
) -> NDArray[np.float64]:
    """Probabilities (m, c) of items by their vectors (m, d), and by those of the model's own backbone if it has one."""
    found = answers_by(model, space, vectors, encode)
    if isinstance(model, TunedModel):
        tuned_ids, tuned_vectors = vectors_by(model.fingerprint, ids)
        seen = np.flatnonzero(np.isin(ids, tuned_ids))
        if len(seen):
            ours = tuned_vectors[np.searchsorted(tuned_ids, ids[seen])]
            tuned = answers_by(model.head, space, ours, lambda variable: encode(variable).take(seen))
            found[seen] = model.mean(found[seen], tuned)
    return found


def answers(
    model: Model, space: LabelSpace, vectors: VectorRows, metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """`answers_by` of vectors (m, d) with the data of their m tasks."""
    return answers_by(model, space, vectors, lambda variable: variable.encode(metadata))


def answers_by(
    model: Model, space: LabelSpace, vectors: VectorRows, encode: Callable[[Column], Column]
) -> NDArray[np.float64]:
    """Probabilities (m, c) of vectors (m, d), in the order of a label space's classes.

    `encode` gives the model's variables over the m items, by the model's own levels: those of the pool move as it
    grows, and a range of ages that the model does not know would go without its correction.

    A model from before the classes changed says 0 for those it does not know; what it says of one that is gone is
    shared out among the rest where an image has one class.
    """
    columns = [encode(variable) for variable in model.variables]
    found = np.empty((len(vectors), len(model.classes)))
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        found[rows] = model.predict(vectors[rows], [column.take(rows) for column in columns])
    if model.classes == space.classes:
        return found
    probabilities: NDArray[np.float64] = np.zeros((len(vectors), len(space.classes)))
    for code, name in enumerate(space.classes):
        if name in model.classes:
            probabilities[:, code] = found[:, model.classes.index(name)]
    probabilities = space.kind.complete(probabilities)
    probabilities[~np.isfinite(found).all(axis=1)] = np.nan
    return probabilities


def misfit(model: Model, space: LabelSpace) -> str | None:
    """Why a model cannot serve a label space, as a sentence; None when it can."""
    if not answers_for(model, space.kind):
        return f"it was trained for another kind of label; the labeling config now asks for {space.kind.asks}"
    known = [name for name in model.classes if name in space.classes]
    if len(known) < space.kind.fewest_classes:
        return f"the labeling config knows too few of its classes ({', '.join(model.classes)})"
    return None

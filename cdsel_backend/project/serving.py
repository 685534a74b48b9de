"""Predictions: the one door to what the champion, or any model, says of images of a project."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import LabelSpace, space_of
from cdsel_backend.project.embedded import EmbeddedPool, Vectors
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.training import Model, TunedModel, answers_for, load, load_meta

KEPT = 8  # models in memory, of whatever projects


class Predictions:
    """What the champions of all projects say; the models that were asked last stay loaded.

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
        found = _with_tuned(model, space, ids, vectors, metadata, vectors_by)
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
    metadata = [pool.rows[row].metadata for row in rows]
    return _with_tuned(model, pool.space, pool.ids[rows], pool.vectors[rows], metadata, pool.vectors_by)


def _with_tuned(
    model: Model,
    space: LabelSpace,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    metadata: Sequence[Mapping[str, Any]],
    vectors_by: Callable[[str, NDArray[np.int64]], Vectors],
) -> NDArray[np.float64]:
    """Probabilities (m, c) of items by their vectors (m, d), and by those of the model's own backbone if it has one."""
    found = answers(model, space, vectors, metadata)
    if isinstance(model, TunedModel):
        tuned_ids, tuned_vectors = vectors_by(model.fingerprint, ids)
        seen = np.flatnonzero(np.isin(ids, tuned_ids))
        if len(seen):
            ours = tuned_vectors[np.searchsorted(tuned_ids, ids[seen])]
            tuned = answers(model.head, space, ours, [metadata[row] for row in seen])
            found[seen] = model.mean(found[seen], tuned)
    return found


def answers(
    model: Model, space: LabelSpace, vectors: NDArray[np.floating], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Probabilities (m, c) of vectors (m, d) with the data of their m tasks, in the order of a label space's classes.

    The data are read by the model's own levels: those of the pool move as it grows, and a range of ages that the
    model does not know would go without its correction.

    A model from before the classes changed says 0 for those it does not know; what it says of one that is gone is
    shared out among the rest where an image has one class.
    """
    found = model.predict(vectors, [variable.encode(metadata) for variable in model.variables])
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
    """Why a model cannot serve a label space, in words; None when it can."""
    if not answers_for(model, space.kind):
        return f"it was trained for another kind of label; the labeling config now asks for {space.kind.asks}"
    known = [name for name in model.classes if name in space.classes]
    if len(known) < space.kind.fewest_classes:
        return f"the labeling config knows too few of its classes ({', '.join(model.classes)})"
    return None

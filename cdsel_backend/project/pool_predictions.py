"""What the champion says of the whole pool, kept beforehand in one file a project, for the pages that list images.

A pool of 100,000 takes seconds to ask about. The worker does it once for each champion and each change of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import LabelSpace, space_of
from cdsel_backend.project.array_file import key_of, read_arrays, write_arrays
from cdsel_backend.project.digests import digest_of
from cdsel_backend.project.embedded import read_pool
from cdsel_backend.project.metadata import pool_key
from cdsel_backend.project.serving import Predictions, predict
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.training import Model

BLOCK = 16_384  # images asked about at once


@dataclass(frozen=True, eq=False)
class PoolPredictions:
    """A model's predictions for n images.

    `ids` (n,) are their items, ascending. `outcomes` (n, q) int16 has a column for each decision that a label makes, -1
    where there is no prediction. `doubt` (n,) float32 is one minus the probability of the decision that the model is
    least sure of, NaN where there is no prediction.
    """

    ids: NDArray[np.int64]
    outcomes: NDArray[np.int16]
    doubt: NDArray[np.float32]

    def among(self, ids: NDArray[np.int64]) -> PoolPredictions:
        """The predictions for other images (m,), ascending: none for images that are not among these."""
        at = np.searchsorted(self.ids, ids)
        known = at < len(self.ids)
        known[known] = self.ids[at[known]] == ids[known]
        outcomes = np.full((len(ids), self.outcomes.shape[1]), -1, dtype=np.int16)
        doubt = np.full(len(ids), np.nan, dtype=np.float32)
        outcomes[known], doubt[known] = self.outcomes[at[known]], self.doubt[at[known]]
        return PoolPredictions(ids, outcomes, doubt)


def keep_predictions(server: ServerSettings, state: State, predictions: Predictions) -> bool:
    """Keep what the champion says of the pool in a file, again when either changed; returns whether it was written.

    Raises:
        ModelFormatError: the champion's folder is damaged; the message names the file.
    """
    if state.project.champion is None or not state.store.embedding_progress(state.project.id).embedded:
        return False
    key, path = f"{_model_key(state)} {pool_key(state)}", _path(server, state)
    if key_of(path) == key:
        return False
    model = predictions.model(state)
    if model is None:
        return False
    made = ask(model, state, server)
    arrays: dict[str, NDArray[Any]] = {"ids": made.ids, "outcomes": made.outcomes, "doubt": made.doubt}
    write_arrays(path, key, arrays, {})
    return True


def ask(model: Model, state: State, server: ServerSettings) -> PoolPredictions:
    """Ask a model about the whole pool, block by block."""
    pool = read_pool(state, server)
    kind = pool.kind
    outcomes, doubt = [], []
    for start in range(0, len(pool.ids), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(pool.ids)), dtype=np.int64)
        probabilities = predict(model, pool, rows)
        outcomes.append(kind.decided(probabilities).astype(np.int16))
        sure = np.stack([part.max(axis=1) for part in kind.by_decision(probabilities)], axis=1)
        doubt.append((1 - sure.min(axis=1)).astype(np.float32))
    return PoolPredictions(pool.ids, np.concatenate(outcomes), np.concatenate(doubt))


def read_predictions(server: ServerSettings, state: State) -> PoolPredictions | None:
    """The champion's predictions that the worker kept; None where there are none. The pool may have moved since."""
    path = _path(server, state)
    key = key_of(path)
    if state.project.champion is None or key is None or key.split(" ")[0] != _model_key(state):
        return None
    kept = read_arrays(path, key)
    if kept is None:
        return None
    arrays = kept[0]
    return PoolPredictions(arrays["ids"], cast(NDArray[np.int16], arrays["outcomes"]), arrays["doubt"])


def _model_key(state: State) -> str:
    space: LabelSpace = space_of(state)
    return digest_of([state.project.champion, state.project.backbone, space.kind.name, list(space.classes)])


def _path(server: ServerSettings, state: State) -> Path:
    return server.layouts_folder / f"{state.project.id}.predicted.npz"

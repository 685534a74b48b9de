"""k-center greedy (Sener and Savarese, "Active Learning for CNNs: A Core-Set Approach", ICLR 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem

_BLOCK = 4096


def fill(problem: Problem, draft: Draft) -> None:
    """Pick, time after time, the open item farthest from everything taken or picked.

    The gain is that distance. With nothing taken, the item nearest the mean comes first.
    """
    vectors = np.where(problem.usable[:, None], problem.vectors, 0).astype(np.float32)
    square = np.einsum("ij,ij->i", vectors, vectors)
    nearest: NDArray[np.float32] = np.full(len(vectors), np.inf, dtype=np.float32)
    taken = np.flatnonzero(problem.taken & problem.usable)
    for start in range(0, len(taken), _BLOCK):
        nearest = np.minimum(
            nearest, _square_distances(vectors, square, taken[start : start + _BLOCK]).min(axis=1)
        )
    while not draft.full:
        if np.isinf(nearest).all():
            center = vectors[problem.usable].mean(axis=0)
            nearness = -(square - 2 * vectors @ center)
            index = int(np.argmax(np.where(draft.open, nearness, -np.inf)))
            gain = 0.0
        else:
            index = int(np.argmax(np.where(draft.open, nearest, -1.0)))
            gain = float(np.sqrt(max(nearest[index], 0.0)))
        draft.add(index, gain)
        nearest = np.minimum(nearest, _square_distances(vectors, square, np.array([index]))[:, 0])


def _square_distances(
    vectors: NDArray[np.float32], square: NDArray[np.float32], of: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return (n, len(of)) squared distances, never below 0."""
    return np.maximum(square[:, None] - 2 * vectors @ vectors[of].T + square[of], 0)

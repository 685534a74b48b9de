"""k-center greedy (Sener and Savarese, "Active Learning for CNNs: A Core-Set Approach", ICLR 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft, Pick
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
    for start in range(0, len(vectors) if len(taken) else 0, _BLOCK):
        block = slice(start, start + _BLOCK)
        nearest[block] = _square_distances(vectors[block], square[block], vectors[taken], square[taken]).min(
            axis=1
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
        draft.add(Pick(index, gain))
        from_it = _square_distances(vectors, square, vectors[[index]], square[[index]])[:, 0]
        nearest = np.minimum(nearest, from_it)


def _square_distances(
    a: NDArray[np.float32],
    a_square: NDArray[np.float32],
    b: NDArray[np.float32],
    b_square: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return (len(a), len(b)) squared distances, never below 0, given the squared lengths."""
    return np.maximum(a_square[:, None] - 2 * a @ b.T + b_square, 0)

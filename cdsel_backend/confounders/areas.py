"""Areas under the ROC curves of a variable's levels, over all items or among those of one label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_PAIRS = 10  # of items of one label with different levels; with fewer, nothing is said given the label


def macro_auroc(
    hat: NDArray[np.float32], codes: NDArray[np.int64], probed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean AUROC over the probed levels for each row of codes (m, gk)."""
    targets = (codes[:, None, :] == probed[:, None]).reshape(-1, len(hat))
    deviations = targets - targets.mean(axis=1, keepdims=True, dtype=np.float32)
    areas: NDArray[np.float64] = _auroc(deviations @ hat.T, targets).reshape(-1, len(probed)).mean(axis=1)
    return areas


@dataclass(frozen=True, eq=False)
class Inside:
    """Items to compare inside their labels: `items` (m,) sorted by label; `bounds` where each label's begin and end."""

    items: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64]) -> Inside:
        """Sort the items by their labels, of any shape, -1 being unlabelled: those are not compared."""
        flat = labels.ravel()
        items = np.argsort(flat, kind="stable")[(flat < 0).sum() :]
        changes = np.flatnonzero(np.diff(flat[items])) + 1
        return cls(items, np.concatenate([[0], changes, [len(items)]]).astype(np.int64))

    def auroc(
        self, hat: NDArray[np.float32], codes: NDArray[np.int64], probed: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """Return the pooled AUROC of each row of codes (m, gk); None where the first row has too few pairs."""
        if not len(probed) or len(self.items) < 2:
            return None
        targets = (codes[:, None, :] == probed[:, None]).reshape(-1, codes.shape[1])
        deviations = targets - targets.mean(axis=1, keepdims=True, dtype=np.float32)
        scores = deviations @ hat[self.items].T
        positive = targets[:, self.items]
        wins, pairs = np.zeros(len(targets)), np.zeros(len(targets))
        for start, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            part = slice(int(start), int(end))
            won, compared = _won(scores[:, part], positive[:, part])
            wins += won
            pairs += compared
        wins, pairs = (a.reshape(-1, len(probed)).sum(axis=1) for a in (wins, pairs))
        if pairs[0] < _LEAST_PAIRS:
            return None
        return np.asarray(wins / np.maximum(pairs, 1), dtype=np.float64)


def _auroc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each row."""
    wins, pairs = _won(scores, positive)
    return np.asarray(wins / np.maximum(pairs, 1), dtype=np.float64)


def _won(
    scores: NDArray[np.float32], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return for each row the pairs in which the positive item scores higher, and all pairs (Mann-Whitney).

    Ties count as the items happen to lie.
    """
    hits = np.take_along_axis(positive, scores.argsort(axis=1), axis=1)
    n1 = hits.sum(axis=1)
    return hits @ np.arange(1.0, hits.shape[1] + 1) - n1 * (n1 + 1) / 2, n1 * (hits.shape[1] - n1)

"""Is a variable written in the images? A linear probe from embeddings, cross-validated over groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import fit_representation

_ITEMS = 1500
_COMPONENTS = 64
_FOLDS = 5
_PERMUTATIONS = 399
_RIDGE = 0.1  # of the mean variance of a component, per item
_LEAST = 8  # items of a level; rarer ones are not probed
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Probe:
    """Ridge regression, cross-validated, as one matrix.

    `rows` (g, k): positions of k items from each of g groups; `hat` (gk, gk) float32 turns any target over those
    items into its out-of-fold predictions, so that a permutation costs one product.
    """

    rows: NDArray[np.int64]
    hat: NDArray[np.float32]

    def auroc(self, codes: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float] | None:
        """Return (macro one-vs-rest AUROC, permutation p-value) of a variable (n,) over the whole pool.

        The null permutes the variable between groups, never inside one. None where fewer than two levels have
        enough items.
        """
        sampled = codes[self.rows]
        levels, counts = np.unique(sampled, return_counts=True)
        probed = levels[counts >= _LEAST]
        if not len(probed) or len(levels) < 2:
            return None
        if len(levels) == 2:
            probed = probed[:1]  # the other level's AUROC is the same
        orders = [np.arange(len(self.rows)), *(rng.permutation(len(self.rows)) for _ in range(_PERMUTATIONS))]
        scores = np.zeros(len(orders))
        step = max(1, _ROWS_AT_ONCE // len(probed))
        for start in range(0, len(orders), step):
            shuffled = np.stack([sampled[order].ravel() for order in orders[start : start + step]])
            targets = (shuffled[:, None, :] == probed[:, None]).reshape(-1, len(self.hat))
            deviations = targets - targets.mean(axis=1, keepdims=True, dtype=np.float32)
            areas = _auroc(deviations @ self.hat.T, targets)
            scores[start : start + step] = areas.reshape(-1, len(probed)).mean(axis=1)
        p = (1 + (scores[1:] >= scores[0]).sum()) / len(scores)
        return float(scores[0]), float(p)


def fit_probe(
    vectors: NDArray[np.floating], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> Probe | None:
    """Prepare a probe on at most 1,500 items, spread over as many groups as there are.

    vectors (n, d), finite; groups (n,) or none, a negative one is an item on its own. None with fewer than
    20 items or fewer than two groups.
    """
    rows = _sample(len(vectors), groups, rng)
    if rows.size < 20 or len(rows) < 2:
        return None
    x = vectors[rows.ravel()]
    x = fit_representation(x, [], strength=0.0, components=_COMPONENTS).project(x).astype(np.float64)
    x -= x.mean(axis=0)
    folds = np.repeat(rng.permutation(len(rows)) % min(_FOLDS, len(rows)), rows.shape[1])
    hat = np.zeros((len(x), len(x)), dtype=np.float32)
    for fold in range(folds.max() + 1):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        gram = x[train].T @ x[train]
        gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
        hat[np.ix_(test, train)] = x[test] @ np.linalg.solve(gram, x[train].T)
    return Probe(rows, hat)


def _sample(n: int, groups: NDArray[np.int64] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (g, k) positions: k items of each of g groups, drawn again where a group has fewer than k."""
    order = rng.permutation(n)
    if groups is None:
        return order[:_ITEMS, None]
    keys = np.where(groups < 0, -1 - np.arange(n), groups)[order]
    _, group = np.unique(keys, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    firsts = np.cumsum(sizes) - sizes
    chosen = rng.permutation(len(sizes))[:_ITEMS]
    each = max(1, min(_ITEMS // len(chosen), -(-n // len(sizes))))
    offsets = np.arange(each) % sizes[chosen][:, None]
    return np.asarray(order[by_group[firsts[chosen][:, None] + offsets]], dtype=np.int64)


def _auroc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each row (Mann-Whitney); ties count as the items happen to lie."""
    hits = np.take_along_axis(positive, scores.argsort(axis=1), axis=1)
    n1 = hits.sum(axis=1)
    wins = hits @ np.arange(1.0, scores.shape[1] + 1) - n1 * (n1 + 1) / 2
    return np.asarray(wins / np.maximum(n1 * (scores.shape[1] - n1), 1), dtype=np.float64)

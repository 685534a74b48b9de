"""Is a variable written in the images? A linear probe from embeddings, cross-validated over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from cdsel_backend.confounders.association import permutation_p
from cdsel_backend.confounders.representation import fit_representation
from cdsel_backend.pool.groups import alone_or_together

_ITEMS = 1500
_COMPONENTS = 64
_FOLDS = 5
_PERMUTATIONS = 399
_BLOCKS = 20  # of groups, left out one after the other for the intervals
_RIDGE = 0.1  # of the mean variance of a component, per item
_LEAST = 8  # items of a level; rarer ones are not probed
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Probe:
    """Ridge regression, cross-validated, as one matrix.

    `rows` (g, k): positions of k items from each of g groups, in random order; `inputs` (g, k, d) their components;
    `folds` (g,) the fold that each group is predicted in; `hat` (gk, gk) float32 turns any target over those items
    into its out-of-fold predictions, so that a permutation costs one product.
    """

    rows: NDArray[np.int64]
    inputs: NDArray[np.float64]
    folds: NDArray[np.int64]
    hat: NDArray[np.float32]

    def auroc(
        self, codes: NDArray[np.int64], rng: np.random.Generator, tests: int = 1
    ) -> tuple[float, float] | None:
        """Return (macro one-vs-rest AUROC, permutation p-value) of a variable (n,) over the whole pool.

        The null permutes the variable between groups, never inside one. `tests` is how many p-values will be adjusted
        together. None where fewer than two levels have enough items.
        """
        sampled = codes[self.rows]
        probed = _probed(sampled)
        if not len(probed):
            return None
        observed = _macro_auroc(self.hat, sampled.reshape(1, -1), probed)[0]
        step = max(1, _ROWS_AT_ONCE // len(probed))

        def reached(count: int) -> int:
            found = 0
            for start in range(0, count, step):
                orders = [rng.permutation(len(self.rows)) for _ in range(min(step, count - start))]
                shuffled = np.stack([sampled[order].ravel() for order in orders])
                found += int((_macro_auroc(self.hat, shuffled, probed) >= observed).sum())
            return found

        return float(observed), permutation_p(reached, _PERMUTATIONS, tests)

    def intervals(self, variables: Sequence[NDArray[np.int64]]) -> list[tuple[float, float] | None]:
        """Return a 95 % interval of the AUROC of each variable (n,); None where `auroc` is none.

        A jackknife over blocks of groups, the probe fitted anew without each (Efron and Tibshirani 1993, ch. 11):
        predictions that stay would leave out how much the probe itself owes to chance.
        """
        sampled = [codes[self.rows] for codes in variables]
        probed = [_probed(codes) for codes in sampled]
        blocks = np.arange(len(self.rows)) % min(_BLOCKS, len(self.rows))
        areas = np.zeros((blocks.max() + 1, len(variables)))
        for block in range(len(areas)):
            kept = blocks != block
            hat = _fit(self.inputs[kept], self.folds[kept])
            for i, (codes, levels) in enumerate(zip(sampled, probed, strict=True)):
                if len(levels):
                    areas[block, i] = _macro_auroc(hat, codes[kept].reshape(1, -1), levels)[0]
        deviation = np.sqrt((len(areas) - 1) * areas.var(axis=0))
        reach = float(t.ppf(0.975, len(areas) - 1)) * deviation
        found: list[tuple[float, float] | None] = []
        for codes, levels, width in zip(sampled, probed, reach, strict=True):
            if not len(levels):
                found.append(None)
                continue
            area = _macro_auroc(self.hat, codes.reshape(1, -1), levels)[0]
            found.append((float(max(0.0, area - width)), float(min(1.0, area + width))))
        return found


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
    folds = rng.permutation(len(rows)) % min(_FOLDS, len(rows))
    inputs = np.asarray(x.reshape(*rows.shape, -1), dtype=np.float64)
    return Probe(rows, inputs, folds, _fit(inputs, folds))


def _fit(inputs: NDArray[np.float64], folds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the matrix (gk, gk) that predicts each group's items from those of the other folds."""
    g, k, d = inputs.shape
    x, folds = inputs.reshape(g * k, d), np.repeat(folds, k)
    hat = np.zeros((len(x), len(x)), dtype=np.float32)
    for fold in np.unique(folds):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        gram = x[train].T @ x[train]
        gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
        hat[np.ix_(test, train)] = x[test] @ np.linalg.solve(gram, x[train].T)
    return hat


def _probed(sampled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the levels with enough items to be told from the rest; none where there is but one level."""
    levels, counts = np.unique(sampled, return_counts=True)
    probed = levels[counts >= _LEAST]
    if len(levels) < 2:
        return probed[:0]
    return probed[:1] if len(levels) == 2 else probed  # of two, the other one's AUROC is the same


def _macro_auroc(
    hat: NDArray[np.float32], codes: NDArray[np.int64], probed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean AUROC over the probed levels for each row of codes (m, gk)."""
    targets = (codes[:, None, :] == probed[:, None]).reshape(-1, len(hat))
    deviations = targets - targets.mean(axis=1, keepdims=True, dtype=np.float32)
    areas: NDArray[np.float64] = _auroc(deviations @ hat.T, targets).reshape(-1, len(probed)).mean(axis=1)
    return areas


def _sample(n: int, groups: NDArray[np.int64] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (g, k) positions: k items of each of g groups, drawn again where a group has fewer than k."""
    order = rng.permutation(n)
    if groups is None:
        return order[:_ITEMS, None]
    group = alone_or_together(groups, n)[order]
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

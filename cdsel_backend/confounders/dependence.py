"""Does a model's output still depend on a variable once the label is known? A partial confounder test."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import units

_PERMUTATIONS = 999
_LEAST = 20


def partial_dependence(
    predictions: NDArray[np.float64],
    labels: NDArray[np.int64],
    codes: NDArray[np.int64],
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> tuple[float, float] | None:
    """Return (share explained, p-value): how far a variable explains the model's scores among items of one label.

    predictions (n, c) probabilities, rows of NaN where there is none; labels (n,), -1 = none; codes (n,). The scores
    are log probabilities, less their mean over each label; the share is the between-level sum of squares over the
    total, less what chance gives; the null permutes the variable among items of the same label (a conditional
    permutation, as in Spisak 2022, GigaScience 11). Images of one of `groups` (n,) that agree on label and level are
    one item, with their mean score. None with fewer than 20 labelled predictions.
    """
    used = np.flatnonzero((labels >= 0) & np.isfinite(predictions).all(axis=1))
    if len(used) < _LEAST:
        return None
    scores = np.log(np.clip(predictions[used], 1e-6, 1.0))
    labels, codes = labels[used], codes[used]
    once = units(None if groups is None else groups[used], labels, codes)
    scores = np.stack([np.bincount(once.of, weights=column) / once.sizes for column in scores.T], axis=1)
    labels, codes = labels[once.first], codes[once.first]
    strata = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for items in strata:
        scores[items] -= scores[items].mean(axis=0)
    total = float((scores**2).sum())
    if total <= 0:
        return 0.0, 1.0
    # Permuted among items of one label, the pairs of label and level, and how many have each, stay as they are.
    _, pairs, counts = np.unique(labels * (codes.max() + 1) + codes, return_inverse=True, return_counts=True)
    movable = [items for items in strata if len(items) > 1]
    shares = np.empty(_PERMUTATIONS + 1)
    shuffled = pairs.copy()
    for i in range(len(shares)):
        shares[i] = _between(scores, shuffled, counts) / total
        for items in movable:
            shuffled[items] = pairs[rng.permutation(items)]
    p = (1 + (shares[1:] >= shares[0] - 1e-12).sum()) / len(shares)
    return max(0.0, float(shares[0] - shares[1:].mean())), float(p)


def _between(scores: NDArray[np.float64], codes: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Return the between-level sum of squares of centred scores (m, c), of levels by codes (m,) with these counts."""
    width = scores.shape[1]
    # All columns in one call: one for each class of each label would be as many as classes squared.
    places = codes[:, None] * width + np.arange(width)
    sums = np.bincount(places.ravel(), weights=scores.ravel(), minlength=len(counts) * width)
    return float(((sums**2).reshape(-1, width).sum(axis=1) / counts).sum())

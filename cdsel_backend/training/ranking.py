"""How well probabilities rank items, and how far they are from what comes true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column

LEAST_OUTCOME = 5  # labels of each outcome that a ranking, or a balanced accuracy, needs
_BINS = 10

Array = NDArray[np.float64]


def within_group_auc(
    probabilities: Array, labels: NDArray[np.int64], columns: Sequence[Column]
) -> float | None:
    """Return the one-vs-rest AUROC inside each level, averaged over classes, levels and variables.

    A level counts for a class when it holds at least `LEAST_OUTCOME` items in it and out of it; None when none does.
    """
    inside = [column.codes == code for column in columns for code in range(len(column.levels))]
    areas = []
    for mask in inside or [np.ones(len(labels), dtype=bool)]:
        for code in range(probabilities.shape[1]):
            positive, given = labels[mask] == code, probabilities[mask, code]
            yes, no = given[positive], given[~positive]
            if min(len(yes), len(no)) >= LEAST_OUTCOME:
                areas.append(auroc(yes, no))
    return float(np.mean(areas)) if areas else None


def auroc(yes: Array, no: Array) -> float:
    """Return the share of pairs in which the score of `yes` (n,) is above that of `no` (m,); of equals, one half.

    By counts in sorted order: a bootstrap asks for it thousands of times.
    """
    ordered = np.sort(no)
    won = ordered.searchsorted(yes, "left").sum() + ordered.searchsorted(yes, "right").sum()
    return float(won / 2 / (len(yes) * len(no)))


def calibration_error(probabilities: Array, labels: NDArray[np.int64], weights: Array) -> float:
    """Return the expected calibration error of the likeliest class over ten bins, items counting by `weights` (n,)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    gaps = [abs(float(weights[part] @ (confidence - right)[part])) for part in np.array_split(order, _BINS)]
    return float(np.sum(gaps) / max(float(weights.sum()), 1e-12))

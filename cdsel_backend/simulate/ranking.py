"""How a model ranks the test images, and how far its probabilities hold: ROC and reliability, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from cdsel_backend.pool.columns import Column, joint_codes

RATES = np.linspace(0, 1, 41)
"""False positive rates at which a ROC is read off."""
EDGES = np.linspace(0, 1, 11)
"""Of the bins of predicted probability."""
_LEAST = 5  # test images of either kind that a level must hold, as for the AUROC inside levels


@dataclass(frozen=True, eq=False)
class Ranking:
    """One model on one test set, for the positive class against the rest.

    `roc` (41,): the true positive rate at each of `RATES`, averaged over the levels that hold enough of both kinds;
    NaN where none does. `bins` (10, 3): the weight, the summed probability and the summed share of positives of the
    images in each bin of predicted probability, every (label, level) group weighing the same.
    """

    roc: NDArray[np.float64]
    bins: NDArray[np.float64]


def rank(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], columns: Sequence[Column], positive: int
) -> Ranking:
    """Measure probabilities (n, c) against labels (n,), an index each, for the class `positive`."""
    p, y = probabilities[:, positive], labels == positive
    curves = []
    for column in columns:
        for code in range(len(column.levels)):
            inside = column.codes == code
            if min(int(y[inside].sum()), int((~y[inside]).sum())) >= _LEAST:
                false, true, _ = roc_curve(y[inside], p[inside])
                curves.append(np.interp(RATES, false, true))
    groups = joint_codes(columns, len(p)) * 2 + y
    weight = 1.0 / np.bincount(groups)[groups]
    bin_of = np.clip(np.digitize(p, EDGES) - 1, 0, len(EDGES) - 2)
    bins = np.stack(
        [
            np.bincount(bin_of, weights=weight * of, minlength=len(EDGES) - 1)
            for of in (np.ones(len(p)), p, y)
        ],
        axis=1,
    )
    roc = np.mean(curves, axis=0) if curves else np.full(len(RATES), np.nan)
    return Ranking(np.asarray(roc, dtype=np.float64), np.asarray(bins, dtype=np.float64))

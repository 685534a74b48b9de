"""Measures under other draws of the same labels: how far they would differ with other patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.groups import alone_or_together

_RESAMPLES = 1000
_CONFIDENCE = 0.95

Array = NDArray[np.float64]


def resample(strata: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator) -> Array:
    """Return (resamples, n) weights: how often each item is drawn with replacement from its stratum (n,).

    The items of one of `groups` (n,; negative: alone) are drawn together, in the stratum that most of them are in:
    images of one patient are right or wrong together, so that they tell less than as many patients do. Of m patients
    m - 1 are drawn, and count m / (m - 1) times (Rao & Wu 1988), since m of m would vary too little where m is small.
    """
    units = alone_or_together(groups, len(strata))
    counts = np.zeros((units.max() + 1, strata.max() + 1), dtype=np.int64)
    np.add.at(counts, (units, strata), 1)
    stratum = counts.argmax(axis=1)
    weights = np.ones((_RESAMPLES, len(stratum)))
    for code in np.unique(stratum):
        own = np.flatnonzero(stratum == code)
        if (m := len(own)) > 1:
            weights[:, own] = rng.multinomial(m - 1, np.full(m, 1 / m), size=_RESAMPLES) * (m / (m - 1))
    return weights[:, units]


def weighted_shares(won: Array, inside: Array, weights: Array) -> Array:
    """Return (b, g): the share that each group, inside (n, g), has won (n, g) under each row of weights (b, n).

    A group that a row leaves nothing of has its plain share: few patients may all stay undrawn.
    """
    total = weights @ inside
    plain = won.sum(axis=0) / np.maximum(inside.sum(axis=0), 1e-12)
    return np.asarray(np.where(total > 0, weights @ won / np.maximum(total, 1e-12), plain), dtype=np.float64)


def interval(values: Array) -> list[float]:
    """Return the ends between which `_CONFIDENCE` of a measure's values (b,) under the draws lie."""
    tail = (1 - _CONFIDENCE) / 2
    return [float(x) for x in np.quantile(values, [tail, 1 - tail])]

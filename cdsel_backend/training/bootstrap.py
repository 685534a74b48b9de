"""Measures under other draws of the same labels: how far they would differ with other patients."""

from __future__ import annotations

import numpy as np
import scipy
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
    Those that are alone in their strata are drawn together (`collapsed`).
    """
    units = alone_or_together(groups, len(strata))
    counts = np.zeros((units.max() + 1, strata.max() + 1), dtype=np.int64)
    np.add.at(counts, (units, strata), 1)
    stratum = collapsed(counts.argmax(axis=1))
    weights = np.ones((_RESAMPLES, len(stratum)))
    for code in np.unique(stratum):
        own = np.flatnonzero(stratum == code)
        if (m := len(own)) > 1:
            weights[:, own] = rng.multinomial(m - 1, np.full(m, 1 / m), size=_RESAMPLES) * (m / (m - 1))
    return weights[:, units]


def collapsed(strata: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,): the strata (n,), those of one item put together: drawn from itself alone it would not vary at all.

    The collapsed strata of survey sampling (Wolter 2007, ch. 2.5), whose variance is too great rather than too small.
    """
    sizes = np.bincount(strata)
    return np.asarray(np.where(sizes[strata] == 1, len(sizes), strata), dtype=np.int64)


def weighted_shares(won: Array, inside: Array, weights: Array) -> Array:
    """Return (b, g): the share that each group, inside (n, g), has won (n, g) under each row of weights (b, n).

    A group that a row leaves nothing of has its plain share: few patients may all stay undrawn.
    """
    total = weights @ inside
    plain = won.sum(axis=0) / np.maximum(inside.sum(axis=0), 1e-12)
    return np.asarray(np.where(total > 0, weights @ won / np.maximum(total, 1e-12), plain), dtype=np.float64)


def interval(values: Array, units: int) -> list[float]:
    """Return the ends between which `_CONFIDENCE` of a measure's values (b,) under the draws lie.

    Where they are all the same, as where everything is right, the draws know nothing of what others might be: then the
    ends are those of a share of so many `units` that are drawn independently (Clopper and Pearson 1934).
    """
    tail = (1 - _CONFIDENCE) / 2
    if np.ptp(values) > 1e-9:
        return [float(x) for x in np.quantile(values, [tail, 1 - tail])]
    won = round(float(values[0]) * units)
    low, high = scipy.stats.beta.ppf([tail, 1 - tail], [won, won + 1], [units - won + 1, units - won])
    return [float(low) if won else 0.0, float(high) if won < units else 1.0]

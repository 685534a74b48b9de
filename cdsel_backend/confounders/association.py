"""How strongly two categorical variables go together, and whether chance would do the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chndtrinc
from scipy.stats import random_table

_PERMUTATIONS = 1999


def cross_table(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of each pair of codes, without empty rows and columns."""
    width = int(b.max(initial=0)) + 1
    height = int(a.max(initial=0)) + 1
    table = np.bincount(a * width + b, minlength=height * width).reshape(height, width)
    return table[table.any(axis=1)][:, table.any(axis=0)].astype(np.int64)


def cramers_v(table: NDArray[np.int64]) -> float:
    """Return the bias-corrected Cramér's V of a cross table, in [0, 1] (Bergsma 2013, J. Korean Stat. Soc. 42)."""
    n, (rows, columns) = int(table.sum()), table.shape
    if n < 2 or min(rows, columns) < 2:
        return 0.0
    phi2 = max(0.0, float(_chi_square(table)) / n - (rows - 1) * (columns - 1) / (n - 1))
    small = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi2 / small))) if small > 0 else 0.0


def cramers_v_interval(table: NDArray[np.int64], n: int) -> tuple[float, float]:
    """Return a 95 % interval of Cramér's V that counts the table as `n` independent items.

    The non-centralities of chi-square that leave 2.5 % on either side of the one observed (Smithson 2003, Confidence
    Intervals, ch. 4). It covers at least as often as it says, and more often where V is above .5.
    """
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return 0.0, 0.0
    freedom = (rows - 1) * (columns - 1)
    chi2 = float(_chi_square(table)) * n / table.sum()
    low = chndtrinc(chi2, freedom, 0.975) if chdtr(freedom, chi2) > 0.975 else 0.0
    # A chi-square below its mean under independence would leave no room above zero: that is chance, not knowledge.
    high = chndtrinc(max(chi2, freedom), freedom, 0.025)
    largest = n * (min(rows, columns) - 1)
    return float(np.sqrt(low / largest)), float(min(1.0, np.sqrt(high / largest)))


def independence_p(table: NDArray[np.int64], rng: np.random.Generator) -> float:
    """Return the permutation p-value of chi-square: the share of tables with these margins that reach it.

    Shuffling one variable draws exactly such a table, so tables are drawn and nothing is shuffled.
    """
    if min(table.shape) < 2:
        return 1.0
    chance = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(_PERMUTATIONS, random_state=rng)
    reached = _chi_square(chance) >= _chi_square(table) * (1 - 1e-9)
    return float((1 + reached.sum()) / (1 + _PERMUTATIONS))


def one_per_group(
    groups: NDArray[np.int64] | None, a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return positions that leave out what repeats: images of one group that agree on `a` and `b` count once.

    A negative group is an item on its own.
    """
    if groups is None:
        return np.arange(len(a))
    alone = np.where(groups < 0, np.arange(len(a)) + 1, 0)
    keys = np.stack([groups, alone, a, b])
    return np.sort(np.unique(keys, axis=1, return_index=True)[1])


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return adjusted p-values: those at most q control the false discovery rate at q."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * len(p) / ranks, 1.0))
    return adjusted


def _chi_square(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return chi-square of (..., r, c) tables."""
    n = table.sum(axis=(-2, -1), keepdims=True)
    expected = table.sum(axis=-1, keepdims=True) * table.sum(axis=-2, keepdims=True) / n
    return np.asarray(((table - expected) ** 2 / expected).sum(axis=(-2, -1)), dtype=np.float64)

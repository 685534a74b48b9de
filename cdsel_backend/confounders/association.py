"""How strongly two categorical variables go together, and whether chance would do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.pool.groups import alone_or_together

ASSOCIATED = 0.1  # Cramér's V from which a variable counts as going with the label
SIGNIFICANT = 0.05  # false discovery rate, or chance of an error where there is one test
SMOOTHING = 3.0  # labels' worth of trust in the overall shares of the classes
RARE = 0.1  # share of the labels: a rarer class counts as if it had it
_LEAST_OF_A_CLASS = 10  # labels, below which a rare class says too little to count for more
_PERMUTATIONS = 1999
_PER_TEST = 24  # permutations that leave a p-value below .05 / tests within reach, with some room
_REACHED = 10  # permutations that reach, after which no more are drawn (Besag and Clifford 1991)
_MANY = 50  # tests from which a glance decides where it can: each would else draw the full number
_GLANCE = 100  # permutations of a glance
_DENSE = 5.0  # expected count of a cell from which the chi-square distribution holds (Cochran 1954)
_CELLS_AT_ONCE = 4_000_000  # of drawn tables in memory
_NEVER = 1e-9  # chance that any of many permutations would reach, below which none is drawn


def cross_table(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of each pair of codes, without empty rows and columns."""
    width = int(b.max(initial=0)) + 1
    height = int(a.max(initial=0)) + 1
    table = np.bincount(a * width + b, minlength=height * width).reshape(height, width)
    return _that_occur(table).astype(np.int64)


def _that_occur(table: NDArray[Any]) -> NDArray[Any]:
    """Return a cross table without the rows and columns of which there is nothing."""
    return table[table.any(axis=1)][:, table.any(axis=0)]


def smoothed_shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (l, c): the share of each class in each level, by counts (l, c), drawn towards the overall ones.

    These weigh as much as `SMOOTHING` labels.
    """
    overall = counts.sum(axis=0) / max(float(counts.sum()), 1e-300)
    return np.asarray(
        (counts + SMOOTHING * overall) / (counts.sum(axis=1, keepdims=True) + SMOOTHING), dtype=np.float64
    )


def with_rare_classes(table: NDArray[np.int64], n: float | None = None) -> tuple[NDArray[np.float64], float]:
    """Return a cross table (levels, classes) whose rare classes count as a tenth, and how many items it stands for.

    Cramér's V is bounded by how rare a class is: where one of two equal levels has four fifths of a class of 1 %, it
    is .06. A training weighs classes alike, and learns that shortcut. The table stands for `n` independent items, its
    own number if none; weights make them fewer (Kish 1965).
    """
    total = float(table.sum())
    n = total if n is None else n
    counts = table.sum(axis=0)
    known = counts * n >= _LEAST_OF_A_CLASS * total
    weights = np.where(known, np.maximum(1.0, RARE * total / np.maximum(counts, 1)), 1.0)
    weighted = table * weights
    equal = float(weighted.sum()) ** 2 / max(float((weighted @ weights).sum()), 1.0)
    return weighted, n * equal / max(total, 1.0)


def cramers_v(table: NDArray[np.int64] | NDArray[np.float64], n: float | None = None) -> float:
    """Return the bias-corrected Cramér's V of a cross table, in [0, 1] (Bergsma 2013, J. Korean Stat. Soc. 42).

    The bias is that of `n` independent items; the table's own number if none. Empty rows and columns do not count.
    """
    table = _that_occur(table)
    n, (rows, columns) = float(table.sum()) if n is None else n, table.shape
    if n < 2 or min(rows, columns) < 2:
        return 0.0
    phi2 = max(0.0, float(_chi_square(table)) / table.sum() - (rows - 1) * (columns - 1) / (n - 1))
    small = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi2 / small))) if small > 0 else 0.0


def share_explained(table: NDArray[np.int64]) -> float:
    """Return how much of the rows' variation the columns explain: Goodman and Kruskal's tau (1954), adjusted as R².

    Each image counts alike. In Cramér's V each level does: a few rare ones, which a handful of images from elsewhere
    bring into several fields at once, make it 1, whatever all other images say.
    """
    n, columns = int(table.sum()), table.shape[1]
    # The chance that two images differ, in all and inside columns
    unlike = 1 - ((table.sum(axis=1) / n) ** 2).sum()
    unlike_inside = 1 - (table**2 / table.sum(axis=0)).sum() / n
    if unlike <= 0 or n <= columns:
        return 0.0
    return float(1 - unlike_inside / unlike * (n - 1) / (n - columns))


def cramers_v_interval(
    table: NDArray[np.int64] | NDArray[np.float64], n: float, p: float = 0.0
) -> tuple[float, float]:
    """Return a 95 % interval of Cramér's V that counts the table as `n` independent items.

    It begins at 0 where chance reaches the table's chi-square too often, with the probability `p`: in tables of many
    rare cells that is far oftener than by the distribution of chi-square.

    The non-centralities of chi-square that leave 2.5 % on either side of the one observed (Smithson 2003, Confidence
    Intervals, ch. 4). It covers at least as often as it says, and more often where V is above .5.
    """
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return 0.0, 0.0
    freedom = (rows - 1) * (columns - 1)
    chi2 = float(_chi_square(table)) * n / table.sum()
    above = p <= 0.025 and scipy.special.chdtr(freedom, chi2) > 0.975
    low = scipy.special.chndtrinc(chi2, freedom, 0.975) if above else 0.0
    # A chi-square below its mean under independence would leave no room above zero: that is chance, not knowledge.
    high = scipy.special.chndtrinc(max(chi2, freedom), freedom, 0.025)
    largest = n * (min(rows, columns) - 1)
    return float(np.sqrt(low / largest)), float(min(1.0, np.sqrt(high / largest)))


def independence_p(table: NDArray[np.int64], rng: np.random.Generator, tests: int = 1) -> float:
    """Return the permutation p-value of chi-square: the share of tables with these margins that reach it.

    Shuffling one variable draws exactly such a table, so tables are drawn and nothing is shuffled. `tests` is how
    many p-values will be adjusted together (see `permutation_p`).
    """
    if min(table.shape) < 2:
        return 1.0
    least = _chi_square(table) * (1 - 1e-9)
    margins = scipy.stats.random_table(table.sum(axis=1), table.sum(axis=0))

    def reached(count: int) -> int:
        found = 0
        # Some at a time: of 50 levels and 500 classes all would take a gigabyte and more.
        step = max(1, _CELLS_AT_ONCE // table.size)
        for start in range(0, count, step):
            drawn = margins.rvs(min(step, count - start), random_state=rng)
            found += int((_chi_square(drawn) >= least).sum())
        return found

    def beyond(count: int) -> bool:
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
        return bool(expected.min() >= _DENSE and count * scipy.special.chdtrc(freedom, least) < _NEVER)

    return permutation_p(reached, _PERMUTATIONS, tests, beyond)


def permutation_p(
    reached: Callable[[int], int], first: int, tests: int, beyond: Callable[[int], bool]
) -> float:
    """Return (1 + those that reached) / (1 + those drawn); `reached(count)` draws `count` and counts them.

    No p-value lies below 1 / (1 + draws), and adjusting for many tests would lift even that above .05. So where none
    of the `first` draws reached, more are drawn. Only the least p of all can change by that, so a test stays valid.
    Each of many variables would need as many draws as there are tests: where `beyond(count)` says that none of `count`
    more can reach, they count as drawn, and no more are drawn once enough have reached. Of many tests that is asked
    after a glance, too: most variables are either chance or far from it.
    """
    most = max(first, _PER_TEST * tests)
    count = drawn = 0
    for end in (_GLANCE, first) if tests >= _MANY else (first,):
        count, drawn = count + reached(end - drawn), end
        if count == 0 and drawn < most and beyond(most - drawn):
            return 1 / (1 + most)
        if count >= _REACHED:
            break
    if count == 0:
        while drawn < most and count < _REACHED:
            part = min(first, most - drawn)
            count, drawn = count + reached(part), drawn + part
    return (1 + count) / (1 + drawn)


def information(table: NDArray[np.int64]) -> float:
    """Return the mutual information of a cross table in bits, less its bias, (r-1)(c-1) / 2n nats (Miller 1955)."""
    n = float(table.sum())
    if n < 1 or min(table.shape) < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    seen = table > 0
    nats = float((table[seen] * np.log(table[seen] / expected[seen])).sum()) / n
    return max(0.0, nats - (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * n)) / float(np.log(2))


def conditional_information(a: NDArray[np.int64], b: NDArray[np.int64], given: NDArray[np.int64]) -> float:
    """Return I(a; b | given) in bits for codes (n,), with the bias that few items leave in it."""
    total = 0.0
    for value in np.unique(given):
        table = cross_table(a[given == value], b[given == value])
        if min(table.shape, default=0) >= 2:
            expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
            seen = table > 0
            total += float((table[seen] * np.log2(table[seen] / expected[seen])).sum())
    return total / max(len(a), 1)


def go_together(
    a: NDArray[np.int64], b: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> bool:
    """Whether two variables (n,) go together so far: strongly enough to matter, and more than chance would have it."""
    once = units(groups, a, b).first
    table = cross_table(a[once], b[once])
    return cramers_v(*with_rare_classes(table)) >= ASSOCIATED and independence_p(table, rng) <= SIGNIFICANT


class Units(NamedTuple):
    """What says the same only once: `of` (n,) the unit of each item, `first` (u,) an item and `sizes` (u,) of each."""

    of: NDArray[np.int64]
    first: NDArray[np.int64]
    sizes: NDArray[np.int64]


def units(groups: NDArray[np.int64] | None, a: NDArray[np.int64], b: NDArray[np.int64]) -> Units:
    """Return units of n items: images of one group (n,) that agree on `a` and `b` (n,) say the same, and are one.

    A negative group is an item on its own.
    """
    n = len(a)
    if groups is None:
        return Units(np.arange(n), np.arange(n), np.ones(n, dtype=np.int64))
    keys = np.stack([alone_or_together(groups, n), a, b])
    _, first, of, sizes = np.unique(keys, axis=1, return_index=True, return_inverse=True, return_counts=True)
    return Units(of.ravel(), first, sizes)


def independent(sizes: NDArray[np.int64]) -> float:
    """Return how many equal units know as much as units of these sizes: (sum)^2 / sum of squares (Kish 1965)."""
    return float(sizes.sum()) ** 2 / max(float((sizes.astype(np.float64) ** 2).sum()), 1.0)


def _chi_square(table: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return chi-square of (..., r, c) tables."""
    n = table.sum(axis=(-2, -1), keepdims=True)
    expected = table.sum(axis=-1, keepdims=True) * table.sum(axis=-2, keepdims=True) / n
    return np.asarray(((table - expected) ** 2 / expected).sum(axis=(-2, -1)), dtype=np.float64)

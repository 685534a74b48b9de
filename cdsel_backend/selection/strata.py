"""Strata: the levels of each confounder and of declared pairs, with the share and the quota of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import named_level
from cdsel_backend.pool.columns import joint_codes
from cdsel_backend.selection.problem import Problem


@dataclass(frozen=True, eq=False)
class Strata:
    """One partition of the pool.

    `names` (g,) read as words; `codes` (n,) index into them; `shares` (g,) sum to one.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    shares: NDArray[np.float64]

    def counts(self, members: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (g,): how many of `members` (a mask or indices) lie in each stratum."""
        return np.bincount(self.codes[members], minlength=len(self.names)).astype(np.int64)


def partitions(problem: Problem) -> list[Strata]:
    """Return the partitions of a problem: one for each column, one for each declared pair."""
    by_name = {column.name: column for column in problem.columns}
    found = []
    for column in problem.columns:
        names = tuple(named_level(column.name, level) for level in column.levels)
        found.append(_partition(names, column.codes, problem))
    for first, second in problem.options.pairs:
        a, b = by_name[first], by_name[second]
        names = tuple(
            f"{named_level(first, x)}, {named_level(second, y)}" for x in a.levels for y in b.levels
        )
        found.append(_partition(names, a.codes * len(b.levels) + b.codes, problem))
    return found


def _partition(names: Sequence[str], codes: NDArray[np.int64], problem: Problem) -> Strata:
    counts = np.bincount(codes[problem.usable], minlength=len(names))
    return Strata(tuple(names), codes, target_shares(counts, problem.options.alpha))


def joint(problem: Problem) -> Strata:
    """Return the partition into all combinations of the columns' levels that occur; a nameless one without columns."""
    codes = joint_codes(problem.columns, len(problem))
    first = np.unique(codes, return_index=True)[1]
    names = [", ".join(named_level(c.name, c.levels[c.codes[i]]) for c in problem.columns) for i in first]
    return _partition(names, codes, problem)


class StrataTerm:
    """lambda sum_a w_a sum_g pi_ag h(c_ag) over partitions a, w_a = 1 / number of partitions.

    h(c) = sum_{j < c} 1 / (j + 1/2), about the logarithm: greedy then rounds to the shares (Webster, Sainte-Lague),
    for large and small strata alike, where log(1 + c) gives the large ones more than theirs while labels are few.
    Items in the same strata are of one `kind` (n,), numbered to `n_kinds`, and gain the same.
    """

    def __init__(self, problem: Problem, counted: NDArray[np.bool_], weight: float) -> None:
        """Count at first the items of the mask `counted` (n,); `weight` is lambda."""
        self.kind = joint_codes(problem.columns, len(problem))
        self.n_kinds = int(self.kind.max(initial=0)) + 1
        first = np.zeros(self.n_kinds, dtype=np.int64)
        first[self.kind[::-1]] = np.arange(len(self.kind))[::-1]
        found = partitions(problem) if len(problem) else []
        self._weight = weight / max(len(found), 1)
        self._strata = [(p.codes[first], p.shares, p.counts(counted).astype(np.float64)) for p in found]

    def gains(self) -> NDArray[np.float64]:
        """Return (n_kinds,): what an item of each kind would add now."""
        total = np.zeros(self.n_kinds)
        for codes, shares, counts in self._strata:
            total += (self._weight * shares / (counts + 0.5))[codes]
        return total

    def add(self, kind: int) -> None:
        """Count an item of this kind."""
        for codes, _, counts in self._strata:
            counts[codes[kind]] += 1


def target_shares(counts: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """Return (g,): shares proportional to count^alpha; an empty stratum has none."""
    raw = np.where(counts > 0, counts.astype(np.float64) ** alpha, 0.0)
    return np.asarray(raw / max(raw.sum(), 1e-300))


def quotas_of(
    shares: NDArray[np.float64],
    have: NDArray[np.int64],
    available: NDArray[np.int64],
    size: int,
) -> NDArray[np.int64]:
    """Split `size` picks over strata so that `have` plus picks comes near `shares`; return (g,) whole numbers.

    Water-filling: a stratum already above its share gets nothing, one that runs out passes its part on, and what
    remains is settled by largest remainder. The sum is the smaller of `size` and all that is available.
    """
    size = min(size, int(available.sum()))
    wanted = np.zeros(len(shares))
    active = (available > 0) & (shares > 0)
    fixed = np.zeros(len(shares), dtype=bool)
    while (active & ~fixed).any():
        free = active & ~fixed
        total = have[free].sum() + size - wanted[fixed].sum()
        level = shares * total / shares[free].sum() - have
        over = free & (level > available)
        under = free & (level < 0)
        # Strata below zero first: fixing them lowers the others, which may then no longer run out.
        if under.any():
            wanted[under], fixed[under] = 0.0, True
        elif over.any():
            wanted[over], fixed[over] = available[over], True
        else:
            wanted[free], fixed[free] = level[free], True
    return _whole(wanted, available, size)


def turns(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (m,): which of the items of its code each is, from 0."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    found = np.empty(len(codes), dtype=np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return found


def _whole(wanted: NDArray[np.float64], available: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Round by largest remainder to the sum `size`, ties to the earlier stratum, never above `available`."""
    result = np.minimum(np.floor(wanted + 1e-9).astype(np.int64), available)
    while (rest := size - int(result.sum())) > 0:
        remainder = np.where(result < available, wanted - result, -np.inf)
        order = np.argsort(-remainder, kind="stable")[:rest]
        result[order[np.isfinite(remainder[order])]] += 1
    return result

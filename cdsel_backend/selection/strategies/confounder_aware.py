"""The default: coverage of the de-confounded pool, with every stratum given its share.

    F(S) = mean_i max_{s in S} k(z_i, z_s) + lambda sum_a w_a sum_g pi_ag log(1 + c_ag(S))

over partitions a (one a confounder, one a declared pair) with w_a = 1 / number of partitions; monotone
submodular, so greedy keeps 1 - 1/e of the best. `lambda` is `options.balance`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import fill_greedily
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import partitions
from cdsel_backend.selection.strategies.random import draw


def fill(problem: Problem, draft: Draft) -> None:
    """Draw the declared share at random, choose the rest greedily given it, and mix the two."""
    rng = problem.random()
    draw(draft, _random_count(problem, draft, rng), rng)
    if not draft.full:
        counted = problem.taken.copy()
        counted[draft.indices] = True
        coverage = Coverage(
            problem.vectors,
            usable=problem.usable,
            open_=draft.open,
            taken=counted,
            size=draft.missing,
            rng=rng,
        )
        fill_greedily(draft, coverage, StrataTerm(problem, counted))
    draft.spread_random()


def _random_count(problem: Problem, draft: Draft, rng: np.random.Generator) -> int:
    """Round the share up or down by chance, so that it holds on average however small the rounds."""
    return min(int(problem.options.random_share * draft.missing + rng.random()), draft.missing)


class StrataTerm:
    """lambda sum_a w_a sum_g pi_ag log(1 + c_ag), counting at first the items of the mask `counted`."""

    def __init__(self, problem: Problem, counted: NDArray[np.bool_]) -> None:
        self._partitions = partitions(problem)
        self._counts = [p.counts(counted).astype(np.float64) for p in self._partitions]
        self._weight = problem.options.balance / max(len(self._partitions), 1)

    def gains(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (m,): what each of the items would add now."""
        total = np.zeros(len(items))
        for partition, count in zip(self._partitions, self._counts, strict=True):
            slope = self._weight * partition.shares * np.log1p(1 / (1 + count))
            total += slope[partition.codes[items]]
        return total

    def add(self, item: int) -> None:
        """Count the item in each partition."""
        for partition, count in zip(self._partitions, self._counts, strict=True):
            count[partition.codes[item]] += 1

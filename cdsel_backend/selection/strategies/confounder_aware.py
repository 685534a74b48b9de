"""The default: coverage of the de-confounded pool, with every stratum given its share.

    F(S) = mean_i max_{s in S} k(z_i, z_s) + lambda sum_a w_a sum_g pi_ag log(1 + c_ag(S))

over partitions a (one a confounder, one a declared pair) with w_a = 1 / number of partitions; monotone
submodular, so greedy keeps 1 - 1/e of the best. `lambda` is `options.balance`.
"""

from __future__ import annotations

import numpy as np

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import fill_greedily
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm
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
        fill_greedily(draft, coverage, StrataTerm(problem, counted, problem.options.balance))
    draft.spread_random()


def _random_count(problem: Problem, draft: Draft, rng: np.random.Generator) -> int:
    """Round the share up or down by chance, so that it holds on average however small the rounds."""
    return min(int(problem.options.random_share * draft.missing + rng.random()), draft.missing)

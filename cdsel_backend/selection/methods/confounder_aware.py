"""The default: every stratum its share; inside, typical images first, then chance, or doubt where that is harmless.

    F(S) = value(S) + lambda sum_a w_a sum_g pi_ag log(1 + c_ag(S))

over partitions a (one a confounder, one a declared pair), w_a = 1 / number of partitions, lambda = `options.balance`;
monotone submodular, so greedy keeps 1 - 1/e of the best. Before the first model the value is coverage of the
de-confounded pool. From then on it depends on whether a confounder is associated with the label so far. Where one is,
chance decides inside the strata: the training reads from the labels how often each class occurs in a stratum and how
well it can be recognised, and no hunt for informative images that was tried does better; most do worse. Where none is,
there is no shortcut to learn, and the value is coverage weighted by the model's doubt (as in UHerding), which does
better than chance. simulate/EVIDENCE.md has the figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import go_together
from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import Fixed, Value, fill_greedily
from cdsel_backend.selection.methods.random import draw
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm, partitions, quotas_of

_LEEWAY = 0.1  # of a stratum's share that chance may overrule


def fill(problem: Problem, draft: Draft) -> None:
    """Draw the declared share at random, choose the rest greedily given it, and mix the two."""
    rng = problem.random()
    draw(draft, _random_count(problem, draft, rng), rng)
    if not draft.full:
        counted = problem.taken.copy()
        counted[draft.indices] = True
        by_chance = problem.modelled and _confounded(problem)
        if by_chance:
            items = np.flatnonzero(draft.open)
            value: Value = Fixed(items, rng.random(len(items)) * _LEEWAY / (counted.sum() + draft.missing))
        else:
            draft.uncertainty = problem.uncertainty
            value = Coverage(
                problem.vectors,
                usable=problem.usable,
                open_=draft.open,
                taken=counted,
                size=draft.missing,
                rng=rng,
                weights=problem.uncertainty,
                quotas=_quotas(problem, draft, counted),
            )
        strata = StrataTerm(problem, counted, problem.options.balance)
        fill_greedily(draft, value, strata, by_chance=by_chance)
    draft.spread_random()


def _confounded(problem: Problem) -> bool:
    """Whether some confounder is associated with the label, as far as the labels show."""
    known = problem.labels >= 0
    groups = None if problem.groups is None else problem.groups[known]
    rng = np.random.default_rng(problem.seed)
    return any(
        go_together(column.codes[known], problem.labels[known], groups, rng) for column in problem.columns
    )


def _quotas(
    problem: Problem, draft: Draft, counted: NDArray[np.bool_]
) -> list[tuple[NDArray[np.bool_], int]]:
    """Return every level as a mask (n,), and its quota of the missing picks."""
    found = []
    for strata in partitions(problem):
        quotas = quotas_of(strata.shares, strata.counts(counted), strata.counts(draft.open), draft.missing)
        found += [(strata.codes == level, int(quotas[level])) for level in np.flatnonzero(quotas)]
    return found


def _random_count(problem: Problem, draft: Draft, rng: np.random.Generator) -> int:
    """Round the share up or down by chance, so that it holds on average however small the rounds."""
    return min(int(problem.options.random_share * draft.missing + rng.random()), draft.missing)

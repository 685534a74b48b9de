"""The default: every stratum its share; inside, typical images first, then draws by doubt, or coverage by doubt.

    F(S) = value(S) + lambda sum_a w_a sum_g pi_ag h(c_ag(S)),    h(c) = sum_{j < c} 1 / (j + 1/2)

over partitions a (one a confounder, one a declared pair), w_a = 1 / number of partitions, lambda = `options.balance`;
monotone submodular, so greedy keeps 1 - 1/e of the best. Before the first model the value is coverage of the
de-confounded pool. From then on it depends on whether a confounder is associated with the label so far. Where one is,
chance decides inside the strata, at odds that are known: the training reads from the labels how often each class occurs
in a stratum, so images are drawn oftener where the model is not sure of the label, and their labels count for less
there (`odds.py`). A hunt for informative images whose odds nobody knows was tried in many ways and does worse. Where
none is, there is no shortcut to learn, and the value is coverage weighted by the model's doubt (as in UHerding).
simulate/EVIDENCE.md has the figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import go_together
from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import Fixed, fill_greedily
from cdsel_backend.selection.methods.random import draw
from cdsel_backend.selection.odds import draw_order, label_deviation, odds_of
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm, partitions, quotas_of

_LEEWAY = 0.1  # of a stratum's share that chance may overrule


def fill(problem: Problem, draft: Draft) -> None:
    """Draw the declared share at random, choose the rest greedily given it, and mix the two."""
    rng = problem.random()
    count, free = _random_count(problem, draft, rng), int(draft.free.sum())
    draw(draft, count, rng)
    if not draft.full:
        counted = problem.taken.copy()
        counted[draft.indices] = True
        strata = StrataTerm(problem, counted, problem.options.balance)
        if problem.modelled and _confounded(problem):
            _fill_by_chance(problem, draft, strata, count / free, rng)
        else:
            _fill_by_coverage(problem, draft, strata, counted, rng)
    draft.spread_random()


def _fill_by_chance(
    problem: Problem, draft: Draft, strata: StrataTerm, uniform: float, rng: np.random.Generator
) -> None:
    """Draw by the deviation of the label, when a share `uniform` of the free items was drawn already."""
    before = len(draft.picks)
    open_ = draft.open.copy()
    items = np.flatnonzero(open_)
    weights = label_deviation(problem, strata.kind)
    values = draw_order(weights[items], strata.kind[items], rng)
    leeway = _LEEWAY / (int(problem.taken.sum()) + draft.size)
    fill_greedily(draft, Fixed(items, values * leeway), strata, by_chance=True)
    drawn = np.zeros(len(problem), dtype=bool)
    drawn[draft.indices[before:]] = True
    draft.odds = odds_of(weights, strata.kind, open_, drawn, uniform)


def _fill_by_coverage(
    problem: Problem, draft: Draft, strata: StrataTerm, counted: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Cover the pool, given the items of the mask `counted` (n,); what the model doubts, more."""
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
    fill_greedily(draft, value, strata)


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

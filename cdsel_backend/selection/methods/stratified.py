"""Stratified random: the shares of the strata are set, inside a stratum chance decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import joint, quotas_of, turns


def fill(problem: Problem, draft: Draft) -> None:
    """Draw from every combination of levels its share (pool share to the power alpha)."""
    strata = joint(problem)
    rng = problem.random()

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        shuffled = rng.permutation(len(candidates))
        here = strata.codes[candidates[shuffled]]
        have = strata.counts(problem.taken) + strata.counts(draft.indices)
        quotas = quotas_of(strata.shares, have, strata.counts(candidates), count)
        return rng.permutation(shuffled[turns(here) < quotas[here]])

    draft.add_batches(propose, by_chance=True)

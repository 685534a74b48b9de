"""Stratified random: the shares of the strata are set, inside a stratum chance decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import joint, quotas_of


def fill(problem: Problem, draft: Draft) -> None:
    """Draw from every combination of levels its share (pool share to the power alpha)."""
    strata = joint(problem)
    rng = problem.random()

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        shuffled = rng.permutation(len(candidates))
        here = strata.codes[candidates[shuffled]]
        have = strata.counts(problem.taken) + strata.counts(draft.indices)
        quotas = quotas_of(strata.shares, have, strata.counts(candidates), count)
        by_stratum = np.argsort(here, kind="stable")
        sizes = np.bincount(here, minlength=len(strata.names))
        turn = np.arange(len(here)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each in its stratum
        return rng.permutation(shuffled[by_stratum[turn < np.repeat(quotas, sizes)]])

    draft.add_batches(propose, by_chance=True)

"""Stratified random: the shares of the strata are set, inside a stratum chance decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import due, joint_codes, target_shares


def fill(problem: Problem, draft: Draft) -> None:
    """Draw from every combination of levels its share (pool share to the power alpha)."""
    codes = joint_codes(problem)
    n_strata = int(codes.max(initial=-1)) + 1
    shares = target_shares(np.bincount(codes[problem.usable], minlength=n_strata), problem.options.alpha)
    rng = problem.random()

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        shuffled = rng.permutation(len(candidates))
        here = codes[candidates[shuffled]]
        have = np.bincount(codes[problem.taken], minlength=n_strata)
        have += np.bincount(codes[np.array(draft.indices, dtype=np.int64)], minlength=n_strata)
        quota = due(shares, have, np.bincount(here, minlength=n_strata), count)
        drawn = np.concatenate([shuffled[here == stratum][: quota[stratum]] for stratum in range(n_strata)])
        return rng.permutation(drawn)

    draft.add_batches(propose)

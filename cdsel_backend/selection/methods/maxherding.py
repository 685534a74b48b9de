"""MaxHerding (Bae, Noh and Sutherland, "Generalized Coverage for Low-Budget Active Learning", ECCV 2024)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import fill_greedily
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm


def fill(problem: Problem, draft: Draft, weights: NDArray[np.float64] | None = None) -> None:
    """Maximise coverage of the pool, given what is taken; `weights` (n,): how much each item wants to be covered."""
    coverage = Coverage(
        problem.vectors,
        usable=problem.usable,
        open_=draft.open,
        taken=problem.taken,
        size=draft.missing,
        rng=problem.random(),
        weights=weights,
    )
    fill_greedily(draft, coverage, StrataTerm(problem, problem.taken, 0.0))

"""MaxHerding (Bae, Noh and Sutherland, "Generalized Coverage for Low-Budget Active Learning", ECCV 2024)."""

from __future__ import annotations

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import fill_greedily
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm


def fill(problem: Problem, draft: Draft) -> None:
    """Maximise coverage of the pool, given what is taken."""
    fill_greedily(
        draft,
        Coverage(
            problem.vectors,
            usable=problem.usable,
            open_=draft.open,
            taken=problem.taken,
            size=draft.missing,
            rng=problem.random(),
        ),
        StrataTerm(problem, problem.taken, 0.0),
    )

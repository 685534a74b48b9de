"""UHerding (Bae, Oliveira and Sutherland, "Uncertainty Herding: One Active Learning Method for All Label Budgets").

ICLR 2025: MaxHerding in which every item wants to be covered as much as the model is unsure of it.
"""

from __future__ import annotations

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.greedy import fill_greedily
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import StrataTerm


def fill(problem: Problem, draft: Draft) -> None:
    """Maximise coverage weighted by uncertainty (one minus margin); MaxHerding before the first model."""
    draft.uncertainty = problem.uncertainty
    fill_greedily(
        draft,
        Coverage(
            problem.vectors,
            usable=problem.usable,
            open_=draft.open,
            taken=problem.taken,
            size=draft.missing,
            rng=problem.random(),
            weights=problem.uncertainty,
        ),
        StrataTerm(problem, problem.taken, 0.0),
    )

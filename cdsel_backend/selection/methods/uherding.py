"""UHerding (Bae, Oliveira and Sutherland, "Uncertainty Herding: One Active Learning Method for All Label Budgets").

ICLR 2025: MaxHerding in which every item wants to be covered as much as the model is unsure of it.
"""

from __future__ import annotations

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.methods import maxherding
from cdsel_backend.selection.problem import Problem


def fill(problem: Problem, draft: Draft) -> None:
    """Maximise coverage weighted by uncertainty (one minus margin); MaxHerding before the first model."""
    draft.uncertainty = problem.uncertainty
    maxherding.fill(problem, draft, problem.uncertainty)

"""Margin sampling (Scheffer, Decomain and Wrobel, IDA 2001): what the model is least sure of."""

from __future__ import annotations

import numpy as np

from cdsel_backend.selection.draft import Draft, Pick
from cdsel_backend.selection.methods import random
from cdsel_backend.selection.problem import Problem


def fill(problem: Problem, draft: Draft) -> None:
    """Pick by uncertainty (one minus margin), largest first, ties by chance; at random before the first model."""
    if problem.uncertainty is None:
        random.fill(problem, draft)
        return
    draft.uncertainty = problem.uncertainty
    shuffled = problem.random().permutation(len(problem))
    for index in shuffled[np.argsort(-problem.uncertainty[shuffled], kind="stable")]:
        if draft.full:
            return
        if draft.open[index]:
            draft.add(Pick(int(index), float(problem.uncertainty[index])))

"""Uniformly at random: the baseline that needs no assumption."""

from __future__ import annotations

import numpy as np

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem


def fill(problem: Problem, draft: Draft) -> None:
    """Draw open items uniformly, without replacement."""
    draw(draft, draft.missing, problem.random())


def draw(draft: Draft, count: int, rng: np.random.Generator) -> None:
    """Add `count` items drawn uniformly from those open, and mark them so; fewer when caps leave fewer."""
    end = len(draft.indices) + count
    for index in rng.permutation(np.flatnonzero(draft.open)):
        if len(draft.indices) >= end:
            return
        if draft.open[index]:
            draft.add(int(index), at_random=True)

"""Uniformly at random: the baseline that needs no assumption."""

from __future__ import annotations

import numpy as np

from cdsel_backend.selection.draft import Draft, Pick
from cdsel_backend.selection.problem import Problem


def fill(problem: Problem, draft: Draft) -> None:
    """Draw open items uniformly, without replacement; under caps they do not speak for the whole pool."""
    rng = problem.random()
    if not draft.capped:
        draw(draft, draft.missing, rng)
        return
    for index in rng.permutation(np.flatnonzero(draft.open)):
        if draft.full:
            return
        if draft.open[index]:
            draft.add(Pick(int(index), by_chance=True))


def draw(draft: Draft, count: int, rng: np.random.Generator) -> None:
    """Add `count` items drawn uniformly from all that are free, whatever the caps, and mark them so."""
    for index in rng.permutation(np.flatnonzero(draft.free))[:count]:
        draft.add(Pick(int(index), at_random=True))

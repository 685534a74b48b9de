"""Lazy greedy over coverage plus strata (Minoux 1978): both terms only shrink, so old gains are upper bounds."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft


class Term(Protocol):
    """A second term of the objective, cheap enough to be exact at every step."""

    def gains(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (m,): what each of the items would add now."""

    def add(self, item: int) -> None:
        """Count the item."""


def fill_greedily(draft: Draft, coverage: Coverage, term: Term | None = None) -> None:
    """Pick the largest total gain, time after time; ties go to the lower index."""
    items = coverage.candidates
    while not draft.full:
        open_ = draft.open[items]
        if not open_.any():
            return
        extra = np.zeros(len(items)) if term is None else term.gains(items)
        total = np.where(open_, coverage.bounds + extra, -np.inf)
        fresh: set[int] = set()
        while (best := int(np.argmax(total))) not in fresh:
            total[best] = coverage.gain(best) + extra[best]
            fresh.add(best)
        covers = coverage.add(best)
        if term is not None:
            term.add(int(items[best]))
        draft.add(int(items[best]), float(total[best]), covers=covers)

"""Lazy greedy over a value plus strata (Minoux 1978): both terms only shrink, so old gains are upper bounds."""

from __future__ import annotations

import heapq
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft, Pick
from cdsel_backend.selection.strata import StrataTerm


class Value(Protocol):
    """A set function whose gains only shrink: `Coverage`, or `Fixed` values.

    `candidates` (q,) are item indices, `gains` (q,) what each would add at the start.
    """

    candidates: NDArray[np.int64]
    gains: NDArray[np.float64]

    def gain(self, candidate: int) -> float:
        """Return what the candidate at this position would add now."""

    def add(self, candidate: int) -> int:
        """Add it; return of how many items it is now the nearest, 0 where nothing is covered."""


class Fixed:
    """Every item has its own value, whatever else is picked."""

    def __init__(self, candidates: NDArray[np.int64], gains: NDArray[np.float64]) -> None:
        self.candidates, self.gains = candidates, gains

    def gain(self, candidate: int) -> float:
        """Return its value."""
        return float(self.gains[candidate])

    def add(self, candidate: int) -> int:
        """Nothing is covered."""
        return 0


def fill_greedily(draft: Draft, value: Value, strata: StrataTerm, *, by_chance: bool = False) -> None:
    """Pick the largest total gain, time after time; ties go to the lower index. `by_chance`: the values are drawn.

    Items in the same strata gain the same by the strata, so each such kind keeps its own queue by value.
    """
    items = value.candidates
    kinds = strata.kind[items]
    order = np.lexsort((items, -value.gains, kinds))  # each kind's best first
    ends = np.searchsorted(kinds[order], np.arange(1, strata.n_kinds))
    queues = [
        list(zip((-value.gains[own]).tolist(), own.tolist(), strict=True)) for own in np.split(order, ends)
    ]
    best = np.array([-queue[0][0] if queue else -np.inf for queue in queues])
    evaluated = np.zeros(len(items), dtype=np.int64)
    step = 0
    while not draft.full:
        extra = strata.gains()
        while True:
            kind = int(np.argmax(best + extra))
            queue = queues[kind]
            if not queue:
                return
            position = queue[0][1]
            if not draft.open[items[position]]:
                heapq.heappop(queue)
            elif evaluated[position] == step:
                break
            else:
                evaluated[position] = step
                heapq.heapreplace(queue, (-value.gain(position), position))
            best[kind] = -queue[0][0] if queue else -np.inf
        gain = float(best[kind] + extra[kind])
        heapq.heappop(queue)
        best[kind] = -queue[0][0] if queue else -np.inf
        covers = value.add(position)
        strata.add(kind)
        draft.add(Pick(int(items[position]), gain, covers, by_chance=by_chance))
        step += 1

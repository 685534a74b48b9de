"""Lazy greedy over coverage plus strata (Minoux 1978): both terms only shrink, so old gains are upper bounds."""

from __future__ import annotations

import heapq

import numpy as np

from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.strata import StrataTerm


def fill_greedily(draft: Draft, coverage: Coverage, strata: StrataTerm) -> None:
    """Pick the largest total gain, time after time; ties go to the lower index.

    Items in the same strata gain the same by the strata, so each such kind keeps its own queue by coverage.
    """
    items = coverage.candidates
    kinds = strata.kind[items]
    queues: list[list[tuple[float, int]]] = [[] for _ in range(strata.n_kinds)]
    for position in np.lexsort((items, -coverage.gains)):
        queues[kinds[position]].append((-float(coverage.gains[position]), int(position)))
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
                heapq.heapreplace(queue, (-coverage.gain(position), position))
            best[kind] = -queue[0][0] if queue else -np.inf
        gain = float(best[kind] + extra[kind])
        heapq.heappop(queue)
        best[kind] = -queue[0][0] if queue else -np.inf
        covers = coverage.add(position)
        strata.add(kind)
        draft.add(int(items[position]), gain, covers=covers)
        step += 1

"""Coverage: how well a selection stands for the pool, as facility location over a sparse graph.

    F(S) = sum_i w_i max_{s in S} k(z_i, z_s),    k(a, b) = exp(-|a - b|^2 / (2 sigma^2)),    sum_i w_i = 1

(facility location; MaxHerding in Bae et al., "Generalized Coverage for More Robust Low-Budget Active Learning",
ECCV 2024; weighted by uncertainty it is their UHerding). sigma is the median distance at which an item finds as
many candidates as there are for each pick. Only the nearest candidates of each item are kept, of equal ones the first;
what is farther counts as being as far as the farthest kept. A large pool is seen through two uniform samples, the
candidates and the references to be covered, whose sizes follow the picks; up to `_EXACT` items all are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.selection.neighbours import distinct, nearest

_EXACT = 12_000
_CANDIDATES_PER_PICK = 32
_REFERENCES_PER_PICK = 16
_LEAST_NEIGHBOURS = 16
_CANDIDATES_A_QUOTA = 4  # of a stratum for each pick of its quota, where candidates are a sample


class Coverage:
    """The gain of each candidate over what is covered already.

    `candidates` (q,) are item indices, ascending; `gains` (q,) is what each would add at the start.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        usable: NDArray[np.bool_],
        open_: NDArray[np.bool_],
        taken: NDArray[np.bool_],
        size: int,
        rng: np.random.Generator,
        weights: NDArray[np.float64] | None = None,
        quotas: Sequence[tuple[NDArray[np.bool_], int]] = (),
    ) -> None:
        """Build the graph for `size` picks among `open_` (n,), given that `taken` (n,) covers already.

        `weights` (n,) say how much each item wants to be covered; equal if none. `quotas` are masks (n,) of strata
        and how many picks are meant for each: of a rare one a sample of the pool may hold none.
        """
        chosen = np.flatnonzero(taken & usable)
        picks = size + len(chosen)
        self.candidates = _sample(np.flatnonzero(open_), max(_EXACT, _CANDIDATES_PER_PICK * picks), rng)
        if len(self.candidates) < open_.sum():
            rare = [
                _sample(np.flatnonzero(open_ & own), _CANDIDATES_A_QUOTA * count, rng)
                for own, count in quotas
            ]
            self.candidates = np.unique(np.concatenate([self.candidates, *rare]))
        references = _sample(np.flatnonzero(usable), max(_EXACT, _REFERENCES_PER_PICK * picks), rng)
        here, there = vectors[references], vectors[self.candidates]
        # Of many equal ones the nearest would be all, and each would be taken for covered before one is picked.
        first, self._column_of = distinct(there)
        density = max(1, len(first) // picks)
        k = min(len(first), max(_LEAST_NEIGHBOURS, density))
        square, position = nearest(here, there[first], k)
        self._sigma2 = _bandwidth(square[:, min(k, density) - 1])
        similarity = np.exp(square / (-2 * self._sigma2))
        self._covered = similarity[:, -1].copy() if k < len(first) else np.zeros(len(here), np.float32)
        if len(chosen):
            np.maximum(self._covered, self._similarity(here, vectors[chosen]), out=self._covered)
        weight = np.ones(len(here)) if weights is None else weights[references].astype(np.float64)
        total = weight.sum()
        self._weight = weight / total if total > 0 else np.full(len(here), 1 / max(len(here), 1))
        self._scale = usable.sum() / max(len(here), 1)
        graph = scipy.sparse.csr_matrix(
            (similarity.ravel(), position.ravel(), np.arange(0, k * len(here) + 1, k)),
            shape=(len(here), len(first)),
        ).tocsc()
        self._start, self._row, self._value = graph.indptr, graph.indices, graph.data
        self.gains = self._all_gains()

    @property
    def value(self) -> float:
        """F of what is taken and added so far."""
        return float(self._weight @ self._covered)

    def gain(self, candidate: int) -> float:
        """Return what the candidate at this position would add now."""
        row, value = self._column(candidate)
        return float(self._weight[row] @ np.maximum(value - self._covered[row], 0))

    def add(self, candidate: int) -> int:
        """Cover with the candidate; return of how many items (scaled up from the references) it is now nearest."""
        row, value = self._column(candidate)
        closer = value > self._covered[row]
        self._covered[row[closer]] = value[closer]
        return round(float(closer.sum() * self._scale))

    def _column(self, candidate: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        column = self._column_of[candidate]
        span = slice(self._start[column], self._start[column + 1])
        return self._row[span], self._value[span]

    def _all_gains(self) -> NDArray[np.float64]:
        gain = np.maximum(self._value - self._covered[self._row], 0) * self._weight[self._row]
        running = np.concatenate([[0.0], np.cumsum(gain)])
        return np.asarray(running[self._start[1:]] - running[self._start[:-1]])[self._column_of]

    def _similarity(self, here: NDArray[np.float32], chosen: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.exp(nearest(here, chosen, 1)[0][:, 0] / (-2 * self._sigma2)))


def _sample(items: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return items if len(items) <= most else np.sort(rng.choice(items, most, replace=False))


def _bandwidth(square: NDArray[np.float32]) -> float:
    """Median squared distance of those found; 1 where all vectors are equal."""
    found = square[np.isfinite(square)]
    median = float(np.median(found)) if len(found) else 0.0
    return median if median > 0 else 1.0

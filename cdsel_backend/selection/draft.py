"""A selection in the making: what is picked, and what may still be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.problem import Problem

_BLOCK = 4096
_ROUNDING = 1e-6  # two equal vectors of float32 may have a cosine as far from 1


@dataclass(frozen=True)
class Pick:
    """An item that was picked.

    `gain` is the strategy's own measure, `covers` the items it now stands for. It was drawn `at_random` from all that
    were free, or nothing but chance chose it among the open ones (`by_chance`).
    """

    index: int
    gain: float = 0.0
    covers: int = 0
    at_random: bool = False
    by_chance: bool = False


class Draft:
    """Picks in rank order, under the group cap and near-duplicate suppression.

    `open` (n,) says which items a strategy may still pick; it shrinks with every `add`. `free` (n,) are all that are
    not taken or picked: caps forbid none of them, for a sample must be drawn from the whole pool to speak for it.
    """

    def __init__(self, problem: Problem, size: int) -> None:
        self._problem = problem
        self.size = size
        self.free: NDArray[np.bool_] = problem.usable & ~problem.taken
        self.open: NDArray[np.bool_] = self.free.copy()
        self.picks: list[Pick] = []
        self.uncertainty: NDArray[np.float64] | None = None
        """(n,) in [0, 1], shown in the reasons: for a strategy to set that goes by it."""
        self.odds: NDArray[np.float64] | None = None
        """(n,): how likely chance was to draw each, against the mean of its stratum, where a strategy knows that."""
        self._room = self._group_room()
        self._unit = self._unit_vectors()

    @property
    def indices(self) -> NDArray[np.int64]:
        """(m,): the items picked so far, in rank order."""
        return np.array([pick.index for pick in self.picks], dtype=np.int64)

    @property
    def capped(self) -> bool:
        """True where the options may close what is free."""
        return self._room is not None or self._unit is not None

    @property
    def full(self) -> bool:
        """True once `size` is reached or nothing is open."""
        return len(self.picks) >= self.size or not self.open.any()

    @property
    def missing(self) -> int:
        """How many picks may still be added."""
        return min(self.size - len(self.picks), int(self.open.sum()))

    def add(self, pick: Pick) -> None:
        """Append an open item, or one drawn `at_random` from all that are free."""
        index = pick.index
        if not (self.free if pick.at_random else self.open)[index]:
            raise ValueError(f"item {index} is not open: taken, unusable, or closed by a cap")
        self.picks.append(pick)
        self.free[index] = self.open[index] = False
        self._close_group(index)
        self._close_near(index)

    def add_batches(
        self, propose: Callable[[NDArray[np.int64], int], NDArray[np.int64]], *, by_chance: bool = False
    ) -> None:
        """Fill from a strategy that chooses a batch at once.

        `propose(candidates, count)` returns positions of at most `count` of the `candidates` (item indices) in
        rank order. It is asked again while caps close some of what it proposed.
        """
        while not self.full:
            candidates = np.flatnonzero(self.open)
            proposed = candidates[propose(candidates, self.missing)]
            if not len(proposed):
                return
            for index in proposed:
                if self.open[index] and len(self.picks) < self.size:
                    self.add(Pick(int(index), by_chance=by_chance))

    def spread_random(self) -> None:
        """Reorder the picks so that those drawn at random lie evenly among the others, each kind in its order."""
        at_random = np.array([pick.at_random for pick in self.picks], dtype=bool)
        position = np.empty(len(at_random))
        for kind in (at_random, ~at_random):
            position[kind] = (np.arange(kind.sum()) + 0.5) / max(int(kind.sum()), 1)
        self.picks = [self.picks[i] for i in np.argsort(position, kind="stable")]

    def _group_room(self) -> NDArray[np.int64] | None:
        """How many more of each group may come, and close the groups that are full."""
        groups, cap = self._problem.groups, self._problem.options.group_cap
        if groups is None or cap is None:
            return None
        room = np.full(max(int(groups.max(initial=-1)) + 1, 1), cap, dtype=np.int64)
        np.subtract.at(room, groups[self._problem.taken & (groups >= 0)], 1)
        self.open &= (groups < 0) | (room[groups] > 0)
        return room

    def _close_group(self, index: int) -> None:
        groups = self._problem.groups
        if self._room is None or groups is None or groups[index] < 0:
            return
        self._room[groups[index]] -= 1
        if self._room[groups[index]] <= 0:
            self.open[groups == groups[index]] = False

    @property
    def _least_near(self) -> float | None:
        """The cosine from which two images are near duplicates."""
        threshold = self._problem.options.near_duplicate
        return None if threshold is None else min(threshold, 1 - _ROUNDING)

    def _unit_vectors(self) -> NDArray[np.float32] | None:
        """Vectors at unit length, and close what is near something taken."""
        threshold = self._least_near
        if threshold is None:
            return None
        unit = np.where(self._problem.usable[:, None], self._problem.vectors, 0).astype(
            np.float32, copy=False
        )
        for start in range(0, len(unit), _BLOCK):
            part = unit[start : start + _BLOCK]
            length = np.linalg.norm(part, axis=1, keepdims=True)
            np.divide(part, length, out=part, where=length > 0)
        taken = unit[self._problem.taken & self._problem.usable]
        for start in range(0, len(unit) if len(taken) else 0, _BLOCK):
            block = slice(start, start + _BLOCK)
            self.open[block] &= (unit[block] @ taken.T).max(axis=1) < threshold
        return np.asarray(unit)

    def _close_near(self, index: int) -> None:
        threshold = self._least_near
        if self._unit is not None and threshold is not None:
            self.open &= self._unit @ self._unit[index] < threshold

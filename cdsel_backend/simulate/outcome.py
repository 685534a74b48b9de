"""What comes of a backtest, before it is summed up: a line for every measure of every cell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.simulate.ranking import Ranking


@dataclass(frozen=True)
class _Line:
    """What a line of a table is about."""

    dataset: str
    strategy: str
    training: str
    correlation: str
    budget: int
    seed: int


@dataclass(frozen=True)
class Result(_Line):
    """One line of results.csv."""

    metric: str
    value: float


@dataclass(frozen=True)
class GroupResult(_Line):
    """One line of groups.csv: `accuracy` on the `n` test images of a group.

    `judged` says that there are enough of them for the group to count in the worst and the mean.
    """

    group: str
    n: int
    accuracy: float
    judged: bool


Cell = tuple[str, str, str, int]
"""(strategy, training, correlation, budget)."""


@dataclass
class Outcome:
    """What came of a unit. `tables`: (classes, levels) counts selected; `rankings` of the test images, one a seed."""

    results: list[Result] = field(default_factory=list)
    groups: list[GroupResult] = field(default_factory=list)
    tables: dict[Cell, NDArray[np.int64]] = field(default_factory=dict)
    rankings: dict[Cell, list[Ranking]] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Join another unit's outcome."""
        self.results += other.results
        self.groups += other.groups
        for key, rankings in other.rankings.items():
            self.rankings.setdefault(key, []).extend(rankings)
        for key, table in other.tables.items():
            self.tables[key] = self.tables.get(key, 0) + table

"""The groups that accuracy is measured by: an outcome of a decision within each level of a confounder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.phrases import named_level
from cdsel_backend.pool.columns import Column


@dataclass(frozen=True, eq=False)
class Cells:
    """Groups of judgements: `names` (g,), `members` (m, g) of the items, `column` (g,) which decision counts."""

    names: tuple[str, ...]
    members: NDArray[np.bool_]
    column: NDArray[np.int64]

    def take(self, kept: NDArray[np.bool_]) -> Cells:
        """Return the groups that are `kept` (g,)."""
        names = tuple(name for name, keep in zip(self.names, kept.tolist(), strict=True) if keep)
        return Cells(names, self.members[:, kept], self.column[kept])


def cells_of(labels: Labels, columns: Sequence[Column], least: int) -> Cells:
    """Return the groups of at least `least` of m labels: a class, or its presence and absence, within each level.

    Without `columns` the outcomes are the groups.
    """
    codes = labels.codes
    levels = [
        (f", {named_level(column.name, level)}", column.codes == code)
        for column in columns
        for code, level in enumerate(column.levels)
    ] or [("", np.ones(len(labels), dtype=bool))]
    found = [
        (f"{decision.group(outcome)}{level}", own, number)
        for level, inside in levels
        for number, decision in enumerate(labels.decisions)
        for outcome in range(len(decision.outcomes))
        if (own := inside & (codes[:, number] == outcome)).sum() >= max(least, 1)
    ]
    members = (
        np.stack([cell[1] for cell in found], axis=1) if found else np.zeros((len(labels), 0), dtype=bool)
    )
    return Cells(
        tuple(cell[0] for cell in found), members, np.array([cell[2] for cell in found], dtype=np.int64)
    )

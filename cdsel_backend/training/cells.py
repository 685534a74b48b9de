"""The groups that accuracy is told by: a class, or its presence and absence, within each level of a confounder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.training.presence import OUTCOMES


@dataclass(frozen=True, eq=False)
class Cells:
    """Groups of judgements: `names` (g,), `members` (m, g) of the items, `column` (g,) which judgement counts."""

    names: tuple[str, ...]
    members: NDArray[np.bool_]
    column: NDArray[np.int64]


def cells_of(
    labels: NDArray[np.integer], columns: Sequence[Column], classes: Sequence[str], least: int
) -> Cells:
    """Return the groups of at least `least` labels: a class (or its presence and absence) within each level.

    labels (m,) or (m, c); without columns the classes, or their outcomes, are the groups.
    """
    levels = [
        (f", {column.name} {level}", column.codes == code)
        for column in columns
        for code, level in enumerate(column.levels)
    ] or [("", np.ones(len(labels), dtype=bool))]
    found = []
    for words, inside in levels:
        for code, name in enumerate(classes):
            if labels.ndim == 1:
                found.append((f"{name}{words}", inside & (labels == code), 0))
                continue
            for value, outcome in enumerate(OUTCOMES):
                found.append((f"{name} {outcome}{words}", inside & (labels[:, code] == value), code))
    found = [one for one in found if one[1].sum() >= max(least, 1)]
    members = np.stack([one[1] for one in found], axis=1) if found else np.zeros((len(labels), 0), dtype=bool)
    return Cells(tuple(one[0] for one in found), members, np.array([one[2] for one in found], dtype=np.int64))

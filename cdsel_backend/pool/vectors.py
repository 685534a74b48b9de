"""Vectors of a pool that may be an array, or lie in files and be read part by part."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 16_384  # vectors looked at together


class VectorRows(Protocol):
    """Vectors (n, d): an array, or what is read like one. Slices, masks and positions give arrays (m, d)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


def finite_rows(vectors: VectorRows) -> NDArray[np.bool_]:
    """Return (n,): which vectors have no value that is not finite."""
    found = np.empty(len(vectors), dtype=bool)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        part = vectors[block]
        # A sum in which nothing is amiss takes a third of the time of looking at each value.
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.isfinite(part.sum(axis=1))
        fine[~fine] = np.isfinite(part[~fine]).all(axis=1)
        found[block] = fine
    return found

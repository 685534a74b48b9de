"""The representation of a pool: principal components, and what takes the mean effect of the confounders from them.

The effect of every level of every variable is estimated together, on the whole unlabelled pool, by ridge
regression on their indicators. That is partial centring with shrinkage: a level of n items keeps about
n / (n + SHRINKAGE) of its own effect, and variables that go together share theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows, finite_rows

COMPONENTS = 128
SCALE = 4.0  # the length of every vector before centring: with it C = .1 suits the logistic head
SHRINKAGE = 10.0  # items at which a level's effect counts half
_MOST_FOR_COMPONENTS = 20_000
_BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Representation:
    """Standardise, project, and scale to length 4: `mean`, `scale` (d,), and `axes` (d, k), all float32."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]

    def project(self, vectors: VectorRows) -> NDArray[np.float32]:
        """Return (m, k) float32, of length 4 each, for vectors (m, d); a row that is not finite comes back as NaN.

        Raises ValueError for vectors of another width than those that it was fitted on.
        """
        if len(vectors.shape) != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors are {vectors.shape}; this representation was fitted on {len(self.mean)} wide ones"
            )
        out = np.empty((len(vectors), self.axes.shape[1]), dtype=np.float32)
        for start in range(0, len(vectors), _BLOCK):
            block = slice(start, start + _BLOCK)
            part = _standardise(vectors[block], self.mean, self.scale) @ self.axes
            length = np.linalg.norm(part, axis=1, keepdims=True)
            out[block] = part * (np.float32(SCALE) / np.where(length > 0, length, np.float32(1)))
        return out

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays, of which `Representation(**arrays)` makes it again."""
        return {"mean": self.mean, "scale": self.scale, "axes": self.axes}


def fit_representation(
    vectors: VectorRows, *, components: int = COMPONENTS, finite: NDArray[np.bool_] | None = None
) -> Representation:
    """Fit on the whole pool: vectors (n, d).

    Rows that are not finite are left out; `finite` (n,) says which are, where that is known (`finite_rows`). Raises
    ValueError when no row is finite.
    """
    usable = np.flatnonzero(finite_rows(vectors) if finite is None else finite)
    if not len(usable):
        raise ValueError("no vector of the pool is finite; embed it again")
    # Evenly spaced, so that the components do not depend on a seed.
    sample = usable[np.linspace(0, len(usable) - 1, min(len(usable), _MOST_FOR_COMPONENTS)).astype(np.int64)]
    few = vectors[sample].astype(np.float32)
    mean, scale = few.mean(axis=0, dtype=np.float64), few.std(axis=0, dtype=np.float64)
    scale[scale < 1e-6 * max(float(scale.max()), 1e-30)] = np.inf  # a constant dimension says nothing
    axes = _principal_axes(_standardise(few, mean, scale), components)
    return Representation(
        mean.astype(np.float32),
        scale.astype(np.float32),
        np.ascontiguousarray(axes, dtype=np.float32),  # a reloaded one multiplies alike
    )


def centre(
    projected: NDArray[np.float32], effects: NDArray[np.float32], columns: Sequence[Column], strength: float
) -> NDArray[np.float32]:
    """Return (n, k): what `project` gave, less `strength` times the `effects` (l, k) of the items' levels."""
    levels = {column.name: column.levels for column in columns}
    out = np.empty_like(projected)
    for start in range(0, len(projected), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(projected)))
        shift = level_shift(effects, levels, [column.take(rows) for column in columns], len(rows))
        out[rows] = projected[rows] - np.float32(strength) * shift
    return out


def level_shift(
    table: NDArray[np.floating], levels: Mapping[str, Sequence[str]], columns: Sequence[Column], n: int
) -> NDArray[np.floating]:
    """Return (n, k): the sum over variables of the row of `table` (l, k) that belongs to each item's level.

    `levels` names the rows, variable by variable. An unseen level and a variable not given add nothing.
    """
    given = {column.name: column for column in columns}
    padded = np.vstack([table, np.zeros((1, table.shape[1]), dtype=table.dtype)])
    shift = np.zeros((n, table.shape[1]), dtype=table.dtype)
    first = 0
    for name, known in levels.items():
        if name in given:
            position = {level: first + i for i, level in enumerate(known)}
            rows = [position.get(level, len(table)) for level in given[name].levels]
            shift += padded[rows][given[name].codes]
        first += len(known)
    return shift


def level_effects(projected: NDArray[np.float32], columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return (l, k): the mean effect of every level of every column on (n, k), estimated together, shrunken.

    Ridge regression of the deviation from the overall mean on the indicators of all levels, with penalty
    SHRINKAGE; each variable's effects are then shifted so that their mean over the pool is zero.
    """
    n = len(projected)
    firsts = np.cumsum([0, *(len(column.levels) for column in columns)])
    codes = [column.codes + first for column, first in zip(columns, firsts[:-1], strict=True)]
    gram = np.zeros((firsts[-1], firsts[-1]))
    sums = np.zeros((firsts[-1], projected.shape[1]))
    mean = projected.mean(axis=0, dtype=np.float64)
    for d in range(projected.shape[1]):  # one after the other: a pool of a million has no room for two
        deviation = projected[:, d] - mean[d]
        for a in codes:
            sums[:, d] += np.bincount(a, weights=deviation, minlength=firsts[-1])
    for i, a in enumerate(codes):
        for b in codes[i:]:
            pairs = np.bincount(a * firsts[-1] + b, minlength=firsts[-1] ** 2).reshape(firsts[-1], -1)
            gram += pairs if a is b else pairs + pairs.T
    effects = np.linalg.solve(gram + SHRINKAGE * np.eye(firsts[-1]), sums)
    for column, first, last in zip(columns, firsts[:-1], firsts[1:], strict=True):
        share = np.bincount(column.codes, minlength=len(column.levels)) / n
        effects[first:last] -= share @ effects[first:last]
        effects[first:last][share == 0] = 0.0
    return effects.astype(np.float32)


def _standardise(
    vectors: NDArray[np.floating], mean: NDArray[np.floating], scale: NDArray[np.floating]
) -> NDArray[np.float32]:
    result: NDArray[np.float32] = vectors.astype(np.float32)
    result -= mean.astype(np.float32)
    result /= scale.astype(np.float32)
    return result


def _principal_axes(standardised: NDArray[np.float32], components: int) -> NDArray[np.float64]:
    """Return (d, k) unit axes of greatest variance, the sign of each fixed so that a rerun gives the same."""
    n, d = standardised.shape
    wide = n < d  # then the same axes come from the smaller Gram matrix
    gram = (standardised @ standardised.T if wide else standardised.T @ standardised).astype(np.float64)
    last = len(gram) - 1
    values, axes = scipy.linalg.eigh(gram, subset_by_index=[max(0, last + 1 - components), last])
    keep = np.flatnonzero(values > 1e-6 * max(values.max(), 1e-30))[::-1]
    if not len(keep):
        return np.eye(d, 1)
    axes = standardised.T @ axes[:, keep] / np.sqrt(values[keep]) if wide else axes[:, keep]
    flip = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(keep))])
    return np.asarray(axes * flip, dtype=np.float64)

"""How often each class occurs in a level, from labels of which some were drawn by chance and others chosen.

Labels that chance drew inside a level speak for it. Labels of images chosen for what they are do not: a strategy that
balances the classes would have every level read as balanced. How far the chosen ones may be believed is read from
how well they agree with the drawn ones over all levels, as in a meta-analysis of two studies (DerSimonian and Laird
1986): with tau^2 the variance of their disagreement beyond chance, m chosen labels count as m / (1 + m tau^2 / v)
drawn ones, v being the variance of one label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import smoothed_shares
from cdsel_backend.pool.columns import Column

Array = NDArray[np.float64]

_FEWEST = 5.0  # drawn labels below which chosen ones count as drawn


@dataclass(frozen=True, eq=False)
class Shares:
    """`values` (l, c): the share of each class in each level. `seen` (l, c): labels, drawn and chosen alike.

    What was chosen says little of how often a class occurs, but that it does.
    """

    values: Array
    seen: Array


def level_shares(
    column: Column,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: int,
    represents: Array | None = None,
    among: NDArray[np.int64] | None = None,
) -> Shares:
    """Return the shares of the classes in the levels of a column over a pool of n items.

    `rows` (m,) are the labelled items and `labels` (m,) their classes. `represents` (m,) says for how many items each
    speaks: equal where chance alone chose inside the level, inverse odds where they are known, 0 for what was chosen
    otherwise. None: nothing is known of how they came, and all count as drawn. `among` are the items that the levels
    consist of, the labelled ones with them; None: all.
    """
    levels = len(column.levels)
    size = np.bincount(column.codes if among is None else column.codes[among], minlength=levels).astype(
        np.float64
    )
    weights = np.ones(len(rows)) if represents is None else represents
    by_chance = weights > 0
    drawn, known = _counts(column.codes[rows], labels, weights, levels, classes)
    chosen, _ = _counts(column.codes[rows], labels, (~by_chance).astype(np.float64), levels, classes)
    if known.sum() < _FEWEST:
        drawn, chosen = drawn + chosen, np.zeros_like(chosen)
        known = drawn.sum(axis=1)
    believed = chosen * _belief(drawn, chosen)
    counts = drawn + believed
    values = smoothed_shares(counts)
    # The chosen ones are themselves a part of the level; the rest of it is what the others speak for.
    part = (chosen.sum(axis=1) / np.maximum(size, 1))[:, None]
    own = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    everything, _ = _counts(column.codes[rows], labels, np.ones(len(rows)), levels, classes)
    return Shares(part * own + (1 - part) * values, everything)


def _counts(
    codes: NDArray[np.int64], labels: NDArray[np.int64], weights: Array, levels: int, classes: int
) -> tuple[Array, Array]:
    """Return (l, c) counts, scaled to as many labels as unequal weights are worth (Kish 1965), and those (l,)."""
    counts = np.zeros((levels, classes))
    np.add.at(counts, (codes, labels), weights)
    square = np.bincount(codes, weights**2, minlength=levels)
    total = counts.sum(axis=1)
    worth = total**2 / np.where(square > 0, square, 1)
    return counts * (worth / np.where(total > 0, total, 1))[:, None], worth


def _belief(drawn: Array, chosen: Array) -> Array:
    """Return (l, 1): what a chosen label of each level counts, in [0, 1]."""
    n, m = drawn.sum(axis=1), chosen.sum(axis=1)
    both = (n > 0) & (m > 0)
    if not both.any():
        return np.ones((len(n), 1))
    n, m = n[both], m[both]
    p, q = drawn[both] / n[:, None], chosen[both] / m[:, None]
    mean = (drawn[both] + chosen[both]) / (n + m)[:, None]
    variance = 1 - (mean**2).sum(axis=1)  # the variance of one label, summed over the classes
    weight = 1 / (1 / n + 1 / m)
    beyond = weight @ (((p - q) ** 2).sum(axis=1) - variance / weight)
    tau2 = max(0.0, float(beyond / weight.sum()))
    belief = np.ones(len(drawn))
    belief[both] = 1 / (1 + m * tau2 / np.maximum(variance, 1e-9))
    return belief[:, None]

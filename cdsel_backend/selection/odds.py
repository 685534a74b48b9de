"""Draws with known odds: chance decides, but oftener for images whose label the model is not sure of.

How often a class occurs in a stratum is estimated best from draws in proportion to the standard deviation of what is
counted (Neyman 1934), and the images that are drawn oftener teach a model more, too. Odds that are known can be undone:
a label drawn at twice the odds speaks for half as many images (Horvitz and Thompson 1952; see `level_shares`).
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.association import smoothed_shares
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import turns

_RAREST = 0.01  # a class is not taken to be rarer than this in a stratum: few labels do not show that it is
_LEAST = 1e-3  # of a standard deviation: every image can be drawn


def label_deviation(problem: Problem, kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (n,): the standard deviation of each item's label, as a one-hot vector, in [0.001, 1).

    `kinds` (n,) are the strata, numbered from 0. The model's probabilities are those of classes equally frequent in
    every stratum; how frequent they are there is read from the labels so far. Raises ValueError without a model.
    """
    if problem.probabilities is None:
        raise ValueError("there is no model yet, so nothing says what a label may be")
    known = problem.labels >= 0
    counts = np.zeros((int(kinds.max(initial=0)) + 1, problem.n_classes))
    np.add.at(counts, (kinds[known], problem.labels[known]), 1)
    likely = np.nan_to_num(problem.probabilities) * np.maximum(smoothed_shares(counts), _RAREST)[kinds]
    likely /= np.maximum(likely.sum(axis=1, keepdims=True), 1e-300)
    variance = 1 - np.einsum("ij,ij->i", likely, likely)
    return np.asarray(np.sqrt(np.maximum(variance, _LEAST**2)))


def draw_order(
    weights: NDArray[np.float64], kinds: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (m,) values, evenly spaced over (0, 1) in each kind, the highest of which is drawn first.

    One item of a kind after the other is drawn with probabilities in proportion to the weights (m,) of those left
    (the Gumbel-max trick), so that the first of them are such a draw, too, wherever labelling stops.
    """
    order = np.lexsort((np.log(weights) + rng.gumbel(size=len(weights)), kinds))
    sizes = np.bincount(kinds)
    values = np.empty(len(weights))
    values[order] = (turns(kinds[order]) + 0.5) / sizes[kinds[order]]
    return values


def odds_of(
    weights: NDArray[np.float64],
    kinds: NDArray[np.int64],
    open_: NDArray[np.bool_],
    drawn: NDArray[np.bool_],
    uniform: float,
) -> NDArray[np.float64]:
    """Return (n,): how likely each item was to be drawn, divided by the mean of its kind's open items.

    Of the `open_` (n,) those `drawn` (n,) came by `draw_order`, besides a share `uniform` of the items, which was drawn
    from all alike. Drawn in that order, an item arrives by the time t with probability 1 - exp(-t w); t is when as many
    are expected as were drawn (Rosen 1997).
    """
    odds = np.ones(len(weights))
    for kind in np.flatnonzero(np.bincount(kinds[drawn], minlength=int(kinds.max(initial=0)) + 1)):
        own = np.flatnonzero(kinds == kind)
        among = weights[own[open_[own]]]
        share = drawn[own].sum() / len(among)
        if share < 1:
            arrived = -np.expm1(-_time_of(among, share) * weights[own])
            odds[own] = (uniform + arrived) / (uniform + share)
    return odds


def _time_of(weights: NDArray[np.float64], share: float) -> float:
    """Return the time by which this share of the items is expected."""

    def missing(log_t: float) -> float:
        return share + float(np.expm1(-np.exp(log_t) * weights).mean())

    # Between what the heaviest and the lightest item alone would take.
    ends = np.log(-np.log1p(-share) / np.array([weights.max(), weights.min()]))
    return float(np.exp(scipy.optimize.brentq(missing, ends[0] - 1e-6, ends[1] + 1e-6)))

"""What a sample drawn by chance says of the whole pool: how often a class occurs, and how often a model is wrong.

A part of every round is drawn by chance from all images that are still free; the rest is not representative, and
neither are the held-out labels, which come from the same rounds. Each round's draws stand for what was free then, and
the labels from before it are known, so that together they make an unbiased estimate for the pool (a difference
estimator; the idea of Farquhar, Gal & Rainforth 2021, ICLR, without its variance).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.phrases import form, number_of

FEWEST = 15
"""Labels of the random share, below which nothing is estimated: as for a group of the held-out labels."""
_Z = NormalDist().inv_cdf(0.975)


class Estimate(TypedDict):
    """A share of the pool, with its 95 % interval."""

    value: float
    interval: list[float]


class PoolEstimates(TypedDict, total=False):
    """What the random share tells of the pool; `pool_estimates` says what each field holds."""

    n: int
    error: Estimate | None
    prevalence: dict[str, Estimate] | None
    sentence: str


@dataclass(frozen=True, eq=False)
class RandomShare:
    """The labelled items of a pool of `size` that can be labelled.

    `round` (m,) in which an item was selected, 0 for what was labelled elsewhere; `drawn` (m,): by chance.
    """

    round: NDArray[np.int64]
    drawn: NDArray[np.bool_]
    size: int

    def among(self, kept: NDArray[np.bool_]) -> RandomShare:
        """Return those of the labelled items that are `kept` (m,)."""
        return RandomShare(self.round[kept], self.drawn[kept], self.size)

    def estimate(self, values: NDArray[np.floating]) -> Estimate:
        """Estimate the pool's mean of values (m,) in [0, 1]: `value`, and `interval` (95 %, Wilson 1927).

        Raises ValueError without a draw.
        """
        n = int(self.drawn.sum())
        if not n:
            raise ValueError("no label of the random share")
        known = 0.0  # what the labels before each draw add
        left = np.zeros(n)  # the share of the pool that was free at each draw
        when = self.round[self.drawn]
        for number in np.unique(when):
            before = self.round < number
            drawn = when == number
            left[drawn] = 1 - before.sum() / self.size
            known += float(drawn.sum() / n * values[before].sum() / self.size)
        if not left.any():
            return {"value": known, "interval": [known, known]}
        mean = float(left @ values[self.drawn] / left.sum())
        low, high = wilson(mean, float(left.sum() ** 2 / (left @ left)))
        share = float(left.mean())
        return {"value": known + share * mean, "interval": [known + share * low, known + share * high]}


def wilson(mean: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share seen in n draws; n need not be whole."""
    centre = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(mean * (1 - mean) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def pool_estimates(share: RandomShare, labels: Labels, probabilities: NDArray[np.float64]) -> PoolEstimates:
    """Return `n` draws, and `error` and `prevalence` (by class) of the pool, or none with a `sentence` that says why.

    `labels` are those of the m items of `share`; probabilities (m, c) of heads that have not seen them, NaN where
    there was none. Where a label makes several decisions, the error is the mean over those that were made.
    """
    n = int(share.drawn.sum())
    answer: PoolEstimates = {"n": n, "error": None, "prevalence": None}
    if n < FEWEST:
        drawn = f"{n} of the {FEWEST} labels needed {form(n, 'was', 'were')} drawn by chance"
        return {**answer, "sentence": f"Too few yet: {drawn}."}
    kind, classes = labels.kind, labels.classes
    shown = kind.shows(labels.values, len(classes))
    prevalence: dict[str, Estimate] = {}
    answer["prevalence"] = prevalence
    for name, column in zip(classes, shown.T, strict=True):
        asked_for = column >= 0
        if (own := share.among(asked_for)).drawn.any():
            prevalence[name] = own.estimate(column[asked_for].astype(np.float64))
    if np.isfinite(probabilities).all():
        codes = labels.codes
        misses = (codes >= 0) & (kind.decided(probabilities) != codes)
        answer["error"] = share.estimate(misses.sum(axis=1) / np.maximum((codes >= 0).sum(axis=1), 1))
    return {**answer, "sentence": f"From {number_of(n, 'label')} drawn by chance."}

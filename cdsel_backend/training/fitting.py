"""What a head is fitted to, and what it says of labels left out of the fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.training.kernel import VARIANCES
from cdsel_backend.training.splits import grouped_folds

Array = NDArray[np.float64]
Weighting = Literal["class", "cell"]

_FOLDS = 5
_LEVEL_VARIANCE = 0.12  # how freely a level gets its intercept, a priori
_CELL_SHRINKAGE = 5.0
_MOST_TO_CHOOSE = 1000  # labels beyond which the penalty no longer matters


@dataclass(frozen=True, eq=False)
class Fit:
    """`coefficients` (c, r) of the features, `intercepts` (c,), and those of the levels, `levels` (c, l)."""

    coefficients: Array
    intercepts: Array
    levels: Array


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled items: features (m, r), labels y (m,) in 0..n_classes, weights (m,); `columns` get level intercepts.

    `c` is the inverse of the penalty.
    """

    features: Array
    y: NDArray[np.int64]
    weights: Array
    n_classes: int
    columns: Sequence[Column]
    c: float

    @property
    def indicators(self) -> Array:
        """(m, l): which levels an item is in."""
        found = [np.eye(len(column.levels))[column.codes] for column in self.columns]
        return np.hstack([np.zeros((len(self.y), 0)), *found])

    def fit(self, used: NDArray[np.bool_]) -> Fit:
        """Fit to the items `used` (m,); a class absent from them scores lowest."""
        r = self.features.shape[1]
        scale = float(np.sqrt(_LEVEL_VARIANCE / self.c))
        indicators = scale * self.indicators
        from sklearn.linear_model import LogisticRegression  # slow to load

        model = LogisticRegression(C=self.c, max_iter=1000)
        with warnings.catch_warnings():
            # Hundreds of classes with a label or two each are no regression: the log would hold it a thousand times.
            warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
            model.fit(
                np.hstack([self.features, indicators])[used], self.y[used], sample_weight=self.weights[used]
            )
        every = np.zeros((self.n_classes, r + indicators.shape[1]))
        intercepts = np.full(self.n_classes, -20.0)
        if len(model.classes_) == 2:
            # One sigmoid, written as two scores whose difference it is.
            every[model.classes_] = np.vstack([-model.coef_, model.coef_]) / 2
            intercepts[model.classes_] = np.concatenate([-model.intercept_, model.intercept_]) / 2
        else:
            every[model.classes_], intercepts[model.classes_] = model.coef_, model.intercept_
        return Fit(every[:, :r], intercepts, every[:, r:] * scale)

    def out_of_fold(self, groups: NDArray[np.int64] | None, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return scores (m, c) from fits that saw nothing of an item's group, and their weighted log losses (m,).

        The scores are 0 where there could be none; with columns they go without intercepts, the losses with all.
        """
        scores, whole = np.zeros((len(self.y), self.n_classes)), np.zeros((len(self.y), self.n_classes))
        folds = min(_FOLDS, len(self.y))
        split = grouped_folds(self.y, groups, folds, rng)
        for fold in range(folds):
            test, train = split == fold, split != fold
            if test.any() and len(np.unique(self.y[train])) > 1:
                fitted = self.fit(train)
                scores[test] = self.features[test] @ fitted.coefficients.T
                whole[test] = scores[test] + fitted.intercepts + self.indicators[test] @ fitted.levels.T
                scores[test] += 0.0 if self.columns else fitted.intercepts
        likely = scipy.special.log_softmax(whole, axis=1)[np.arange(len(self.y)), self.y]
        return scores, np.asarray(-self.weights * likely)

    def with_variances(self) -> list[Sample]:
        """Return the same items at each variance of the kernel that is worth a try with so many labels."""
        variances = VARIANCES if len(self.y) <= _MOST_TO_CHOOSE else VARIANCES[1:2]
        return [replace(self, c=variance) for variance in variances]


def choose(
    tried: Sequence[Sample], instead: Sample, groups: NDArray[np.int64] | None, seed: int
) -> tuple[Sample, Array]:
    """Return the sample whose fits do best on groups left out, and their scores.

    That is the best of those `tried`, unless `instead` is better by more than one standard error: what few labels say
    of such a difference is mostly chance.
    """
    found = [candidate.out_of_fold(groups, np.random.default_rng(seed)) for candidate in (*tried, instead)]
    best = int(np.argmin([losses.mean() for _, losses in found[:-1]]))
    gain = found[best][1] - found[-1][1]
    if gain.mean() > gain.std() / np.sqrt(len(gain)):
        return instead, found[-1][0]
    return tried[best], found[best][0]


def sample_weights(
    labels: NDArray[np.int64], columns: Sequence[Column], weighting: Weighting
) -> NDArray[np.float64]:
    """Return (n,) weights with mean 1: balanced over the classes, or over (class, level) as well.

    A cell of n items counts as n + shrinkage towards its class, so that three images do not steer the head.
    """
    n = len(labels)
    weights = np.zeros(n)
    counts = np.bincount(labels)
    by_class = n / (np.count_nonzero(counts) * counts[labels])
    for column in columns if weighting == "cell" else ():
        cell = labels * len(column.levels) + column.codes
        sizes = np.bincount(cell, minlength=len(counts) * len(column.levels))
        fair = counts / np.maximum((sizes.reshape(len(counts), -1) > 0).sum(axis=1), 1)
        weights += by_class * (fair[labels] + _CELL_SHRINKAGE) / (sizes[cell] + _CELL_SHRINKAGE)
    if not weights.any():
        weights += by_class
    return np.asarray(weights / weights.mean(), dtype=np.float64)

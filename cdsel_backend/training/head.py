"""The head: multinomial logistic regression on the de-confounded representation, weighted by class and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from cdsel_backend.confounders.representation import Representation, fit_representation
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.splits import grouped_folds

Recipe = Literal["plain", "group_balanced", "deconfounded"]
Weighting = Literal["none", "class", "cell"]
RECIPES: tuple[Recipe, ...] = ("plain", "group_balanced", "deconfounded")

_C = 0.1
_FOLDS = 5
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_DEFAULT_STRENGTH = 0.5
_CELL_SHRINKAGE = 5.0


class NotEnoughLabels(ValueError):
    """The labels do not suffice for a model; the message says what is missing."""


@dataclass(frozen=True)
class Description:
    """How a head was trained: `strength` of centring, `weighting`, labels in all and of each class."""

    recipe: str
    strength: float
    weighting: str
    n: int
    counts: dict[str, int]
    temperature: float
    confounders: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A trained head. `coefficients` (p, k) and `intercepts` (p,) float64 for the p classes `present` in training."""

    representation: Representation
    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    present: NDArray[np.int64]
    classes: tuple[str, ...]
    description: Description

    def predict(self, vectors: NDArray[np.floating], columns: Sequence[Column]) -> NDArray[np.float64]:
        """Return calibrated probabilities (m, c) for vectors (m, d) with their metadata; a class never seen has 0.

        A row that is not finite comes back as NaN.
        """
        z = self.representation.transform(vectors, columns).astype(np.float64)
        result = np.zeros((len(z), len(self.classes)))
        scores = (z @ self.coefficients.T + self.intercepts) / self.description.temperature
        result[:, self.present] = softmax(scores, axis=1)
        result[~np.isfinite(z).all(axis=1)] = np.nan
        return result

    def describe(self) -> dict[str, Any]:
        """Return how it was trained, as JSON."""
        return {**asdict(self.description), "confounders": list(self.description.confounders)}

    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays, and what JSON can hold, to be kept."""
        arrays: dict[str, NDArray[Any]] = {
            f"representation.{name}": np.ascontiguousarray(array)
            for name, array in self.representation.arrays().items()
        }
        arrays |= {
            name: np.ascontiguousarray(getattr(self, name))
            for name in ("coefficients", "intercepts", "present")
        }
        return arrays, {
            "classes": list(self.classes),
            "representation": self.representation.meta(),
            "description": self.describe(),
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], described: Mapping[str, Any]) -> HeadModel:
        """Rebuild from `parts`. Raises KeyError, TypeError or ValueError for foreign ones."""
        prefix = "representation."
        representation = Representation.from_arrays(
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)},
            described["representation"],
        )
        description = dict(described["description"])
        description["confounders"] = tuple(description["confounders"])
        model = cls(
            representation,
            arrays["coefficients"],
            arrays["intercepts"],
            arrays["present"],
            tuple(described["classes"]),
            Description(**description),
        )
        if model.coefficients.shape != (len(model.present), representation.axes.shape[1]):
            raise ValueError(
                f"the coefficients are {model.coefficients.shape}, which does not fit the representation"
            )
        return model


def train_head(
    vectors: NDArray[np.floating],
    columns: Sequence[Column],
    labels: NDArray[np.int64],
    *,
    classes: Sequence[str],
    groups: NDArray[np.int64] | None = None,
    trainable: NDArray[np.bool_] | None = None,
    strength: float | None = None,
    weighting: Weighting | Literal["auto"] = "auto",
    recipe: Recipe = "deconfounded",
    seed: int = 0,
) -> HeadModel:
    """Train on the labelled and trainable items of a pool of n.

    vectors (n, d); columns: the confounders over the n items; labels (n,), -1 = unlabelled; groups (n,) patient or
    lesion, negative = unknown; trainable (n,), False = held out. `strength` None and `weighting` "auto" are
    chosen by cross-validation. The same input gives the same model, bit for bit on one machine.

    Raises NotEnoughLabels without labels of two classes.
    """
    usable = (labels >= 0) & np.isfinite(vectors).all(axis=1)
    rows = np.flatnonzero(usable if trainable is None else usable & trainable)
    seen = np.unique(labels[rows])
    if len(seen) < 2:
        held = "" if trainable is None else " (labels held out for evaluation do not count)"
        found = f"all {len(rows)} labels say {classes[seen[0]]!r}" if len(seen) else "there are no labels"
        raise NotEnoughLabels(f"A model needs labels of at least two classes, but {found}{held}.")
    if recipe != "deconfounded":
        strength, weighting = 0.0, "none" if recipe == "plain" else "cell"
    representation = fit_representation(vectors, columns, strength=1.0)
    projected = representation.project(vectors[rows])
    own = [column.take(rows) for column in columns]
    y = np.searchsorted(seen, labels[rows])
    rng = np.random.default_rng(seed)
    folds = min(_FOLDS, int(np.bincount(y).min()))
    split = grouped_folds(y, None if groups is None else groups[rows], folds, rng) if folds >= 2 else None
    weighting = "cell" if weighting == "auto" else weighting
    weights = sample_weights(y, own, weighting)
    if strength is None:
        strength = _choose_strength(representation, projected, own, y, weights, split) if columns else 0.0
    representation = representation.with_strength(strength)
    z = representation.centre(projected, own)
    coefficients, intercepts = _fit(z, y, weights, len(seen))
    temperature = 1.0
    if split is not None:
        temperature = _temperature(_out_of_fold(z, y, weights, split, len(seen)), y)
    return HeadModel(
        representation,
        coefficients,
        intercepts,
        seen,
        tuple(classes),
        Description(
            recipe,
            float(strength),
            weighting,
            len(rows),
            {classes[c]: int((labels[rows] == c).sum()) for c in seen},
            temperature,
            tuple(column.name for column in columns),
        ),
    )


def sample_weights(
    labels: NDArray[np.int64], columns: Sequence[Column], weighting: Weighting
) -> NDArray[np.float64]:
    """Return (n,) weights with mean 1: equal, balanced over the classes, or over (class, level) as well.

    A cell of n items counts as n + shrinkage towards its class, so that three images do not steer the head.
    """
    n = len(labels)
    weights = np.zeros(n)
    if weighting == "none":
        return weights + 1
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


def _fit(
    z: NDArray[np.floating], y: NDArray[np.int64], weights: NDArray[np.float64], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients (c, k) and intercepts (c,); a class absent from `y` scores lowest."""
    model = LogisticRegression(C=_C, max_iter=1000).fit(z.astype(np.float64), y, sample_weight=weights)
    coefficients, intercepts = np.zeros((n_classes, z.shape[1])), np.full(n_classes, -20.0)
    if len(model.classes_) == 2:
        # One sigmoid, written as two scores whose difference it is.
        coefficients[model.classes_] = np.vstack([-model.coef_, model.coef_]) / 2
        intercepts[model.classes_] = np.concatenate([-model.intercept_, model.intercept_]) / 2
    else:
        coefficients[model.classes_], intercepts[model.classes_] = model.coef_, model.intercept_
    return coefficients, intercepts


def _out_of_fold(
    z: NDArray[np.floating],
    y: NDArray[np.int64],
    weights: NDArray[np.float64],
    split: NDArray[np.int64],
    n_classes: int,
) -> NDArray[np.float64]:
    """Return scores (n, c), each from a head that has not seen the item's fold; 0 where no head could be fitted."""
    scores = np.zeros((len(y), n_classes))
    for fold in np.unique(split):
        test, train = split == fold, split != fold
        if len(np.unique(y[train])) > 1:
            coefficients, intercepts = _fit(z[train], y[train], weights[train], n_classes)
            scores[test] = z[test] @ coefficients.T + intercepts
    return scores


def _choose_strength(
    representation: Representation,
    projected: NDArray[np.float32],
    columns: Sequence[Column],
    y: NDArray[np.int64],
    weights: NDArray[np.float64],
    split: NDArray[np.int64] | None,
) -> float:
    """Return the strength by the rule: best worst group among those within .01 of the best group-balanced."""
    if split is None:
        return _DEFAULT_STRENGTH
    table = []
    for strength in _STRENGTHS:
        z = representation.with_strength(strength).centre(projected, columns)
        right = _out_of_fold(z, y, weights, split, int(y.max()) + 1).argmax(axis=1) == y
        cells = [
            right[(y == label) & (column.codes == code)].mean()
            for column in columns
            for label in np.unique(y)
            for code in np.unique(column.codes[y == label])
        ]
        table.append((float(np.mean(cells)), float(np.min(cells))))
    best = max(mean for mean, _ in table)
    fair = [
        (worst, -abs(s - _DEFAULT_STRENGTH), s)
        for (mean, worst), s in zip(table, _STRENGTHS, strict=True)
        if mean >= best - 0.01
    ]
    return max(fair)[-1]


def _temperature(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Return the temperature that makes out-of-fold scores likeliest (Guo et al. 2017), between 1/20 and 20."""

    def loss(log_t: float) -> float:
        return -float(log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))

"""The head: a classifier of frozen features that learns within levels and decides fairly in each.

Whether it is linear in the vectors or a kernel's is chosen by groups left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import Representation, fit_representation, level_shift
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.fitting import Sample, Weighting, choose, sample_weights
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.kernel import VARIANCES, similarity, spread, whitening, with_levels
from cdsel_backend.training.offsets import expected_accuracy, fair_offsets
from cdsel_backend.training.shares import level_shares

_ARRAYS = ("landmarks", "coefficients", "intercepts", "offsets", "present")

_PLAIN_C = 0.1
_LINEAR_C = 0.3  # of the linear head that a kernel's is held against
_MOST_FOR_OFFSETS = 20_000
_MOST_IN_FLOAT64 = 50_000
_BLOCK = 4096  # items whose kernel is in memory at once


class NotEnoughLabels(ValueError):
    """The labels do not suffice for a model; the message says what is missing."""


@dataclass(frozen=True)
class Description:
    """How a head was trained.

    `strength` of the correction between levels, `weighting`, `n` labels in all and `counts` of each class, the
    `temperature` its scores are divided by, and the `accuracy` it expects of every class. `kernel` is the variance of
    its kernel, 0 for one that is linear in the vectors.
    """

    recipe: str
    strength: float
    weighting: str
    n: int
    counts: dict[str, int]
    temperature: float
    accuracy: float
    confounders: tuple[str, ...]
    kernel: float = 0.0


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A trained head.

    `landmarks` (m, k + l) float64, projected vectors with their levels (`with_levels`) at which its kernel is read, or
    (m, k) where all levels share one function; and `coefficients` (p, m) of what is read there, for the p classes
    `present` in training. Without landmarks `coefficients` (p, k) are those of the projected vectors themselves.
    `intercepts` (p,) float64; `offsets` (l, p) for each level of each of `variables`, the confounders as they were in
    training, without items. Where the model meets metadata again, `variable.encode` makes the columns that it knows:
    the levels of a pool that grew are others.
    """

    representation: Representation
    landmarks: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    offsets: NDArray[np.float64]
    present: NDArray[np.int64]
    variables: tuple[Column, ...]
    classes: tuple[str, ...]
    description: Description

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """The levels of each variable, by which `offsets` is read."""
        return {variable.name: variable.levels for variable in self.variables}

    def predict(self, vectors: NDArray[np.floating], columns: Sequence[Column]) -> NDArray[np.float64]:
        """Return calibrated probabilities (m, c) for vectors (m, d) with their metadata; a class never seen has 0.

        Levels are matched by name, and one that is unknown is not corrected for: `variables` has those that are known.

        They hold for classes that are equally frequent (in every level, as far as the head is de-confounded), so the
        likeliest class is the fair decision. A row that is not finite comes back as NaN.
        """
        z = self.representation.project(vectors)
        scores = _scores(z, self.landmarks, self.coefficients, self.levels, columns) + self.intercepts
        scores += level_shift(self.offsets, self.levels, columns, len(z))
        result = np.zeros((len(z), len(self.classes)))
        result[:, self.present] = scipy.special.softmax(scores / self.description.temperature, axis=1)
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
        arrays |= {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        return arrays, {
            "classes": list(self.classes),
            "variables": [column.meta() for column in self.variables],
            "description": self.describe(),
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], described: Mapping[str, Any]) -> HeadModel:
        """Rebuild from `parts`. Raises KeyError, TypeError or ValueError for foreign ones."""
        representation = Representation(
            **{name: arrays[f"representation.{name}"] for name in ("mean", "scale", "axes")}
        )
        k = representation.axes.shape[1]
        # Before format version 3 every head was linear.
        arrays = {"landmarks": np.zeros((0, k)), **arrays}
        description = dict(described["description"])
        description["confounders"] = tuple(description["confounders"])
        model = cls(
            representation,
            **{name: arrays[name] for name in _ARRAYS},
            variables=tuple(
                Column.from_meta(column, np.zeros(0, dtype=np.int64)) for column in described["variables"]
            ),
            classes=tuple(described["classes"]),
            description=Description(**description),
        )
        p, m, levels = len(model.present), len(model.landmarks), sum(map(len, model.levels.values()))
        marked = m > 0 and model.landmarks.shape[1] != k  # not before format version 4
        wanted = ((m, k + levels if marked else k), (p, m or k), (p,), (levels, p), (p,))
        for name, shape in zip(_ARRAYS, wanted, strict=True):
            if arrays[name].shape != shape:
                raise ValueError(f"{name} is {arrays[name].shape}, not {shape}")
        return model


def train_head(
    pool: Pool,
    labels: TrainingLabels,
    options: TrainingOptions = DEFAULTS,
    *,
    out_of_fold: NDArray[np.float64] | None = None,
) -> HeadModel:
    """Train on the usable of n labels of one class an image.

    `out_of_fold` (m, p), of the m training rows in order for the p classes among them, replaces the scores by which
    accuracy and temperature are judged: vectors of a fine-tuned backbone have seen the labels, so their own folds
    would flatter (see `unseen_scores`).

    The same input gives the same model, bit for bit on one machine. Raises NotEnoughLabels without labels of two
    classes.
    """
    rows = _training_rows(pool, labels)
    columns, classes, seed = pool.columns, labels.classes, options.seed
    seen, y = np.unique(labels.values[rows], return_inverse=True)
    own = [column.take(rows) for column in columns]
    strength = options.correction(columns)
    fair = strength > 0
    weighting: Weighting = "cell" if options.recipe == "group_balanced" else "class"
    z = pool.representation.project(pool.vectors[rows]).astype(np.float64)
    sample, landmarks, back = _sample(
        z,
        y,
        sample_weights(y, own, weighting),
        own if fair else (),
        kernel=options.recipe == "deconfounded",
    )
    of_rows, own_scores = None if labels.groups is None else labels.groups[rows], None
    if len(landmarks):
        linear = replace(sample, features=z, c=_LINEAR_C)
        sample, own_scores = choose(sample.with_variances(), linear, of_rows, seed)
        if sample is linear:
            landmarks, back = np.zeros((0, z.shape[1])), np.eye(z.shape[1])
    fitted = sample.fit(np.ones(len(y), dtype=bool))
    coefficients, intercepts = fitted.coefficients @ back.T, fitted.intercepts
    variables = tuple(column.take(np.zeros(0, dtype=np.int64)) for column in columns)
    levels = {column.name: column.levels for column in variables}
    if out_of_fold is None:
        out_of_fold = own_scores
    if out_of_fold is None:
        out_of_fold = sample.out_of_fold(of_rows, np.random.default_rng(seed))[0]
    elif out_of_fold.shape != (len(rows), len(seen)):
        raise ValueError(f"out_of_fold is {out_of_fold.shape}, not {(len(rows), len(seen))}")
    out_of_fold = out_of_fold.copy()
    offsets: NDArray[np.float64] = np.zeros((sum(len(column.levels) for column in columns), len(seen)))
    # With strength 0 a head is the one that knows of no level.
    unaware = options.recipe == "deconfounded" and not fair
    accuracy = expected_accuracy(out_of_fold, y, () if unaware else own, len(seen))
    if options.recipe == "deconfounded":
        if fair:
            intercepts = np.zeros_like(intercepts)  # as in the scores out of fold
        common, of_levels = _fair_in_the_pool(
            pool,
            labels,
            rows,
            y,
            lambda z, columns: _scores(z, landmarks, coefficients, levels, columns) + intercepts,
            fair=fair,
            accuracy=accuracy,
            strength=strength,
        )
        intercepts = intercepts + common
        offsets = of_levels if fair else offsets
        out_of_fold += common
    out_of_fold += level_shift(offsets, levels, own, len(y))
    temperature = _temperature(out_of_fold, y, sample_weights(y, own, "cell" if fair else "class"))
    description = Description(
        options.recipe,
        strength,
        weighting,
        len(rows),
        {classes[c]: int((y == i).sum()) for i, c in enumerate(seen)},
        temperature,
        accuracy,
        tuple(levels),
        sample.c if len(landmarks) else 0.0,
    )
    return HeadModel(
        pool.representation,
        landmarks,
        coefficients,
        intercepts,
        offsets,
        seen,
        variables,
        tuple(classes),
        description,
    )


def unseen_scores(
    vectors: NDArray[np.floating],
    columns: Sequence[Column],
    labels: NDArray[np.int64],
    used: NDArray[np.bool_],
    *,
    fair: bool,
) -> NDArray[np.float64]:
    """Return scores (m, p) for the labelled items that are not `used`, from a head trained on those that are.

    vectors (n, d); columns over the n items; labels (n,), -1 = unlabelled, with p classes among them; used (n,).
    They are comparable to a head's out-of-fold scores: without intercept where the head is `fair`, and 0 where those
    used are of one class.
    """
    rows = np.flatnonzero(labels >= 0)
    y = np.unique(labels[rows], return_inverse=True)[1]
    if len(np.unique(y[used[rows]])) < 2:
        return np.zeros((int((~used[rows]).sum()), int(y.max(initial=0)) + 1))
    own = [column.take(rows) for column in columns]
    z = fit_representation(vectors).project(vectors[rows]).astype(np.float64)
    sample, _, _ = _sample(z, y, sample_weights(y, own, "class"), own if fair else (), kernel=True)
    fitted = sample.fit(used[rows])
    return np.asarray(
        sample.features[~used[rows]] @ fitted.coefficients.T + (0.0 if fair else fitted.intercepts)
    )


def _sample(
    z: NDArray[np.float64],
    y: NDArray[np.int64],
    weights: NDArray[np.float64],
    columns: Sequence[Column],
    *,
    kernel: bool,
) -> tuple[Sample, NDArray[np.float64], NDArray[np.float64]]:
    """Return what a head is fitted to, its landmarks (m, k + l), and (m or k, r): from their values to the features."""
    classes = int(y.max()) + 1
    if not kernel:
        k = z.shape[1]
        return Sample(z, y, weights, classes, columns, _PLAIN_C), np.zeros((0, k)), np.eye(k)
    items = with_levels(z, {column.name: column.levels for column in columns}, columns)
    landmarks = items[spread(len(items))]
    back = whitening(landmarks, z.shape[1])
    features = similarity(items, landmarks, z.shape[1]) @ back
    return Sample(features, y, weights, classes, columns, VARIANCES[0]), landmarks, back


def _scores(
    z: NDArray[np.floating],
    landmarks: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    levels: Mapping[str, Sequence[str]],
    columns: Sequence[Column],
) -> NDArray[np.float64]:
    """Return scores (n, p) without intercepts of projected vectors (n, k), whose metadata are `columns`.

    Of a large pool the kernel is computed in float32, which takes less than half the time (most of it is numpy's
    exponential of float64); scores differ by less than 1e-5.
    """
    precision: type[np.floating[Any]] = np.float64 if len(z) <= _MOST_IN_FLOAT64 else np.float32
    if not len(landmarks):
        return z.astype(np.float64) @ coefficients.T
    z, landmarks, weights = (array.astype(precision, copy=False) for array in (z, landmarks, coefficients.T))
    components = z.shape[1]
    known = levels if landmarks.shape[1] > components else {}
    found = np.empty((len(z), len(coefficients)))
    for start in range(0, len(z), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(z)))
        items = with_levels(z[rows], known, [column.take(rows) for column in columns] if known else ())
        found[rows] = similarity(items, landmarks, components) @ weights
    return found


def _fair_in_the_pool(
    pool: Pool,
    labels: TrainingLabels,
    rows: NDArray[np.int64],
    y: NDArray[np.int64],
    score: Callable[[NDArray[np.float32], Sequence[Column]], NDArray[np.float64]],
    *,
    fair: bool,
    accuracy: float,
    strength: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `fair_offsets` of the pool's own scores and of the classes' shares, by the training `rows` of classes `y`.

    `score` gives those of projected vectors with their metadata. Unless `fair`, there are no levels to be fair in, and
    the whole pool is one: class weights alone leave a rare class uncalled.
    """
    counted = np.union1d(np.flatnonzero(pool.counted(labels.kind.labelled(labels.values))), rows)
    spaced = _evenly(counted, rows)
    projected = pool.representation.project(pool.vectors[spaced])
    of_spaced = [column.take(spaced) for column in pool.columns]
    fair_in, of_fair_in = pool.columns, of_spaced
    if not fair:
        everything = Column("", "categorical", ("",), np.zeros(len(pool), dtype=np.int64))
        fair_in, of_fair_in = [everything], [everything.take(spaced)]
    represents = None if labels.represents is None else labels.represents[rows]
    n_classes = int(y.max()) + 1
    return fair_offsets(
        score(projected, of_spaced),
        of_fair_in,
        [level_shares(column, rows, y, n_classes, represents, counted) for column in fair_in],
        accuracy=accuracy,
        strength=strength,
    )


def _training_rows(pool: Pool, labels: TrainingLabels) -> NDArray[np.int64]:
    """Return the items to train on. Raises NotEnoughLabels with the reason."""
    labelled = np.flatnonzero(labels.usable)
    rows: NDArray[np.int64] = labelled[np.isfinite(pool.vectors[labelled]).all(axis=1)]
    seen = np.unique(labels.values[rows])
    if len(seen) < 2:
        held = "" if labels.trainable is None else " (labels held out for evaluation do not count)"
        they = "the only label says" if len(rows) == 1 else f"all {number_of(len(rows), 'label')} say"
        found = (
            f"{they} {labels.classes[seen[0]]!r}"
            if len(seen)
            else "there are none of images with a finite vector"
        )
        raise NotEnoughLabels(f"A model needs labels of at least two classes, but {found}{held}.")
    return rows


def _evenly(items: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most 20,000 of the items, evenly spaced, and all of `rows`, in order."""
    spaced = items[np.linspace(0, len(items) - 1, min(len(items), _MOST_FOR_OFFSETS)).astype(np.int64)]
    return np.asarray(np.union1d(spaced, rows), dtype=np.int64)


def _temperature(scores: NDArray[np.float64], y: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Return the temperature that makes out-of-fold scores likeliest (Guo et al. 2017), between 1/20 and 20.

    A faint pull towards 1 keeps a handful of labels from making it extreme.
    """

    def loss(log_t: float) -> float:
        likelihood = scipy.special.log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(y)), y]
        return log_t**2 - float(weights @ likelihood)

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))

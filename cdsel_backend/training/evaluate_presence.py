"""How good a model of several classes an image is: class by class, group by group, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column, joint_codes
from cdsel_backend.training.evaluate import (
    MIN_GROUP,
    MIN_PATIENTS,
    calibration_error,
    few_groups,
    patients_of,
    resample,
    weighted_shares,
    within_group_auc,
)
from cdsel_backend.training.presence import OUTCOMES

_CONFIDENCE = 0.95
_LEAST = 5  # labels of either outcome from which a class has a balanced accuracy
_LIKELY = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Groups of (image, class) pairs: `names` (g,), class of each `code` (g,), members (n, g), right (n, g)."""

    names: list[str]
    code: NDArray[np.int64]
    members: NDArray[np.bool_]
    right: NDArray[np.bool_]

    def accuracies(self, weights: Array) -> Array:
        """Return (b, g): the accuracy of each group under each row of weights (b, n)."""
        inside = self.members.astype(np.float64)
        return weighted_shares(inside * self.right, inside, weights)

    def take(self, kept: NDArray[np.bool_]) -> _Cells:
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        return _Cells(names, self.code[kept], self.members[:, kept], self.right[:, kept])


def evaluate_presence(
    probabilities: Array,
    labels: NDArray[np.integer],
    columns: Sequence[Column],
    classes: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    minimum: int = MIN_GROUP,
) -> dict[str, Any]:
    """Measure probabilities (n, c) that images show each class against labels (n, c) of 0, 1 and -1 (nobody said).

    The keys are those of `evaluate`. A group is a class, present or absent, within a level of one of the `columns`
    ("effusion present, site north"; without columns the class's outcomes are the groups); those with fewer than
    `minimum` labels (or, where `groups` (n,) names the patients, of too few patients) are unreliable and left out of
    the worst and the mean. `accuracy` and `balanced_accuracy` (mean
    recall of present and absent) are averaged over the classes, as are `within_group_auc` and `calibration_error`.
    Intervals come from resampling images, or patients with all theirs, within the levels of the columns. `by_class`
    adds n, how many images show it, balanced and worst-group accuracy for each class.
    """
    if probabilities.shape != labels.shape or labels.shape[1:] != (len(classes),):
        raise ValueError(
            f"probabilities are {probabilities.shape}, labels {labels.shape}, for {len(classes)} classes"
        )
    known = (labels >= 0).any(axis=1)
    probabilities, labels = probabilities[known], labels[known]
    groups = None if groups is None else groups[known]
    columns = [column.take(np.flatnonzero(known)) for column in columns]
    n = len(labels)
    cells = _cells(probabilities, labels, columns, classes)
    outcomes = _cells(probabilities, labels, [], classes)
    sizes = cells.members.sum(axis=0)
    patients = patients_of(cells.members, groups)
    reliable = (sizes >= minimum) & (patients >= MIN_PATIENTS if groups is not None else True)
    judged = cells.take(reliable)
    asked = _Cells(
        list(classes), np.arange(len(classes)), labels >= 0, (probabilities >= _LIKELY) == (labels == 1)
    )
    asked = asked.take(np.asarray(asked.members.any(axis=0)))
    counted = outcomes.take(outcomes.members.sum(axis=0) >= min(minimum, _LEAST))
    both = np.array([(counted.code == code).sum() == 2 for code in counted.code], dtype=bool)
    balanced = counted.take(both)
    once = np.ones((1, n))
    listed = [
        {"group": name, "n": int(size), "accuracy": float(accuracy), "unreliable": not judged_too}
        for name, size, accuracy, judged_too in zip(
            cells.names, sizes, cells.accuracies(once)[0] if n else [], reliable.tolist(), strict=True
        )
    ]
    if groups is not None:
        listed = [{**one, "patients": int(count)} for one, count in zip(listed, patients, strict=True)]
    reasons: dict[str, str] = {}
    if n < minimum:
        reasons["accuracy"] = f"only {n} held-out labels; {minimum} are needed"
    if not len(balanced.code):
        reasons["balanced_accuracy"] = "too few held-out labels of every class, present or absent"
    if len(judged.code) < 2:
        reasons["group_balanced_accuracy"] = few_groups(sizes, minimum)
        reasons["worst_group_accuracy"] = reasons["group_balanced_accuracy"]
    measures: dict[str, Callable[[Array], Array]] = {
        "accuracy": lambda w: asked.accuracies(w).mean(axis=1),
        "balanced_accuracy": lambda w: balanced.accuracies(w).mean(axis=1),
        "group_balanced_accuracy": lambda w: judged.accuracies(w).mean(axis=1),
        "worst_group_accuracy": lambda w: judged.accuracies(w).min(axis=1),
    }
    weights = (
        resample(joint_codes(columns, n), groups, np.random.default_rng(seed)) if n else np.zeros((0, 0))
    )
    headlines: dict[str, Any] = {"n": n}
    intervals: dict[str, list[float]] = {}
    for name, measure in measures.items():
        headlines[name] = None
        if name not in reasons:
            headlines[name] = float(measure(once)[0])
            tail = (1 - _CONFIDENCE) / 2
            intervals[name] = [float(x) for x in np.quantile(measure(weights), [tail, 1 - tail])]
    told = "worst_group_accuracy" not in reasons
    headlines["worst_group"] = judged.names[int(judged.accuracies(once)[0].argmin())] if told else None
    headlines["groups"] = listed
    areas = [
        _per_class(within_group_auc, probabilities, labels, columns, code) for code in range(len(classes))
    ]
    gaps = [_per_class(_fair_error, probabilities, labels, columns, code) for code in range(len(classes))]
    for name, values, why in (
        ("within_group_auc", areas, "no group holds enough of both outcomes of a class"),
        ("calibration_error", gaps, reasons.get("balanced_accuracy", "")),
    ):
        found = [value for value in values if value is not None]
        headlines[name] = float(np.mean(found)) if found else None
        if not found:
            reasons[name] = why
    headlines["by_class"] = {
        name: {
            "n": int((labels[:, code] >= 0).sum()),
            "present": int((labels[:, code] == 1).sum()),
            "balanced_accuracy": _of_class(balanced, code, once, np.mean),
            "worst_group_accuracy": _of_class(judged, code, once, np.min),
            "within_group_auc": areas[code],
        }
        for code, name in enumerate(classes)
    }
    return {**headlines, "intervals": intervals, "reasons": reasons}


def _cells(
    probabilities: Array, labels: NDArray[np.integer], columns: Sequence[Column], classes: Sequence[str]
) -> _Cells:
    """Return the groups that occur: (class, outcome) within each level, or as they are without columns."""
    levels = [
        (f", {column.name} {level}", column.codes == code)
        for column in columns
        for code, level in enumerate(column.levels)
    ] or [("", np.ones(len(labels), dtype=bool))]
    found = [
        (f"{name} {outcome}{words}", code, inside & (labels[:, code] == value), value)
        for words, inside in levels
        for code, name in enumerate(classes)
        for value, outcome in enumerate(OUTCOMES)
    ]
    found = [one for one in found if one[2].any()]
    shape = (len(labels), len(found))
    members, right = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for place, (_, code, inside, value) in enumerate(found):
        members[:, place] = inside
        right[:, place] = (probabilities[:, code] >= _LIKELY) == (value == 1)
    return _Cells(
        [one[0] for one in found], np.array([one[1] for one in found], dtype=np.int64), members, right
    )


def _per_class(
    measure: Callable[[Array, NDArray[np.int64], Sequence[Column]], float | None],
    probabilities: Array,
    labels: NDArray[np.integer],
    columns: Sequence[Column],
    code: int,
) -> float | None:
    """Return a measure of one class as a choice between absent and present, over the images that say."""
    rows = np.flatnonzero(labels[:, code] >= 0)
    p = probabilities[rows, code]
    return measure(
        np.stack([1 - p, p], axis=1),
        labels[rows, code].astype(np.int64),
        [column.take(rows) for column in columns],
    )


def _fair_error(probabilities: Array, labels: NDArray[np.int64], columns: Sequence[Column]) -> float | None:
    """Return the calibration error with both outcomes weighing the same; None where one has too few labels."""
    counts = np.bincount(labels, minlength=2)
    if counts.min() < _LEAST:
        return None
    return calibration_error(probabilities, labels, 1 / counts[labels])


def _of_class(cells: _Cells, code: int, once: Array, summary: Callable[[Array], Any]) -> float | None:
    own = cells.take(cells.code == code)
    return float(summary(own.accuracies(once)[0])) if len(own.code) else None

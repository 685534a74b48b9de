"""How good a model is, group by group, with intervals and a word where there are too few labels to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.training.cells import cells_of

MIN_GROUP = 15  # labels of a group from which it may be called the worst
MIN_PATIENTS = 5  # of whom they must be: fifteen images of one patient are one case
_RESAMPLES = 1000
_CONFIDENCE = 0.95
_BINS = 10

Array = NDArray[np.float64]


def evaluate(
    probabilities: Array,
    labels: NDArray[np.int64],
    columns: Sequence[Column],
    classes: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    minimum: int = MIN_GROUP,
) -> dict[str, Any]:
    """Measure probabilities (n, c) against labels (n,), each an index into `classes`.

    A group is a class within a level of one of the `columns` (each variable makes its own groups; without columns
    the classes are the groups). Groups with fewer than `minimum` labels are listed as unreliable and left out of the
    worst and the mean. `groups` (n,), as for `train_head`, says which items are of one patient or lesion (negative =
    unknown): then a group of fewer than `MIN_PATIENTS` patients is unreliable, too, and lists its `patients`. Each
    headline is a number, or None with the reason in `reasons`; `intervals` holds its bootstrap interval, resampled
    within the groups, patients with all their items. `within_group_auc` ranks inside a level, averaged over levels
    with both classes and over classes one-vs-rest; `calibration_error` is the expected one over
    ten bins, with every group weighing the same, because that is what a head's probabilities hold for.
    """
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(f"probabilities are {probabilities.shape}, not {(len(labels), len(classes))}")
    if len(labels) and labels.min() < 0:
        raise ValueError("evaluate needs a label for every item; leave the unlabelled out")
    right = (probabilities.argmax(axis=1) == labels) if len(labels) else np.zeros(0, dtype=bool)
    cells = cells_of(labels, columns, classes, 1)
    names, members = cells.names, cells.members
    sizes = members.sum(axis=0)
    patients = patients_of(members, groups)
    judged = (sizes >= minimum) & (patients >= MIN_PATIENTS if groups is not None else True)
    listed = [
        {
            "group": name,
            "n": int(size),
            "accuracy": float(right[inside].mean()),
            "unreliable": not reliable,
        }
        for name, size, inside, reliable in zip(names, sizes, members.T, judged.tolist(), strict=True)
    ]
    if groups is not None:
        listed = [{**one, "patients": int(count)} for one, count in zip(listed, patients, strict=True)]
    headlines: dict[str, Any] = {"n": len(labels)}
    reasons: dict[str, str] = {}
    intervals: dict[str, list[float]] = {}
    worst: str | None = None
    class_sizes = np.bincount(labels, minlength=len(classes)) if len(labels) else np.zeros(len(classes), int)
    if len(labels) < minimum:
        reasons["accuracy"] = f"only {len(labels)} held-out labels; {minimum} are needed"
    if (class_sizes > 0).sum() < 2 or class_sizes[class_sizes > 0].min() < min(minimum, 5):
        reasons["balanced_accuracy"] = "too few held-out labels of some class"
    if judged.sum() < 2:
        reasons["group_balanced_accuracy"] = few_groups(sizes, minimum)
        reasons["worst_group_accuracy"] = reasons["group_balanced_accuracy"]
    else:
        accuracies = np.array([one["accuracy"] for one in listed])
        worst = names[int(np.where(judged, accuracies, np.inf).argmin())]
    measures: dict[str, Callable[[Array], Array]] = {
        "accuracy": lambda w: _mean(w, right),
        "balanced_accuracy": lambda w: _by_group(
            w, right, np.eye(len(classes), dtype=bool)[labels], class_sizes > 0
        ).mean(axis=1),
        "group_balanced_accuracy": lambda w: _by_group(w, right, members, judged).mean(axis=1),
        "worst_group_accuracy": lambda w: _by_group(w, right, members, judged).min(axis=1),
    }
    rng = np.random.default_rng(seed)
    resampled = resample(_joint(members), groups, rng) if len(labels) else np.zeros((0, 0))
    for name, measure in measures.items():
        headlines[name] = None
        if name in reasons:
            continue
        headlines[name] = float(measure(np.ones((1, len(labels))))[0])
        intervals[name] = _interval(measure(resampled))
    headlines["worst_group"] = worst
    headlines["groups"] = listed
    auc = within_group_auc(probabilities, labels, columns)
    headlines["within_group_auc"] = auc
    if auc is None:
        reasons["within_group_auc"] = "no group holds enough of two classes"
    headlines["calibration_error"] = None
    if "group_balanced_accuracy" in reasons:
        reasons["calibration_error"] = reasons["group_balanced_accuracy"]
    else:
        fair = members[:, judged] @ (1 / sizes[judged])
        headlines["calibration_error"] = calibration_error(probabilities, labels, fair)
    return {**headlines, "intervals": intervals, "reasons": reasons}


def within_group_auc(
    probabilities: Array, labels: NDArray[np.int64], columns: Sequence[Column], least: int = 5
) -> float | None:
    """Return the one-vs-rest AUROC inside each level, averaged over classes, levels and variables.

    A level counts for a class when it holds at least `least` items in it and out of it; None when none does.
    """
    inside = [column.codes == code for column in columns for code in range(len(column.levels))]
    areas = []
    for mask in inside or [np.ones(len(labels), dtype=bool)]:
        for code in range(probabilities.shape[1]):
            positive = labels[mask] == code
            n1, n0 = int(positive.sum()), int((~positive).sum())
            if min(n1, n0) < least:
                continue
            ranks = rankdata(probabilities[mask, code])
            areas.append((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
    return float(np.mean(areas)) if areas else None


def calibration_error(probabilities: Array, labels: NDArray[np.int64], weights: Array) -> float:
    """Return the expected calibration error of the likeliest class over ten bins, items counting by `weights` (n,)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    gaps = [abs(float(weights[part] @ (confidence - right)[part])) for part in np.array_split(order, _BINS)]
    return float(np.sum(gaps) / max(float(weights.sum()), 1e-12))


def _joint(members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n,): a code for each combination of groups an item is in."""
    return np.asarray(np.unique(members, axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)


def patients_of(members: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return (g,): how many patients (or lesions) the items of each cell, members (n, g), are of."""
    units = alone_or_together(groups, len(members))
    return np.array([len(np.unique(units[inside])) for inside in members.T], dtype=np.int64)


def few_groups(sizes: NDArray[np.int64], minimum: int) -> str:
    """Say why no two groups of these sizes are judged."""
    of_whom = f" of {MIN_PATIENTS} patients" if (sizes >= minimum).sum() > 1 else ""
    return f"fewer than two groups have {minimum} held-out labels{of_whom}"


def resample(strata: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator) -> Array:
    """Return (resamples, n) weights: how often each item is drawn with replacement from its stratum (n,).

    The items of one of `groups` (n,; negative: alone) are drawn together, in the stratum that most of them are in:
    images of one patient are right or wrong together, so that they tell less than as many patients do. Of m patients
    m - 1 are drawn, and count m / (m - 1) times (Rao & Wu 1988), since m of m would vary too little where m is small.
    """
    units = alone_or_together(groups, len(strata))
    counts = np.zeros((units.max() + 1, strata.max() + 1), dtype=np.int64)
    np.add.at(counts, (units, strata), 1)
    stratum = counts.argmax(axis=1)
    weights = np.ones((_RESAMPLES, len(stratum)))
    for code in np.unique(stratum):
        own = np.flatnonzero(stratum == code)
        if (m := len(own)) > 1:
            weights[:, own] = rng.multinomial(m - 1, np.full(m, 1 / m), size=_RESAMPLES) * (m / (m - 1))
    return weights[:, units]


def weighted_shares(won: Array, inside: Array, weights: Array) -> Array:
    """Return (b, g): the share that each group, inside (n, g), has won (n, g) under each row of weights (b, n).

    A group that a row leaves nothing of has its plain share: few patients may all stay undrawn.
    """
    total = weights @ inside
    plain = won.sum(axis=0) / np.maximum(inside.sum(axis=0), 1e-12)
    return np.asarray(np.where(total > 0, weights @ won / np.maximum(total, 1e-12), plain), dtype=np.float64)


def _mean(weights: Array, right: NDArray[np.bool_]) -> Array:
    return np.asarray(weights @ right / weights.sum(axis=1), dtype=np.float64)


def _by_group(
    weights: Array, right: NDArray[np.bool_], members: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> Array:
    """Return (b, g): the accuracy of each judged group under each row of weights."""
    inside = members[:, judged].astype(np.float64)
    return weighted_shares(inside * right[:, None], inside, weights)


def _interval(values: Array) -> list[float]:
    tail = (1 - _CONFIDENCE) / 2
    return [float(x) for x in np.quantile(values, [tail, 1 - tail])]

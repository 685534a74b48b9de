"""How good a model is, group by group, with intervals and a word where there are too few labels to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import SINGLE, LabelKind
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column, joint_codes
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.training.cells import Cells, cells_of

MIN_GROUP = 15  # labels of a group from which it may be called the worst
MIN_PATIENTS = 5  # of whom they must be: fifteen images of one patient are one case
LEAST_OUTCOME = 5  # labels of each outcome that a balanced accuracy, or a ranking, needs
_RESAMPLES = 1000
_CONFIDENCE = 0.95
_BINS = 10

Array = NDArray[np.float64]


def evaluate(
    probabilities: Array,
    labels: NDArray[np.integer],
    columns: Sequence[Column],
    classes: Sequence[str],
    *,
    kind: LabelKind = SINGLE,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    minimum: int = MIN_GROUP,
) -> dict[str, Any]:
    """Measure probabilities (n, c) of the c `classes` against the labels of n items, as their kind has them.

    A group is an outcome (a class, or its presence or absence) within a level of one of the `columns`: each variable
    makes its own groups, and without columns the outcomes are the groups. Groups with fewer than `minimum` labels are
    listed as unreliable and left out of the worst and the mean. `groups` (n,), as for `train_head`, says which items
    are of one patient or lesion (negative = unknown): then a group of fewer than `MIN_PATIENTS` patients is
    unreliable, too, and lists its `patients`. Each headline is a number, or None with the reason in `reasons`;
    `intervals` holds its bootstrap interval, resampled within the groups (where a label makes several decisions:
    within the levels), patients with all their items.

    Where a label makes several decisions, `accuracy`, `balanced_accuracy` (mean recall of the outcomes),
    `within_group_auc` and `calibration_error` are averaged over them, and `by_class` lists each. `within_group_auc`
    ranks inside a level, averaged over levels with both classes and over classes one-vs-rest; `calibration_error` is
    the expected one over ten bins, with every group weighing the same, because that is what a head's probabilities
    hold for.

    Raises ValueError for shapes that do not fit, and where an item has no label.
    """
    codes = _codes_of(probabilities, labels, classes, kind)
    n, right = len(labels), kind.decided(probabilities) == codes
    cells, outcomes = (cells_of(labels, by, classes, 1, kind=kind) for by in (columns, ()))
    sizes = cells.members.sum(axis=0)
    patients = None if groups is None else patients_of(cells.members, groups)
    reliable = (sizes >= minimum) & (True if patients is None else patients >= MIN_PATIENTS)
    judged = cells.take(reliable)
    balanced = outcomes.take(np.isin(outcomes.column, _comparable(outcomes, min(minimum, LEAST_OUTCOME))))
    reasons: dict[str, str] = {}
    if n < minimum:
        reasons["accuracy"] = f"only {number_of(n, 'held-out label')}; {minimum} are needed"
    if not balanced.names:
        reasons["balanced_accuracy"] = "too few held-out labels of some class"
    if len(judged.names) < 2:
        reasons["group_balanced_accuracy"] = few_groups(sizes, minimum)
        reasons["worst_group_accuracy"] = reasons["group_balanced_accuracy"]
    every = _decided(codes)
    measures: dict[str, Callable[[Array], Array]] = {
        "accuracy": lambda w: _accuracies(right, every, w).mean(axis=1),
        "balanced_accuracy": lambda w: _by_decision(balanced, _accuracies(right, balanced, w)).mean(axis=1),
        "group_balanced_accuracy": lambda w: _accuracies(right, judged, w).mean(axis=1),
        "worst_group_accuracy": lambda w: _accuracies(right, judged, w).min(axis=1),
    }
    once = np.ones((1, n))
    strata = _joint(cells.members) if codes.shape[1] == 1 else joint_codes(columns, n)
    resampled = resample(strata, groups, np.random.default_rng(seed)) if n else np.zeros((0, 0))
    headlines: dict[str, Any] = {"n": n} | dict.fromkeys(measures)
    intervals: dict[str, list[float]] = {}
    for name, measure in measures.items():
        if name not in reasons:
            headlines[name] = float(measure(once)[0])
            intervals[name] = _interval(measure(resampled))
    of_judged = _accuracies(right, judged, once)[0]
    has_worst = "worst_group_accuracy" not in reasons
    headlines["worst_group"] = judged.names[int(of_judged.argmin())] if has_worst else None
    headlines["groups"] = _listed(cells, _accuracies(right, cells, once)[0], reliable, patients)
    by_decision = kind.by_decision(probabilities)
    areas = [_area(p, codes[:, number], columns) for number, p in enumerate(by_decision)]
    errors = [
        _fair_error(p, codes[:, number], judged.take(judged.column == number))
        for number, p in enumerate(by_decision)
    ]
    for name, values, reason in (
        ("within_group_auc", areas, "no group holds enough labels of a class and of others"),
        ("calibration_error", errors, few_groups(sizes, minimum)),
    ):
        found = [value for value in values if value is not None]
        headlines[name] = float(np.mean(found)) if found else None
        if not found:
            reasons[name] = reason
    if kind.several:
        of_balanced = _accuracies(right, balanced, once)[0]
        headlines["by_class"] = {
            decision.name: {
                "n": int((codes[:, number] >= 0).sum()),
                "present": int((codes[:, number] == 1).sum()),
                "balanced_accuracy": _of(number, balanced, of_balanced, np.mean),
                "worst_group_accuracy": _of(number, judged, of_judged, np.min),
                "within_group_auc": areas[number],
            }
            for number, decision in enumerate(kind.decisions(classes))
        }
    return {**headlines, "intervals": intervals, "reasons": reasons}


def _codes_of(
    probabilities: Array, labels: NDArray[np.integer], classes: Sequence[str], kind: LabelKind
) -> NDArray[np.int64]:
    """Return (n, q): the outcome of each decision, -1 where nobody decided. Raises ValueError as `evaluate` does."""
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"probabilities are {probabilities.shape}, not {(len(labels), len(classes))}, for "
            f"{number_of(len(classes), 'class', 'classes')}"
        )
    codes = kind.codes(labels)
    if len(labels) and not (codes >= 0).any(axis=1).all():
        raise ValueError("evaluate needs a label for every item; leave the unlabelled out")
    return codes


def _decided(codes: NDArray[np.int64]) -> Cells:
    """Return a group for each decision that anybody made: all of its items."""
    asked = codes >= 0
    made = np.flatnonzero(asked.any(axis=0))
    return Cells(tuple(map(str, made)), asked[:, made], made)


def _accuracies(right: NDArray[np.bool_], cells: Cells, weights: Array) -> Array:
    """Return (b, g): the accuracy in each group under each row of weights (b, n).

    `right` (n, q): which decisions are as the label says.
    """
    inside = cells.members.astype(np.float64)
    return weighted_shares(inside * right[:, cells.column], inside, weights)


def _listed(
    cells: Cells, accuracies: Array, reliable: NDArray[np.bool_], patients: NDArray[np.int64] | None
) -> list[dict[str, Any]]:
    """Return every group with its size and accuracy (g,), and where patients are known, of how many it is."""
    listed: list[dict[str, Any]] = [
        {"group": name, "n": int(size), "accuracy": float(accuracy), "unreliable": not is_reliable}
        for name, size, accuracy, is_reliable in zip(
            cells.names, cells.members.sum(axis=0), accuracies, reliable.tolist(), strict=True
        )
    ]
    if patients is None:
        return listed
    return [{**group, "patients": int(count)} for group, count in zip(listed, patients, strict=True)]


def _area(probabilities: Array, codes: NDArray[np.int64], columns: Sequence[Column]) -> float | None:
    """Return `within_group_auc` of one decision, codes (n,), on the items for which it was made."""
    own = np.flatnonzero(codes >= 0)
    return within_group_auc(probabilities[own], codes[own], [column.take(own) for column in columns])


def _comparable(outcomes: Cells, least: int) -> NDArray[np.int64]:
    """Return the decisions of which two outcomes or more occur, each of them in `least` labels or more."""
    sizes = outcomes.members.sum(axis=0)
    found = [
        number
        for number in np.unique(outcomes.column)
        if (own := sizes[outcomes.column == number]).min() >= least and len(own) > 1
    ]
    return np.array(found, dtype=np.int64)


def _by_decision(cells: Cells, accuracies: Array) -> Array:
    """Return (b, q): the mean accuracy of the outcomes of each decision that has groups, from (b, g)."""
    return np.stack(
        [accuracies[:, cells.column == number].mean(axis=1) for number in np.unique(cells.column)], axis=1
    )


def _of(number: int, cells: Cells, accuracies: Array, summary: Callable[[Array], Any]) -> float | None:
    """Return the summary of one decision's groups, from accuracies (g,); None where it has none."""
    own = accuracies[cells.column == number]
    return float(summary(own)) if len(own) else None


def _fair_error(probabilities: Array, codes: NDArray[np.int64], judged: Cells) -> float | None:
    """Return the calibration error of a decision, every group weighing the same; None with fewer than two groups."""
    if len(judged.names) < 2:
        return None
    own = np.flatnonzero(codes >= 0)
    fair = judged.members @ (1 / judged.members.sum(axis=0))
    return calibration_error(probabilities[own], codes[own], fair[own])


def within_group_auc(
    probabilities: Array, labels: NDArray[np.int64], columns: Sequence[Column]
) -> float | None:
    """Return the one-vs-rest AUROC inside each level, averaged over classes, levels and variables.

    A level counts for a class when it holds at least `LEAST_OUTCOME` items in it and out of it; None when none does.
    """
    inside = [column.codes == code for column in columns for code in range(len(column.levels))]
    areas = []
    for mask in inside or [np.ones(len(labels), dtype=bool)]:
        for code in range(probabilities.shape[1]):
            positive, given = labels[mask] == code, probabilities[mask, code]
            yes, no = given[positive], given[~positive]
            if min(len(yes), len(no)) >= LEAST_OUTCOME:
                areas.append(auroc(yes, no))
    return float(np.mean(areas)) if areas else None


def auroc(yes: Array, no: Array) -> float:
    """Return the share of pairs in which the score of `yes` (n,) is above that of `no` (m,); of equals, one half.

    By counts in sorted order: a bootstrap asks for it thousands of times.
    """
    ordered = np.sort(no)
    won = ordered.searchsorted(yes, "left").sum() + ordered.searchsorted(yes, "right").sum()
    return float(won / 2 / (len(yes) * len(no)))


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


def _interval(values: Array) -> list[float]:
    tail = (1 - _CONFIDENCE) / 2
    return [float(x) for x in np.quantile(values, [tail, 1 - tail])]

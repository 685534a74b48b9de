"""How good a model is, group by group, with intervals, and the reason where too few labels tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column, joint_codes
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.training.bootstrap import interval, resample, weighted_shares
from cdsel_backend.training.cells import Cells, cells_of
from cdsel_backend.training.ranking import LEAST_OUTCOME, calibration_error, within_group_auc

MIN_GROUP = 15  # labels of a group from which it may be called the worst
MIN_PATIENTS = 5  # of whom they must be: fifteen images of one patient are one case

Array = NDArray[np.float64]


def evaluate(
    probabilities: Array,
    labels: Labels,
    columns: Sequence[Column],
    *,
    seed: int = 0,
    minimum: int = MIN_GROUP,
) -> dict[str, Any]:
    """Measure probabilities (n, c) against the n labels, every one of which is there, in the order of their classes.

    A group is an outcome (a class, or its presence or absence) within a level of one of the `columns`: each variable
    makes its own groups, and without columns the outcomes are the groups. Groups with fewer than `minimum` labels are
    listed as unreliable and left out of the worst and the mean. Where the labels know their groups (patients, or
    lesions), a group of fewer than `MIN_PATIENTS` patients is unreliable, too, and lists its `patients`. Each headline
    is a number, or None with the reason in `reasons`; `intervals` holds its bootstrap interval, resampled within the
    groups (where a label makes several decisions: within the levels), patients with all their items.

    Where a label makes several decisions, `accuracy`, `balanced_accuracy` (mean recall of the outcomes),
    `within_group_auc` and `calibration_error` are averaged over them, and `by_class` lists each. `within_group_auc`
    ranks inside a level, averaged over levels with both classes and over classes one-vs-rest; `calibration_error` is
    the expected one over ten bins, with every group weighing the same, because that is what a head's probabilities
    hold for.

    Raises ValueError for shapes that do not fit, and where an item has no label.
    """
    codes = _codes_of(probabilities, labels)
    right = labels.kind.decided(probabilities) == codes
    groups = _groups_of(labels, columns, minimum)
    balanced = _comparable(cells_of(labels, (), 1), min(minimum, LEAST_OUTCOME))
    few_judged = _few_groups(groups.sizes, minimum)
    reasons: dict[str, str] = {}
    if len(labels) < minimum:
        reasons["accuracy"] = f"only {number_of(len(labels), 'held-out label')}; {minimum} are needed"
    if not balanced.names:
        reasons["balanced_accuracy"] = "too few held-out labels of some class"
    if len(groups.judged.names) < 2:
        reasons |= dict.fromkeys(("group_balanced_accuracy", "worst_group_accuracy"), few_judged)
    measures = _accuracy_measures(right, _decided(codes), balanced, groups.judged)
    once = np.ones((1, len(labels)))
    known = {name: measure for name, measure in measures.items() if name not in reasons}
    resampled = _resampled(labels, columns, groups.cells, seed)
    headlines: dict[str, Any] = {
        "n": len(labels),
        **dict.fromkeys(measures),
        **{name: float(measure(once)[0]) for name, measure in known.items()},
        "worst_group": None,
        "groups": groups.listed(_accuracies(right, groups.cells, once)[0]),
    }
    of_judged = _accuracies(right, groups.judged, once)[0]
    if "worst_group_accuracy" in known:
        headlines["worst_group"] = groups.judged.names[int(of_judged.argmin())]
    areas, errors = _by_probability(probabilities, codes, labels, columns, groups.judged)
    for name, values, reason in (
        ("within_group_auc", areas, "no group holds enough labels of a class and of others"),
        ("calibration_error", errors, few_judged),
    ):
        found = [value for value in values if value is not None]
        headlines[name] = float(np.mean(found)) if found else None
        if not found:
            reasons[name] = reason
    if labels.kind.several:
        of_balanced = _accuracies(right, balanced, once)[0]
        headlines["by_class"] = {
            decision.name: {
                "n": int((codes[:, number] >= 0).sum()),
                "present": int((codes[:, number] == 1).sum()),
                "balanced_accuracy": _of(number, balanced, of_balanced, np.mean),
                "worst_group_accuracy": _of(number, groups.judged, of_judged, np.min),
                "within_group_auc": areas[number],
            }
            for number, decision in enumerate(labels.decisions)
        }
    units = len(np.unique(alone_or_together(labels.groups, len(labels))))
    intervals = {name: interval(measure(resampled), units) for name, measure in known.items()}
    return {**headlines, "intervals": intervals, "reasons": reasons}


def _few_groups(sizes: NDArray[np.int64], minimum: int) -> str:
    """Say why no two groups of these sizes (g,) are judged."""
    of_whom = f" of {MIN_PATIENTS} patients" if (sizes >= minimum).sum() > 1 else ""
    return f"fewer than two groups have {minimum} held-out labels{of_whom}"


@dataclass(frozen=True, eq=False)
class _Groups:
    """Every group that has a label: `cells`, how many `patients` (g,) each is of, and which are `reliable` (g,)."""

    cells: Cells
    patients: NDArray[np.int64] | None
    reliable: NDArray[np.bool_]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(g,): the labels of each."""
        return np.asarray(self.cells.members.sum(axis=0), dtype=np.int64)

    @cached_property
    def judged(self) -> Cells:
        """The reliable ones."""
        return self.cells.take(self.reliable)

    def listed(self, accuracies: Array) -> list[dict[str, Any]]:
        """Return every group with its size and accuracy (g,), and where patients are known, of how many it is."""
        listed: list[dict[str, Any]] = [
            {"group": name, "n": size, "accuracy": float(accuracy), "unreliable": not is_reliable}
            for name, size, accuracy, is_reliable in zip(
                self.cells.names, self.sizes.tolist(), accuracies, self.reliable.tolist(), strict=True
            )
        ]
        if self.patients is None:
            return listed
        counts = self.patients.tolist()
        return [{**group, "patients": count} for group, count in zip(listed, counts, strict=True)]


def _groups_of(labels: Labels, columns: Sequence[Column], minimum: int) -> _Groups:
    """Return the groups within the levels of the columns; reliable are those of `minimum` labels of enough patients."""
    cells = cells_of(labels, columns, 1)
    reliable = cells.members.sum(axis=0) >= minimum
    if labels.groups is None:
        return _Groups(cells, None, reliable)
    units = alone_or_together(labels.groups, len(labels))
    patients = np.array([len(np.unique(units[inside])) for inside in cells.members.T], dtype=np.int64)
    return _Groups(cells, patients, reliable & (patients >= MIN_PATIENTS))


def _codes_of(probabilities: Array, labels: Labels) -> NDArray[np.int64]:
    """Return (n, q): the outcome of each decision, -1 where nobody decided. Raises ValueError as `evaluate` does."""
    wanted = (len(labels), len(labels.classes))
    if probabilities.shape != wanted:
        raise ValueError(
            f"probabilities are {probabilities.shape}, not {wanted}, for "
            f"{number_of(len(labels.classes), 'class', 'classes')}"
        )
    codes = labels.codes
    if len(labels) and not (codes >= 0).any(axis=1).all():
        raise ValueError("evaluate needs a label for every item; leave the unlabelled out")
    return codes


def _accuracy_measures(
    right: NDArray[np.bool_], every: Cells, balanced: Cells, judged: Cells
) -> Mapping[str, Callable[[Array], Array]]:
    """Return the accuracies by name, each a function of weights (b, n) that gives (b,)."""
    return {
        "accuracy": lambda w: _accuracies(right, every, w).mean(axis=1),
        "balanced_accuracy": lambda w: _by_decision(balanced, _accuracies(right, balanced, w)).mean(axis=1),
        "group_balanced_accuracy": lambda w: _accuracies(right, judged, w).mean(axis=1),
        "worst_group_accuracy": lambda w: _accuracies(right, judged, w).min(axis=1),
    }


def _resampled(labels: Labels, columns: Sequence[Column], cells: Cells, seed: int) -> Array:
    """Return (b, n) weights of the bootstrap: within the groups, or where a label decides several, the levels."""
    if not len(labels):
        return np.zeros((0, 0))
    strata = joint_codes(columns, len(labels)) if len(labels.decisions) > 1 else _combinations(cells.members)
    return resample(strata, labels.groups, np.random.default_rng(seed))


def _combinations(members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n,): a code for each combination of groups an item is in, members (n, g)."""
    return np.asarray(np.unique(members, axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)


def _decided(codes: NDArray[np.int64]) -> Cells:
    """Return a group for each decision that anybody made: all of its items."""
    asked = codes >= 0
    made = np.flatnonzero(asked.any(axis=0))
    return Cells(tuple(map(str, made)), asked[:, made], made)


def _comparable(outcomes: Cells, least: int) -> Cells:
    """Return the outcomes of the decisions of which two or more occur, each of them in `least` labels or more."""
    sizes = outcomes.members.sum(axis=0)
    kept = np.zeros(len(sizes), dtype=bool)
    for number in np.unique(outcomes.column):
        own = outcomes.column == number
        kept[own] = own.sum() > 1 and sizes[own].min() >= least
    return outcomes.take(kept)


def _accuracies(right: NDArray[np.bool_], cells: Cells, weights: Array) -> Array:
    """Return (b, g): the accuracy in each group under each row of weights (b, n).

    `right` (n, q): which decisions are as the label says.
    """
    inside = cells.members.astype(np.float64)
    return weighted_shares(inside * right[:, cells.column], inside, weights)


def _by_decision(cells: Cells, accuracies: Array) -> Array:
    """Return (b, q): the mean accuracy of the outcomes of each decision that has groups, from (b, g)."""
    return np.stack(
        [accuracies[:, cells.column == number].mean(axis=1) for number in np.unique(cells.column)], axis=1
    )


def _of(number: int, cells: Cells, accuracies: Array, summary: Callable[[Array], Any]) -> float | None:
    """Return the summary of one decision's groups, from accuracies (g,); None where it has none."""
    own = accuracies[cells.column == number]
    return float(summary(own)) if len(own) else None


def _by_probability(
    probabilities: Array, codes: NDArray[np.int64], labels: Labels, columns: Sequence[Column], judged: Cells
) -> tuple[list[float | None], list[float | None]]:
    """Return `within_group_auc` and the calibration error of each decision, on the items for which it was made."""
    areas, errors = [], []
    for number, (p, y) in enumerate(zip(labels.kind.by_decision(probabilities), codes.T, strict=True)):
        own = np.flatnonzero(y >= 0)
        areas.append(within_group_auc(p[own], y[own], [column.take(own) for column in columns]))
        errors.append(_fair_error(p, y, judged.take(judged.column == number)))
    return areas, errors


def _fair_error(probabilities: Array, codes: NDArray[np.int64], judged: Cells) -> float | None:
    """Return the calibration error of a decision, every group weighing the same; None with fewer than two groups."""
    if len(judged.names) < 2:
        return None
    own = np.flatnonzero(codes >= 0)
    fair = judged.members @ (1 / judged.members.sum(axis=0))
    return calibration_error(probabilities[own], codes[own], fair[own])

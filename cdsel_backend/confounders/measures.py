"""What is measured of each variable: how far it is encoded in the images, and associated with the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.association import (
    SIGNIFICANT,
    cramers_v,
    cramers_v_interval,
    cross_table,
    independence_p,
    independent,
    information,
    units,
    with_rare_classes,
)
from cdsel_backend.confounders.dependence import partial_dependence
from cdsel_backend.confounders.judge import MUCH_UNSEEN, Measured
from cdsel_backend.confounders.probe import Probe, fit_probe
from cdsel_backend.confounders.report import Finding
from cdsel_backend.confounders.targets import Target, read_targets, strongest
from cdsel_backend.confounders.verdict import Verdict
from cdsel_backend.labels import Decision
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows

FEW_IMAGES = 20  # below, nothing is measured
# Labels of a level say next to nothing of it where they are fewer than this, and than this share of those that it would
# have among as many labels drawn by chance.
_FEW_OF_A_LEVEL, _FEW_OF_ITS_SHARE = 5, 0.2
_CONSEQUENCE = 0.04  # share of the errors of always guessing the commonest label that the variable may leave


@dataclass(frozen=True, eq=False)
class MeasuredPool:
    """What is known of a pool of n items with finite vectors, but for its variables."""

    vectors: VectorRows
    labels: NDArray[np.int64]
    """(n, q): the outcome of each decision, -1 where there is none."""
    decisions: Sequence[Decision]
    groups: NDArray[np.int64] | None
    predictions: Sequence[NDArray[np.float64]] | None
    """Of each decision, the probabilities (n, o) of its outcomes."""


def measure(pool: MeasuredPool, columns: Sequence[Column], rng: np.random.Generator) -> list[Measured]:
    """Measure each variable of a pool; p-values are adjusted over all of them."""
    if len(pool.labels) < FEW_IMAGES:
        return [
            Measured(Finding(column.name, Verdict.NEITHER, "", len(column.levels)), None)
            for column in columns
        ]
    targets = read_targets(pool.vectors, pool.labels, pool.decisions, rng)
    labelled = np.asarray((pool.labels >= 0).any(axis=1))
    probe = fit_probe(pool.vectors, pool.groups, rng, labelled) if columns else None
    tests = len(columns) * len(targets)
    encoded, dependence, associations = [], [], []
    for column in columns:
        encoded.append(probe.auroc(column.codes, rng, len(columns)) if probe else None)
        if len(targets) == 1:
            dependence.append(_dependence(pool, column, targets[0], rng))
        associations.append([_association(pool, column, target, tests, rng) for target in targets])
    v, p = (
        np.array([[getattr(one, name) for one in row] for row in associations]).reshape(-1, len(targets))
        for name in ("v", "p")
    )
    best, adjusted = strongest(v, p, SIGNIFICANT)
    if len(targets) > 1:  # what is said of a variable is its dependence given one of them
        dependence = [
            _dependence(pool, column, targets[j], rng) for column, j in zip(columns, best, strict=True)
        ]
    intervals, given = _given_label(probe, columns, [targets[j] for j in best], len(pool.labels), rng)
    found = []
    for i, (column, j) in enumerate(zip(columns, best.tolist(), strict=True)):
        target, association, probed, depends = targets[j], associations[i][j], encoded[i], dependence[i]
        finding = Finding(
            column.name,
            Verdict.NEITHER,
            "",
            len(column.levels),
            encoded=probed[0] if probed else None,
            encoded_p=probed[1] if probed else None,
            encoded_interval=intervals[i],
            associated=association.v,
            associated_p=float(adjusted[i, j]),
            associated_interval=association.interval,
            associated_with="label" if target.is_label else "clusters",
            associated_class=target.name,
            dependence=depends[0] if depends else None,
            dependence_p=depends[1] if depends else None,
            utility=association.utility if target.is_label else None,
            **given[i],
        )
        why, surely = next((one.decides for one in associations[i] if one.decides), (None, False))
        found.append(Measured(finding, why, surely, association.unseen))
    return _adjusted(found)


@dataclass(frozen=True, eq=False)
class _Association:
    """How closely a variable is associated with a target.

    `v` is Cramér's V (see `with_rare_classes`), with a 95 % `interval` that counts images of one patient once, `p` its
    p-value, `utility` the information on the target in bits; `unseen` is a share of the pool, see `_unseen`, and
    `decides` see `_decides`.
    """

    v: float
    interval: tuple[float, float]
    p: float
    unseen: float
    utility: float
    decides: tuple[str, bool] | None


def _association(
    pool: MeasuredPool, column: Column, target: Target, tests: int, rng: np.random.Generator
) -> _Association:
    """Measure a variable against a target; `tests` are made in all."""
    codes = column.codes[target.rows]
    once = units(None if pool.groups is None else pool.groups[target.rows], codes, target.codes)
    table, n = with_rare_classes(cross_table(codes, target.codes), independent(once.sizes))
    of_units = cross_table(codes[once.first], target.codes[once.first])
    unseen = _unseen(column.codes, target.rows, codes[once.first])
    p = independence_p(of_units, rng, tests)
    low, high = cramers_v_interval(table, n, p)
    return _Association(
        float(cramers_v(table, n)),
        (low, 1.0 if unseen > MUCH_UNSEEN else high),
        p,
        unseen,
        float(information(of_units)),
        _decides(of_units, target),
    )


def _unseen(
    codes: NDArray[np.int64], labelled: NDArray[np.int64], codes_of_units: NDArray[np.int64]
) -> float:
    """Return the share of n items, `codes` (n,), that have no label and a level of which hardly a label is known.

    Of the `labelled` items the units, which say something of their own, have the levels `codes_of_units`.
    """
    n_levels = int(codes.max()) + 1
    known = np.bincount(codes_of_units, minlength=n_levels)
    # Where labels are few everywhere, the interval of Cramér's V says so by itself.
    by_chance = np.bincount(codes, minlength=n_levels) / len(codes) * known.sum()
    few = known < np.minimum(_FEW_OF_A_LEVEL, _FEW_OF_ITS_SHARE * by_chance)
    unlabelled = np.ones(len(codes), dtype=bool)
    unlabelled[labelled] = False
    return float((few[codes] & unlabelled).mean())


def _given_label(
    probe: Probe | None,
    columns: Sequence[Column],
    targets: Sequence[Target],
    n: int,
    rng: np.random.Generator,
) -> tuple[list[tuple[float, float] | None], list[dict[str, Any]]]:
    """Return how far variables are read (95 % intervals), and the fields of findings that say how well among images of
    one label."""
    found: list[dict[str, Any]] = [{} for _ in columns]
    if probe is None:
        return [None] * len(columns), found
    asked, measured = [], []
    for i, (column, target) in enumerate(zip(columns, targets, strict=True)):
        labels = np.full(n, -1, dtype=np.int64)
        if target.is_label:
            labels[target.rows] = target.codes
        probed = probe.given_label(column.codes, labels, rng, len(columns))
        if probed is not None:
            asked.append(i)
            measured.append((column.codes, labels, probed))
    intervals = probe.intervals([column.codes for column in columns], measured)
    inside = intervals[len(columns) :]
    for i, (codes, labels, probed), interval in zip(asked, measured, inside, strict=True):
        found[i] = {
            "given_label": probed.auroc,
            "given_label_p": probed.p,
            "given_label_interval": interval,
            "detectability": probe.detectability(codes, labels, rng),
        }
    return intervals[: len(columns)], found


def _dependence(
    pool: MeasuredPool, column: Column, target: Target, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Return how far the variable explains the model's scores given the label, or given one class's presence."""
    if pool.predictions is None:
        return None
    names = [decision.name for decision in pool.decisions]
    # The clusters that stand in for one label are asked of that label; of several, of none.
    number = 0 if len(names) == 1 else names.index(target.name) if target.name in names else None
    if number is None:
        return None
    codes = pool.labels[:, number]
    return partial_dependence(pool.predictions[number], codes, column.codes, rng, pool.groups)


def _adjusted(found: list[Measured]) -> list[Measured]:
    for field in ("encoded_p", "given_label_p", "dependence_p"):
        known = [i for i, measurement in enumerate(found) if getattr(measurement.finding, field) is not None]
        p = scipy.stats.false_discovery_control(np.array([getattr(found[i].finding, field) for i in known]))
        for i, value in zip(known, p, strict=True):
            adjusted: dict[str, Any] = {field: float(value)}
            found[i] = replace(found[i], finding=replace(found[i].finding, **adjusted))
    return found


def _decides(table: NDArray[np.int64], target: Target) -> tuple[str, bool] | None:
    """Say whether each level has one label only, so that the variable follows from the label (or it from it).

    table (levels, labels) of items that do not repeat one another. Either no exception among at least ten labels of the
    rarer classes, or an upper 95 % bound on the share of exceptions among them (Clopper-Pearson) below the limit: then
    it is sure.
    """
    rarer = int(table.sum() - table.sum(axis=0).max())
    exceptions = int(table.sum() - table.max(axis=1).sum())
    if not target.is_label or rarer < 10 or exceptions >= rarer:
        return None
    sure = float(scipy.stats.beta.ppf(0.95, exceptions + 1, rarer - exceptions)) <= _CONSEQUENCE
    if exceptions and not sure:
        return None
    sentence = "each of its levels has one label" if sure else "so far each of its levels has one label only"
    return sentence if target.name is None else f"{sentence} ({target.name!r} present, or absent)", sure

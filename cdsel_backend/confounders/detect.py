"""Which variables confound: they are encoded in the images, also given the label, and associated with the label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
)
from cdsel_backend.confounders.clusters import latent_groups
from cdsel_backend.confounders.dependence import partial_dependence
from cdsel_backend.confounders.judge import Measured, judge, merge
from cdsel_backend.confounders.probe import Probe, fit_probe
from cdsel_backend.confounders.report import Finding, Report
from cdsel_backend.confounders.targets import FEW_LABELS, Target, read_targets, strongest
from cdsel_backend.confounders.verdict import Verdict
from cdsel_backend.labels import Decision, Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows, finite_rows

_FEW_IMAGES = 20  # below, nothing is measured
_CONSEQUENCE = 0.04  # share of the errors of always guessing the commonest label that the variable may leave


def detect(
    vectors: VectorRows,
    columns: Sequence[Column],
    labels: Labels,
    *,
    forced_in: Collection[str] = (),
    forced_out: Collection[str] = (),
    predictions: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Report:
    """Judge every variable of a pool of n items, the strongest first.

    vectors (n, d). Where a label makes several decisions, a variable is judged by the one with which it is associated
    most closely, p-values being adjusted over variables and decisions. predictions (n, c): a model's probabilities, NaN
    where none, best out of fold; with them the model's dependence on each variable given the label is tested. Variables
    of `forced_in` and `forced_out` are, or are not, confounders whatever is measured. The same seed gives the same
    report.
    """
    rng = np.random.default_rng(seed)
    finite = np.flatnonzero(finite_rows(vectors))
    labels = labels.take(finite)
    pool = _Pool(
        vectors=vectors if len(finite) == len(vectors) else vectors[finite],
        labels=labels.codes,
        decisions=labels.decisions,
        groups=labels.groups,
        predictions=None if predictions is None else labels.kind.by_decision(predictions[finite]),
    )
    columns = [column.take(finite) for column in columns]
    judged = [column for column in columns if column.excluded is None or column.name in forced_in]
    left_out = [
        _left_out(column, f"{column.name} {column.excluded}.") for column in columns if column not in judged
    ]
    measured = _measure(pool, judged, rng)
    findings = [judge(variable, forced_in, forced_out) for variable in measured]
    findings.sort(key=_strength, reverse=True)
    findings = merge(findings, {column.name: column for column in columns})
    findings.sort(key=_strength, reverse=True)
    notes = {column.name: f"{column.note}." for column in columns if column.note}
    findings = [replace(finding, note=notes.get(finding.variable, "")) for finding in (*findings, *left_out)]
    enough = len(finite) >= _FEW_IMAGES
    latent = latent_groups(pool.vectors, [*judged, *_label_columns(pool.labels)], rng) if enough else ()
    return Report(tuple(findings), latent)


@dataclass(frozen=True, eq=False)
class _Pool:
    vectors: VectorRows
    labels: NDArray[np.int64]
    """(n, q): the outcome of each decision, -1 where there is none."""
    decisions: Sequence[Decision]
    groups: NDArray[np.int64] | None
    predictions: Sequence[NDArray[np.float64]] | None
    """Of each decision, the probabilities (n, o) of its outcomes."""


def _measure(pool: _Pool, columns: Sequence[Column], rng: np.random.Generator) -> list[Measured]:
    """Measure each variable; p-values are adjusted over all of them."""
    if len(pool.labels) < _FEW_IMAGES:
        return [
            Measured(Finding(column.name, Verdict.NEITHER, "", len(column.levels)), None)
            for column in columns
        ]
    targets = read_targets(pool.vectors, pool.labels, pool.decisions, rng)
    labelled = np.asarray((pool.labels >= 0).any(axis=1))
    probe = fit_probe(pool.vectors, pool.groups, rng, labelled) if columns else None
    encoded, dependence = [], []
    decides: list[tuple[str, bool] | None] = [None] * len(columns)
    n = np.zeros((len(columns), len(targets)))  # of independent items
    v, p, utility = np.zeros_like(n), np.ones_like(n), np.zeros_like(n)
    for i, column in enumerate(columns):
        encoded.append(probe.auroc(column.codes, rng, len(columns)) if probe else None)
        dependence.append([_dependence(pool, column, target, rng) for target in targets])
        for j, target in enumerate(targets):
            codes = column.codes[target.rows]
            groups = None if pool.groups is None else pool.groups[target.rows]
            once = units(groups, codes, target.codes)
            n[i, j] = independent(once.sizes)
            v[i, j] = cramers_v(cross_table(codes, target.codes), n[i, j])
            table = cross_table(codes[once.first], target.codes[once.first])
            p[i, j] = independence_p(table, rng, p.size)
            utility[i, j] = information(table)
            decides[i] = decides[i] or _decides(table, target)
    best, adjusted = strongest(v, p, SIGNIFICANT)
    intervals, given = _given_label(probe, columns, [targets[j] for j in best], len(pool.labels), rng)
    found = []
    for i, column in enumerate(columns):
        target = targets[best[i]]
        probed, depends = encoded[i], dependence[i][best[i]]
        table = cross_table(column.codes[target.rows], target.codes)
        finding = Finding(
            column.name,
            Verdict.NEITHER,
            "",
            len(column.levels),
            encoded=probed[0] if probed else None,
            encoded_p=probed[1] if probed else None,
            encoded_interval=intervals[i],
            associated=float(v[i, best[i]]),
            associated_p=float(adjusted[i, best[i]]),
            associated_interval=cramers_v_interval(table, n[i, best[i]]),
            associated_with="label" if target.is_label else "clusters",
            associated_class=target.name,
            dependence=depends[0] if depends else None,
            dependence_p=depends[1] if depends else None,
            utility=float(utility[i, best[i]]) if target.is_label else None,
            **given[i],
        )
        found.append(Measured(finding, *(decides[i] or ())))
    return _adjusted(found)


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
    pool: _Pool, column: Column, target: Target, rng: np.random.Generator
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


def _left_out(column: Column, sentence: str) -> Finding:
    return Finding(column.name, Verdict.LEFT_OUT, sentence, len(column.levels))


def _strength(finding: Finding) -> tuple[bool, float]:
    """Sort key: the geometric mean of how far both measures are from chance; what is left out comes last."""
    encoded = max(0.0, 2 * (finding.encoded or 0.5) - 1)
    return finding.verdict not in (Verdict.LEFT_OUT, Verdict.FORCED_OUT), float(
        np.sqrt(encoded * (finding.associated or 0))
    )


def _label_columns(labels: NDArray[np.int64]) -> list[Column]:
    """The label as columns, one or one a class, so that a cluster that is the disease is no latent group."""
    found = []
    for values in labels.T:
        if (values >= 0).sum() >= FEW_LABELS:
            names = tuple(str(i) for i in range(int(values.max()) + 1))
            found.append(Column("the label", "categorical", names, values))
    return found

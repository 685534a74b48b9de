"""Which variables confound: they are encoded in the images, also given the label, and associated with the label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.clusters import latent_groups
from cdsel_backend.confounders.judge import judge, merge
from cdsel_backend.confounders.measures import FEW_IMAGES, MeasuredPool, measure
from cdsel_backend.confounders.report import Finding, Report
from cdsel_backend.confounders.targets import FEW_LABELS
from cdsel_backend.confounders.verdict import Verdict
from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows, finite_rows


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
    pool = MeasuredPool(
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
    measured = measure(pool, judged, rng)
    findings = [judge(variable, forced_in, forced_out) for variable in measured]
    findings.sort(key=_strength, reverse=True)
    findings = merge(findings, {column.name: column for column in columns})
    findings.sort(key=_strength, reverse=True)
    notes = {column.name: f"{column.note}." for column in columns if column.note}
    findings = [replace(finding, note=notes.get(finding.variable, "")) for finding in (*findings, *left_out)]
    enough = len(finite) >= FEW_IMAGES
    latent = latent_groups(pool.vectors, [*judged, *_label_columns(pool.labels)], rng) if enough else ()
    return Report(tuple(findings), latent)


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

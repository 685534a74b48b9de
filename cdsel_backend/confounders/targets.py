"""What variables are held against: the label, each class's presence, or clusters of the images before there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.clusters import cluster
from cdsel_backend.labels import Decision
from cdsel_backend.pool.vectors import VectorRows

FEW_LABELS = 20  # until there are as many, clusters stand in for the label


@dataclass(frozen=True, eq=False)
class Target:
    """Something to go with: `codes` (m,) of the pool's `rows` (m,); `name` is the class whose presence it is."""

    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    name: str | None = None
    is_label: bool = True


def read_targets(
    vectors: VectorRows,
    labels: NDArray[np.int64],
    decisions: Sequence[Decision],
    rng: np.random.Generator,
) -> list[Target]:
    """Return the decisions, labels (n, q), of which labels know two outcomes; else the clusters."""
    found = []
    for decision, values in zip(decisions, labels.T, strict=True):
        rows = np.flatnonzero(values >= 0)
        if len(rows) >= FEW_LABELS and len(np.unique(values[rows])) > 1:
            found.append(Target(rows, values[rows], decision.name))
    return found or [Target(np.arange(len(labels)), cluster(vectors, rng), is_label=False)]


def strongest(
    v: NDArray[np.float64], p: NDArray[np.float64], significant: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each variable's strongest target (k,) and the p-values (k, t), adjusted over all of them.

    v, p (k, t): Cramér's V and its p-value. A significant target goes before one that is not, then V decides.
    """
    adjusted = scipy.stats.false_discovery_control(p.ravel()).reshape(p.shape)
    return np.asarray((v + 2.0 * (adjusted <= significant)).argmax(axis=1), dtype=np.int64), adjusted

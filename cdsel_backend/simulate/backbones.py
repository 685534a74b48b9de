"""Which backbone suits: how well its vectors rank the label inside the confounders' levels, and what they betray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.probe import fit_probe
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.training import NotEnoughLabels, Pool, TrainingLabels, TrainingOptions, train_head
from cdsel_backend.training.ranking import within_group_auc
from cdsel_backend.training.splits import grouped_folds

MOST = 3000  # items that are looked at
_FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class Rating:
    """What vectors are worth for a task.

    `ranks`: AUROC of the label inside the confounders' levels, cross-validated by group, None where no level holds
    enough of two classes; `encodes`: confounder -> AUROC with which the vectors tell its levels among images of one
    label, None where there are too few. Both have .5 for chance. `items` were looked at.
    """

    width: int
    items: int
    ranks: float | None
    encodes: Mapping[str, float | None]


def rate(data: Dataset) -> Rating:
    """Rate the vectors of labelled items, at most `MOST` of them, with all images of their groups."""
    part = data.take(_whole_groups(data.groups, np.random.default_rng(_SEED)))
    rng = np.random.default_rng(_SEED)
    probe = fit_probe(part.vectors, part.groups, rng, np.ones(len(part), dtype=bool))
    encodes: dict[str, float | None] = {}
    for column in part.columns:
        given = None if probe is None else probe.given_label(column.codes, part.labels, rng)
        encodes[column.name] = None if given is None else given.auroc
    return Rating(part.vectors.shape[1], len(part), _ranks(part), encodes)


def _ranks(data: Dataset) -> float | None:
    fold = grouped_folds(data.labels, data.groups, _FOLDS, np.random.default_rng(_SEED))
    pool = Pool(data.vectors, data.columns)
    labels = TrainingLabels(data.labels, data.classes, groups=data.groups)
    said = np.full((len(data), len(data.classes)), np.nan)
    for out in range(_FOLDS):
        try:
            head = train_head(pool, replace(labels, trainable=fold != out), TrainingOptions(seed=_SEED))
        except NotEnoughLabels:
            continue
        tested = np.flatnonzero(fold == out)
        said[tested] = head.predict(data.vectors[tested], [column.take(tested) for column in data.columns])
    known = np.flatnonzero(np.isfinite(said).all(axis=1))
    own: list[Column] = [column.take(known) for column in data.columns]
    return within_group_auc(said[known], data.labels[known], own)


def _whole_groups(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of at most `MOST` items, groups kept together, in order; of the first group all."""
    unit = alone_or_together(groups, len(groups))
    order = rng.permutation(int(unit.max(initial=-1)) + 1)
    total = np.cumsum(np.bincount(unit, minlength=len(order))[order])
    kept = order[: max(1, int((total <= MOST).sum()))]
    return np.flatnonzero(np.isin(unit, kept))

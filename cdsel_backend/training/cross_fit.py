"""What heads say of labels that they have not seen, at several numbers of labels: one look that serves several answers.

Repeated cross-fitting by group: each draw leaves a fold of the trainable labels out, puts the rest in a random order,
and trains the project's own head on nested beginnings of it. Tested are the fold and the labels that are always held
out, where no other image of their group was trained on. So every label is tested, while the held-out ones alone would
be too few for most groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.training.head import NotEnoughLabels
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.kinds import train_model
from cdsel_backend.training.splits import grouped_folds

FOLDS = 5
SHARES = (0.25, 0.35, 0.5, 0.71, 1.0)  # of the labels of a draw, evenly spaced on a log scale
FEWEST = 16  # labels of the smallest head of a curve
_REPEATS = 2
_UNLABELLED = 2000  # of the pool, for the offsets: a head needs no more to a per cent, and there are fifty


@dataclass(frozen=True, eq=False)
class Unseen:
    """`rows` (m,): the labelled items of the pool. `sizes` (s,): labels trained on, rising.

    `probabilities` (draws, s, m, c) float64; NaN where a draw has not tested an item, or there was no head.
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def at_full_size(self) -> NDArray[np.float64]:
        """Return (m, c): the mean of what the largest heads that have not seen an item say of it; NaN without one."""
        known = np.isfinite(self.probabilities[:, -1])
        total = np.where(known, self.probabilities[:, -1], 0).sum(axis=0)
        count = known.sum(axis=0)
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def cross_fit(pool: Pool, labels: TrainingLabels, options: TrainingOptions = DEFAULTS) -> Unseen:
    """Train the heads.

    Where a label makes several decisions (a head each) there is one draw a fold and three sizes. The same input gives
    the same answer. Raises NotEnoughLabels where fewer than `FOLDS` labels may be trained on.
    """
    kind, classes = labels.kind, labels.classes
    labelled = kind.labelled(labels.values)
    rows = np.flatnonzero(labelled & pool.finite)
    inside = labels.usable[rows]
    if inside.sum() < FOLDS:
        few = number_of(int(inside.sum()), "label to train on is", "labels to train on are")
        raise NotEnoughLabels(f"{few} too few for {FOLDS} folds.")
    others = np.flatnonzero(~labelled & pool.counted(labelled))
    spaced = np.linspace(0, len(others) - 1, min(len(others), _UNLABELLED)).astype(np.int64)
    looked_at = np.concatenate([rows, others[spaced]])
    pool, labels = pool.take(looked_at), labels.take(looked_at)
    m, rng = len(rows), np.random.default_rng(options.seed)
    groups = None if labels.groups is None else labels.groups[:m]
    relatives = alone_or_together(groups, m)
    own = [column.take(np.arange(m)) for column in pool.columns]
    mixes = np.unique(kind.codes(labels.values[:m]), axis=0, return_inverse=True)[1].ravel()
    one_head = len(kind.decisions(classes)) == 1
    trained = np.flatnonzero(inside)
    draws: list[NDArray[np.float64]] = []
    sizes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    for _ in range(_REPEATS if one_head else 1):
        fold = np.full(m, -1)
        fold[trained] = grouped_folds(
            mixes[trained].astype(np.int64), None if groups is None else groups[trained], FOLDS, rng
        )
        if not len(sizes):
            most = len(trained) - int(np.bincount(fold[trained]).max())
            sizes = _sizes(most, SHARES if one_head else SHARES[::2])
        for out in range(FOLDS):
            order = rng.permutation(trained[fold[trained] != out])
            # Not, what is never trained on but is of the same patient as something that is.
            tested = (fold == out) | ~(inside | np.isin(relatives, relatives[order]))
            said = np.full((len(sizes), m, len(classes)), np.nan)
            for index, size in enumerate(sizes):
                # The largest takes all there is: what it says is used beyond the curve.
                used = np.zeros(len(pool), dtype=bool)
                used[order if index == len(sizes) - 1 else order[:size]] = True
                try:
                    model = train_model(pool, replace(labels, trainable=used), options)
                except NotEnoughLabels:
                    continue
                found = model.predict(pool.vectors[:m], own)
                said[index, tested] = found[tested]
            draws.append(said)
    return Unseen(rows, sizes, np.stack(draws))


def _sizes(most: int, shares: Sequence[float]) -> NDArray[np.int64]:
    sizes = np.unique([round(share * most) for share in shares])
    return np.asarray(sizes[(sizes >= FEWEST) | (sizes == most)], dtype=np.int64)

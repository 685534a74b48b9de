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

from cdsel_backend.labels.labels import of_rows
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.training.head import NotEnoughLabels
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.kinds import train_model
from cdsel_backend.training.splits import grouped_folds

FOLDS = 5
SHARES = (0.25, 0.35, 0.5, 0.71, 1.0)  # of the labels of a draw, evenly spaced on a log scale
FEWEST = 16  # labels of the smallest head of a curve
MANY_CLASSES = 30
"""A head of so many costs what ten of a few do, and its accuracy is averaged over all of them."""
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

    Where a label makes several decisions (a head each), or labels name `MANY_CLASSES` and more, there is one draw a
    fold and three sizes. The same input gives the same answer. Raises NotEnoughLabels where fewer than `FOLDS` labels
    may be trained on.
    """
    labelled = labels.labelled
    rows = np.flatnonzero(labelled & pool.finite)
    trainable = np.flatnonzero(labels.usable[rows])
    if len(trainable) < FOLDS:
        few = number_of(len(trainable), "label to train on is", "labels to train on are")
        raise NotEnoughLabels(f"{few} too few for {FOLDS} folds.")
    others = np.flatnonzero(~labelled & pool.counted(labelled))
    spaced = np.linspace(0, len(others) - 1, min(len(others), _UNLABELLED)).astype(np.int64)
    looked_at = np.concatenate([rows, others[spaced]])
    own, pool, labels = labels.take(rows), pool.take(looked_at), labels.take(looked_at)
    rng = np.random.default_rng(options.seed)
    cheap = len(own.decisions) == 1 and len(np.unique(own.codes)) < MANY_CLASSES
    shares = SHARES if cheap else SHARES[::2]
    repeats = _REPEATS if cheap else 1
    unseen: Unseen | None = None  # filled draw by draw: a list of them would be copied at the end
    for repeat in range(repeats):
        fold_of = _folds(own, trainable, rng)
        if unseen is None:
            sizes = _sizes(len(trainable) - int(np.bincount(fold_of[trainable]).max()), shares)
            shape = repeats * FOLDS, len(sizes), len(rows), len(labels.classes)
            unseen = Unseen(rows, sizes, np.empty(shape))
        for fold in range(FOLDS):
            learned = rng.permutation(trainable[fold_of[trainable] != fold])
            # The largest takes all there is: what it says is used beyond the curve.
            beginnings = [*(learned[:size] for size in unseen.sizes[:-1]), learned]
            said = _draw(pool, labels, options, beginnings, len(rows))
            said[:, (fold_of != fold) & ~_unrelated(own, trainable, learned)] = np.nan
            unseen.probabilities[repeat * FOLDS + fold] = said
    assert unseen is not None
    return unseen


def _folds(own: TrainingLabels, trainable: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (m,): the fold of each of m labelled items, -1 for those that are not `trainable` (positions)."""
    mixes = np.unique(own.codes, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    found = np.full(len(own), -1)
    found[trainable] = grouped_folds(mixes[trainable], of_rows(own.groups, trainable), FOLDS, rng)
    return found


def _unrelated(
    own: TrainingLabels, trainable: NDArray[np.int64], learned: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (m,): which labelled items are never trained on, nor of the patient of one that is `learned` now."""
    relatives = alone_or_together(own.groups, len(own))
    found = ~np.isin(relatives, relatives[learned])
    found[trainable] = False
    return found


def _draw(
    pool: Pool,
    labels: TrainingLabels,
    options: TrainingOptions,
    beginnings: Sequence[NDArray[np.int64]],
    m: int,
) -> NDArray[np.float64]:
    """Return (s, m, c): what the heads of s `beginnings`, items trained on, say of the first m; NaN without a head."""
    found = np.full((len(beginnings), m, len(labels.classes)), np.nan)
    columns = [column.take(np.arange(m)) for column in pool.columns]
    for index, learned in enumerate(beginnings):
        used = np.zeros(len(pool), dtype=bool)
        used[learned] = True
        try:
            model = train_model(pool, replace(labels, trainable=used), options)
        except NotEnoughLabels:
            continue
        found[index] = model.predict(pool.vectors[:m], columns)
    return found


def _sizes(most: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """Return (s,): the numbers of labels to train on, rising, those of fewer than `FEWEST` left out but for `most`."""
    sizes = np.unique([round(share * most) for share in shares])
    return np.asarray(sizes[(sizes >= FEWEST) | (sizes == most)], dtype=np.int64)

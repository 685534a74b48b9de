"""A fine-tune of the backbone's tail on the labels so far, and the ordinary head on what it sees then.

The tail (see `pool.split`) and a linear classifier learn together from batches in which every (class, level) cell is
as frequent as its size can bear, and every level has an intercept of its own, so that what tells the levels apart is
not taken for the disease. Then that classifier is thrown away and the last layer refitted as the ordinary
de-confounded head (deep feature reweighting: Kirichenko et al. 2023).

A backbone that has seen a label flatters itself on it. So the labels are first split by patient or lesion into folds,
and each fold is scored by a backbone and a head that saw the others. That says when to stop, gives the head its
honest accuracy and temperature, and tells whether the fine-tune is better than the frozen backbone at all. When to
stop is decided by how both heads together rank them: the loss of the classifier, which is thrown away, rises long
before that does not.

The answer is the mean of both heads, on the tuned vectors and on the frozen ones: they err on different images, so
together they rank no worse than the better one (simulate/EVIDENCE.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.groups import alone_or_together
from cdsel_backend.pool.split import SplitNetwork
from cdsel_backend.training.head import HeadModel, NotEnoughLabels, train_head, unseen_scores
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.ranking import within_group_auc
from cdsel_backend.training.splits import grouped_folds
from cdsel_backend.training.tail import TailTraining, deterministic

VIEWS = 2  # altered copies of each training image
FEWEST_LABELS = 20  # below, a fold teaches a network nothing

_SAMPLE = 1000  # of the pool, by which the head is balanced
_FOLDS = 3
_STAGES = 4  # at whose ends a fine-tune may be stopped
_RESAMPLES = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What came of a fine-tune.

    `changes`: the tuned weights by name, float32. `vectors` (n, d) float32 of the n items, as the tuned backbone sees
    them, and `head`, the model on such vectors. `gain`: AUROC within levels on labels not seen, of both heads together
    minus that of the frozen one; `gain_error`, its standard error by bootstrap over the items. It was stopped after so
    many `stages`.
    """

    changes: dict[str, NDArray[np.float32]]
    vectors: NDArray[np.float32]
    head: HeadModel
    gain: float
    gain_error: float
    stages: int

    @property
    def loses(self) -> bool:
        """Whether both together are worse than the frozen backbone on labels not seen, beyond their 95 % interval.

        Asking for a gain lost real ones: those are no larger than the error of a few hundred labels, and a fine-tune
        that brings nothing does no harm to the mean.
        """
        return self.gain < -1.96 * self.gain_error


def balancing_rows(n: int) -> NDArray[np.int64]:
    """The items of a pool of n, at most 1,000 and evenly spaced, that `fine_tune` shall see beside the labelled."""
    return np.linspace(0, n - 1, min(_SAMPLE, n)).astype(np.int64)


def fine_tune(
    network: SplitNetwork,
    own: NDArray[np.float16],
    altered: NDArray[np.float16],
    columns: Sequence[Column],
    labels: TrainingLabels,
    options: TrainingOptions = DEFAULTS,
    *,
    progress: Progress = lambda done, total: None,
) -> FineTuned:
    """Fine-tune on the usable of n labels of one class an image; the other items help to fit and to balance the head.

    Args:
        network: the backbone; its tail is left as tuned.
        own: (n, *shape) activations of the items, as `network` gives them.
        altered: (t, v, *shape) of v altered copies of each of the t training items, in order; v may be 0.
        columns: the confounders over the n items.
        labels: of the n items; one fold holds all of a group.
        options: how the head is trained; same input and seed, same result: bit for bit on the CPU with the same
            number of threads.
        progress: called with how many of how many stages of training are done.

    Raises:
        NotEnoughLabels: fewer than 20 labels, or fewer than 6 of every class but one, or all those of one patient.
    """
    seed, rows = options.seed, np.flatnonzero(labels.usable)
    learned = labels.take(rows)
    _require(learned)
    fair = options.correction(columns) > 0
    own_columns = [column.take(rows) for column in columns]
    task = TailTraining(network, own[rows], altered, own_columns, learned.values)
    split = grouped_folds(task.codes, learned.groups, _FOLDS, np.random.default_rng(seed))
    total = (_FOLDS + 1) * _STAGES
    with deterministic():
        network.reset()
        frozen = network.vectors(own)
        runs = []
        ranked = np.zeros((_STAGES, len(rows), len(task.present)))
        for fold in range(_FOLDS):
            used = split != fold
            runs.append(task.run(used, frozen[rows], _STAGES, seed * 1000 + fold))
            ranked[:, ~used] = _stage_scores(task, runs[-1], frozen[rows], used, fair=fair)
            progress((fold + 1) * _STAGES, total)
        ranks = [within_group_auc(scores, task.codes, task.columns) or 0.0 for scores in ranked]
        stages = _STAGES - int(np.argmax(ranks[::-1]))  # of equal ones the longest
        values = np.where(labels.usable, labels.values, -1)
        tuned_scores, frozen_scores = (np.zeros((len(rows), len(task.present))) for _ in range(2))
        for fold, kept in enumerate(runs):
            used = np.ones(len(values), dtype=bool)
            used[rows[split == fold]] = False
            task.restore(kept[stages - 1])
            for scores, vectors in ((tuned_scores, network.vectors(own)), (frozen_scores, frozen)):
                scores[split == fold] = unseen_scores(vectors, columns, values, used, fair=fair)
        task.run(np.ones(len(rows), dtype=bool), frozen[rows], stages, seed * 1000 + _FOLDS)
        progress(total, total)
        vectors = network.vectors(own)
    head = train_head(Pool(vectors, columns), labels, options, out_of_fold=tuned_scores)
    together = (tuned_scores + frozen_scores) / 2
    gain, error = _gain(together, frozen_scores, task.codes, task.columns, np.random.default_rng(seed))
    return FineTuned(network.changes(), vectors, head, gain, error, stages)


def _stage_scores(
    task: TailTraining,
    stages: Sequence[Sequence[torch.Tensor]],
    frozen: NDArray[np.float32],
    used: NDArray[np.bool_],
    *,
    fair: bool,
) -> NDArray[np.float64]:
    """Return (s, m, p): scores of the m items not `used` (t,) after each stage, of both heads together.

    `stages` are the weights that the tail had after each; `frozen` (t, d) the vectors before any.
    """
    of_frozen = unseen_scores(frozen, task.columns, task.codes, used, fair=fair)
    found = []
    for weights in stages:
        task.restore(weights)
        tuned = task.network.vectors(task.own)
        found.append(of_frozen + unseen_scores(tuned, task.columns, task.codes, used, fair=fair))
    return np.stack(found)


def _require(labels: TrainingLabels) -> None:
    """Raise NotEnoughLabels where these labels, all of them to train on, do not suffice."""
    values, classes = labels.values, labels.classes
    counts = np.bincount(values, minlength=len(classes))
    if len(values) < FEWEST_LABELS or np.sort(counts)[-2:].min() < 2 * _FOLDS:
        said = ", ".join(f"{count} {name!r}" for name, count in zip(classes, counts, strict=True))
        raise NotEnoughLabels(
            f"A fine-tune needs {FEWEST_LABELS} labels, {2 * _FOLDS} of each of two classes, besides those held out "
            f"for evaluation; so far there are {said}."
        )
    # A fold takes a group whole: of a class that all comes from one, the others would know nothing.
    units = alone_or_together(labels.groups, len(values))
    patients = [len(np.unique(units[values == code])) for code in range(len(classes))]
    if np.sort(patients)[-2:].min() < 2:
        only = ", ".join(
            repr(name)
            for name, count, number in zip(classes, counts, patients, strict=True)
            if number == 1 and count > 1
        )
        raise NotEnoughLabels(
            "A fine-tune needs labels of two classes from two groups (patients or lesions) each, besides those held "
            f"out for evaluation; so far all of {only} are from one."
        )


def _gain(
    together: NDArray[np.float64],
    frozen: NDArray[np.float64],
    codes: NDArray[np.int64],
    columns: Sequence[Column],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """How much better scores `together` (t, p) rank within levels than `frozen` ones, and the standard error of that.

    Where no level holds enough of two classes to tell, the gain is 0.
    """

    def difference(items: NDArray[np.int64]) -> float | None:
        own = [column.take(items) for column in columns]
        after, before = (within_group_auc(scores[items], codes[items], own) for scores in (together, frozen))
        return None if after is None or before is None else after - before

    every = np.arange(len(codes))
    whole = difference(every)
    drawn = [difference(rng.choice(every, len(every))) for _ in range(_RESAMPLES)]
    gains = [gain for gain in drawn if gain is not None]
    if whole is None or len(gains) < _RESAMPLES // 2:
        return 0.0, 0.0
    return whole, float(np.std(gains))

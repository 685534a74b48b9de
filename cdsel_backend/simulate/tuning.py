"""The fine-tune of one cell of a backtest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.backbones import View
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.split import SplitNetwork
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.pictures import cut_network
from cdsel_backend.training import NotEnoughLabels, TrainingLabels, TrainingOptions, TunedModel
from cdsel_backend.training.finetune import balancing_rows, fine_tune


@dataclass(frozen=True, eq=False)
class Trial:
    """A fine-tune: its probabilities (m, c) of the test set, and whether it lost on labels that it had not seen."""

    probabilities: NDArray[np.float64]
    loses: bool


def tune(
    pool: Dataset,
    test: Dataset,
    labels: TrainingLabels,
    base: NDArray[np.float64],
    seed: int,
) -> Trial | None:
    """Fine-tune on the labels of the pool, as a project's training does.

    `base` (m, c) are the head's probabilities of the test set; the fine-tune's are the mean of both. None where the
    labels do not suffice.
    """
    assert pool.pictures is not None
    assert test.pictures is not None
    used = np.union1d(np.flatnonzero(labels.usable), balancing_rows(len(pool)))
    network = _network(pool.pictures.backbone, pool.pictures.features, pool.pictures.view)
    try:
        tuned = fine_tune(
            network,
            pool.pictures.activations(pool.rows[used], slice(0, 1))[:, 0],
            pool.pictures.activations(pool.rows[labels.usable], slice(1, None)),
            [column.take(used) for column in pool.columns],
            labels.take(used),
            TrainingOptions(seed=seed),
        )
    except NotEnoughLabels:
        return None
    vectors = network.vectors(test.pictures.activations(test.rows, slice(0, 1))[:, 0])
    return Trial(TunedModel.mean(base, tuned.head.predict(vectors, test.columns)), tuned.loses)


@cache
def _network(backbone: str, features: Features, view: View) -> SplitNetwork:
    """The network of this process; `fine_tune` makes its tail new each time."""
    return cut_network(backbone, features, view, 0)

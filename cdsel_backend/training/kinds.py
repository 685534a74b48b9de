"""Both kinds of label space behind one name: labels (n,) of one class an image, or (n, c) of the classes it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.training.evaluate import evaluate
from cdsel_backend.training.evaluate_presence import evaluate_presence
from cdsel_backend.training.head import HeadModel, train_head
from cdsel_backend.training.presence import PresenceModel, train_presence
from cdsel_backend.training.tuned import TunedModel

Model = HeadModel | PresenceModel | TunedModel


def train_model(
    vectors: NDArray[np.floating], columns: Sequence[Column], labels: NDArray[np.integer], **options: Any
) -> Model:
    """Train what the labels ask for: `train_head` on (n,), `train_presence` on (n, c), with what both take."""
    if labels.ndim == 2:
        return train_presence(vectors, columns, labels, **options)
    return train_head(vectors, columns, labels.astype(np.int64), **options)


def evaluate_model(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.integer],
    columns: Sequence[Column],
    classes: Sequence[str],
    **options: Any,
) -> dict[str, Any]:
    """Measure what the labels ask for: `evaluate` on (n,), `evaluate_presence` on (n, c), with what both take."""
    if labels.ndim == 2:
        return evaluate_presence(probabilities, labels, columns, classes, **options)
    return evaluate(probabilities, labels.astype(np.int64), columns, classes, **options)

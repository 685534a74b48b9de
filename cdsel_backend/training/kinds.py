"""The model that a kind of label asks for: one head, or a head for each of its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import SINGLE, LabelKind
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows
from cdsel_backend.training.head import HeadModel, train_head
from cdsel_backend.training.presence import PresenceModel, train_presence
from cdsel_backend.training.tuned import TunedModel

Model = HeadModel | PresenceModel | TunedModel


def train_model(
    vectors: VectorRows,
    columns: Sequence[Column],
    labels: NDArray[np.integer],
    *,
    kind: LabelKind = SINGLE,
    **options: Any,
) -> Model:
    """Train `train_presence` where each class is a decision of its own, else `train_head`, with what both take.

    labels: the values of n items, as their kind has them. Raises NotEnoughLabels.
    """
    codes = kind.codes(labels)
    if kind.several:
        return train_presence(vectors, columns, codes, **options)
    return train_head(vectors, columns, codes[:, 0], **options)


def answers_for(model: Model, kind: LabelKind) -> bool:
    """Return whether a model answers for a kind of label."""
    return isinstance(model, PresenceModel) == kind.several

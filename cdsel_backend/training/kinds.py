"""The model that a kind of label asks for: one head, or a head for each of its decisions."""

from __future__ import annotations

from dataclasses import replace

from cdsel_backend.labels import PRESENCE, SINGLE, LabelKind
from cdsel_backend.training.head import HeadModel, train_head
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.presence import PresenceModel, train_presence
from cdsel_backend.training.tuned_model import TunedModel

Model = HeadModel | PresenceModel | TunedModel


def train_model(pool: Pool, labels: TrainingLabels, options: TrainingOptions = DEFAULTS) -> Model:
    """Train `train_presence` where each class is a decision of its own, else `train_head`.

    The same input gives the same model, bit for bit on one machine. Raises NotEnoughLabels where the labels do not
    suffice for a model.
    """
    codes = labels.codes
    if labels.kind.several:
        return train_presence(pool, replace(labels, values=codes, kind=PRESENCE), options)
    return train_head(pool, replace(labels, values=codes[:, 0], kind=SINGLE), options)


def answers_for(model: Model, kind: LabelKind) -> bool:
    """Return whether a model answers for a kind of label."""
    return isinstance(model, PresenceModel) == kind.several

"""From labels to a model one can trust: heads, evaluation by group, model versions."""

from cdsel_backend.training.evaluation import evaluate
from cdsel_backend.training.head import HeadModel, NotEnoughLabels, train_head
from cdsel_backend.training.inputs import RECIPES, Pool, TrainingLabels, TrainingOptions
from cdsel_backend.training.kinds import Model, answers_for, train_model
from cdsel_backend.training.model_files import ModelFormatError, load, load_meta, save
from cdsel_backend.training.presence import PresenceModel, train_presence
from cdsel_backend.training.splits import is_held_out, one_side_each
from cdsel_backend.training.tuned_model import TunedModel

__all__ = [
    "RECIPES",
    "HeadModel",
    "Model",
    "ModelFormatError",
    "NotEnoughLabels",
    "Pool",
    "PresenceModel",
    "TrainingLabels",
    "TrainingOptions",
    "TunedModel",
    "answers_for",
    "evaluate",
    "is_held_out",
    "load",
    "load_meta",
    "one_side_each",
    "save",
    "train_head",
    "train_model",
    "train_presence",
]

"""What annotators decide about an image: kinds of labels, and the text of a label. Pure: arrays and text only."""

from cdsel_backend.labels.kind import Decision, LabelKind, OneClass, SeveralLabels
from cdsel_backend.labels.labels import Labels
from cdsel_backend.labels.presence import PRESENCE, presence_text
from cdsel_backend.labels.single import SINGLE
from cdsel_backend.labels.text import KINDS, display_label, kind_of, label_names, majority, sole_label

__all__ = [
    "KINDS",
    "PRESENCE",
    "SINGLE",
    "Decision",
    "LabelKind",
    "Labels",
    "OneClass",
    "SeveralLabels",
    "display_label",
    "kind_of",
    "label_names",
    "majority",
    "presence_text",
    "sole_label",
]

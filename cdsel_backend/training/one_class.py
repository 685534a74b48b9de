"""Levels of which the labels so far show one class only: what a model does there, said before it surprises anybody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdsel_backend.labels import Labels
from cdsel_backend.phrases import named_level, number_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.offsets import occurs
from cdsel_backend.training.shares import level_shares


def one_class_levels(labels: Labels, columns: Sequence[Column]) -> list[str]:
    """Return a sentence for each level whose labels make a model take it to hold one class (see `offsets.occurs`).

    `labels` are those of the m items that a model is trained on, `columns` the confounders over these. Levels without
    a label, and decisions of which all labels agree, are passed over.
    """
    found = []
    for decision, outcomes in zip(labels.decisions, labels.codes.T, strict=True):
        rows = np.flatnonzero(outcomes >= 0)
        seen, codes = np.unique(outcomes[rows], return_inverse=True)
        if len(seen) < 2:
            continue
        for column in columns:
            shares = level_shares(column, rows, codes, len(seen))
            for level, several, counts in zip(column.levels, occurs(shares), shares.seen, strict=True):
                if several or not counts.any():
                    continue
                labelled = number_of(round(counts.sum()), "label is", "labels are")
                found.append(
                    f"{named_level(column.name, level)}: {counts.max():.0f} of {labelled} "
                    f"{decision.group(int(seen[counts.argmax()]))}. The model takes anything else to be as rare "
                    "there, and hardly ever says so; labels of other classes from there would change that."
                )
    return found

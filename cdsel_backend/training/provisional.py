"""Accuracy by group while few labels are held out: cross-fitted, so that each label tests a head that did not see it.

Five heads are trained on four fifths of the labels each, so that the estimate is a little low for the model itself; and
they are heads on the backbone's vectors, also where the model is a fine-tune. It is provisional: what is held out
replaces it as soon as that suffices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.cross_fit import Unseen
from cdsel_backend.training.evaluation import evaluate
from cdsel_backend.training.random_share import wilson

MIN_GROUP = 8
"""Labels of a group from which it is given; `evaluation.MIN_GROUP` holds for what models are judged by."""
_KEPT = (
    "n",
    "worst_group_accuracy",
    "group_balanced_accuracy",
    "balanced_accuracy",
    "worst_group",
    "groups",
)


def provisional(
    unseen: Unseen,
    labels: Labels,
    columns: Sequence[Column],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what the largest heads of `unseen` say of labels that they have not seen, as `evaluate` does.

    Arguments as for `evaluate`, of the m rows of `unseen`. The intervals of the worst group and of each group hold
    Wilson's (1927), too: a bootstrap of a few labels that are all right, or all wrong, has no width.

    Returns:
        `n`, `worst_group_accuracy`, `group_balanced_accuracy` and `balanced_accuracy` (None where labels are too few),
        `worst_group`, `groups` (each with its `interval`) and `intervals`.
    """
    said = unseen.at_full_size()
    tested = np.flatnonzero(np.isfinite(said).all(axis=1) & labels.labelled)
    found = evaluate(
        said[tested],
        labels.take(tested),
        [column.take(tested) for column in columns],
        seed=seed,
        minimum=MIN_GROUP,
    )
    kept: dict[str, Any] = {name: found[name] for name in _KEPT}
    kept["groups"] = [
        {**one, "interval": list(wilson(one["accuracy"], one.get("patients", one["n"])))}
        for one in found["groups"]
        if one["n"]
    ]
    kept["intervals"] = {name: ends for name, ends in found["intervals"].items() if name in _KEPT}
    if found["worst_group"] is not None:
        name = "worst_group_accuracy"
        (own,) = (one["interval"] for one in kept["groups"] if one["group"] == found["worst_group"])
        low, high = kept["intervals"][name]
        kept["intervals"][name] = [min(low, own[0]), max(high, own[1])]
    return kept

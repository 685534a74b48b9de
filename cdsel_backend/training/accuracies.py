"""Accuracies on labels that no head has seen, group by group, and how far they would differ with other labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.bootstrap import collapsed
from cdsel_backend.training.cells import Cells, cells_of
from cdsel_backend.training.evaluation import MIN_GROUP
from cdsel_backend.training.ranking import LEAST_OUTCOME

RESAMPLES = 400
AT_ONCE = 4_000_000  # values (float64) of the groups' judgements in memory at once, in a few copies
Array = NDArray[np.float64]


def judged_cells(labels: Labels, columns: Sequence[Column]) -> dict[str, Cells]:
    """Return what `worst_group_accuracy` and `balanced_accuracy` go by, where two groups or more have enough labels."""
    found = {
        "worst_group_accuracy": cells_of(labels, columns, MIN_GROUP),
        "balanced_accuracy": cells_of(labels, [], LEAST_OUTCOME),
    }
    return {name: cells for name, cells in found.items() if len(cells.names) > 1}


def rights(probabilities: Array, labels: Labels) -> Array:
    """Return (draws, s, m, q): 1 where a decision is right, 0 where wrong, NaN where it was not tested.

    probabilities (draws, s, m, c) of the m labels, as `Unseen` has them.
    """
    decided = labels.kind.decided(probabilities)
    return np.where(decided >= 0, decided == labels.codes, np.nan)


def resampled(groupings: Sequence[Cells], items: int, rng: np.random.Generator) -> Array:
    """Return (resamples, m): how often each of m `items` is drawn, with replacement among those of the same groups."""
    # A column of its own, so that items have a stratum without any grouping, too.
    members = np.hstack([np.zeros((items, 1), dtype=bool), *(cells.members for cells in groupings)])
    strata = collapsed(np.unique(members, axis=0, return_inverse=True)[1].ravel())
    weights = np.zeros((RESAMPLES, items))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=RESAMPLES)
    return weights


def accuracies(right: Array, cells: Cells, items: Array, draws: Array) -> Array:
    """Return (b, s, g): the accuracy of each of g groups at each of s sizes, items (b, m) and draws (b, d) so weighted.

    `right` (d, s, m, q) as `rights` gives it. An item weighs the same however many draws tested it. NaN where no item
    of a group was tested.
    """
    found = np.empty((len(items), right.shape[1], len(cells.names)))
    # Some groups at a time: of 50,000 labels in 1,000 groups all would take gigabytes.
    step = max(1, AT_ONCE // (right.shape[1] * right.shape[2]))
    for start in range(0, len(cells.names), step):
        part = slice(start, start + step)
        found[:, :, part] = _accuracies(right, cells.members[:, part], cells.column[part], items, draws)
    return found


def _accuracies(
    right: Array, members: NDArray[np.bool_], column: NDArray[np.int64], items: Array, draws: Array
) -> Array:
    """Return the `accuracies` of g groups: `members` (m, g) of them, `column` (g,) the decision that counts."""
    tested = np.isfinite(right)
    share = 1 / np.maximum(tested.sum(axis=0, keepdims=True), 1)
    won = total = np.zeros(1)
    # Draw by draw: of all at once the arrays would be as large as the draws are many.
    for draw in range(len(right)):
        inside = members * (tested[draw] * share[0])[:, :, column]  # (s, m, g)
        wins = np.where(tested[draw], right[draw], 0)[:, :, column] * inside
        weight = draws[:, draw, None, None]
        won = won + weight * np.einsum("bm,smg->bsg", items, wins, optimize=True)
        total = total + weight * np.einsum("bm,smg->bsg", items, inside, optimize=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(total > 0, won / total, np.nan), dtype=np.float64)


def summary(name: str, accuracies: Array) -> Array:
    """Return (b, s): the worst, or the mean, of the groups (b, s, g)."""
    return np.asarray(
        accuracies.min(axis=-1) if name == "worst_group_accuracy" else accuracies.mean(axis=-1),
        dtype=np.float64,
    )

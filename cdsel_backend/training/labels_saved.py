"""How many labels the choice of images saves against images drawn by chance, where a project's own labels can tell.

The random share of the rounds is a small queue drawn by chance. Heads trained on it alone reach some accuracy on labels
that they have not seen; the learning curve of all labels says how many of those reach the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.accuracies import RESAMPLES, accuracies, judged_cells, resampled, rights, summary
from cdsel_backend.training.cells import Cells
from cdsel_backend.training.cross_fit import Unseen
from cdsel_backend.training.curve import WORDS, gain_text, power_law

FEWEST = 100  # labels drawn by chance and trained on, below which the comparison is hopeless
_STEPS = 100  # sizes at which the two are compared

Array = NDArray[np.float64]


def labels_saved_sentence(
    queue: Unseen,
    chance: Unseen,
    labels: Labels,
    columns: Sequence[Column],
    *,
    seed: int = 0,
) -> str:
    """Compare heads trained on all labels (`queue`) with heads trained on those drawn by chance, on the same labels.

    `labels` are those of the m rows of both, `columns` their confounders. Goes by the worst group where it can be
    estimated, else by balanced accuracy; intervals (95 %) by bootstrap over labels and draws.
    """
    judged = judged_cells(labels, columns)
    right, theirs = (
        rights(probabilities, labels) for probabilities in (queue.probabilities, chance.probabilities[:, -1:])
    )
    complete = np.isfinite(right).any(axis=(2, 3)).all(axis=0)  # sizes at which every draw had a head
    if not judged or complete.sum() < 3 or not np.isfinite(theirs).any(axis=(2, 3)).all():
        return _cannot("too few labels are tested in every group and class")
    name, cells = next(iter(judged.items()))
    rng = np.random.default_rng(seed)
    # The first row of what is drawn: everything as it is.
    items = np.vstack([np.ones(len(labels)), resampled([cells], len(labels), rng)])
    ours = summary(name, _drawn(right[:, complete], cells, items, rng))
    reached = summary(name, _drawn(theirs, cells, items, rng))[:, 0]
    kept = np.isfinite(ours).all(axis=1) & np.isfinite(reached)
    return _compared(name, queue.sizes[complete], ours[kept], int(chance.sizes[-1]), reached[kept])


def _drawn(right: Array, cells: Cells, items: Array, rng: np.random.Generator) -> Array:
    """Return (b, s, g): the accuracies under items (b, m) so weighted, and as many draws of the heads by chance."""
    heads = len(right)
    draws = rng.multinomial(heads, np.full(heads, 1 / heads), size=RESAMPLES)
    return accuracies(right, cells, items, np.vstack([np.ones(heads), draws]))


def _compared(name: str, sizes: NDArray[np.int64], ours: Array, size: int, reached: Array) -> str:
    """Return the sentence, from a measure of all labels at some sizes, ours (b, s), and of chance at one, reached (b,).

    The first of b rows is as it is, the others are drawn by bootstrap.
    """
    grid = np.linspace(min(size, int(sizes[0])) / 2, int(sizes[-1]), _STEPS)
    law = power_law(sizes, ours, grid.tolist())
    more = power_law(sizes, ours, [size])[:, 0] - reached
    low, high = np.quantile(more[1:], [0.025, 0.975])
    compared = (
        f"{size} labels of the queue bring {gain_text({'gain': more[0], 'interval': [low, high]})} {WORDS[name]} over "
        f"{size} labels drawn by chance"
    )
    if low <= 0 <= high:
        return f"{compared}: whether the choice of images saves labels is not known."
    reach = law >= reached[:, None]
    needed = np.where(reach.any(axis=1), grid[reach.argmax(axis=1)], grid[-1])
    few, many = np.quantile(needed[1:], [0.025, 0.975])
    return f"{compared}: as much as about {needed[0]:.0f} of the queue ({few:.0f} to {many:.0f})."


def too_few(drawn: int, labels: int) -> str | None:
    """Why nothing can be compared, as a sentence; None where it can. Of `labels` to train on `drawn` came by chance."""
    if drawn == labels:
        return "All labels were drawn by chance, so there is no other choice of images to compare it with."
    if drawn >= FEWEST:
        return None
    return _cannot(f"{drawn} of the {FEWEST} labels needed to train on were drawn by chance")


def _cannot(why: str) -> str:
    return (
        f"How many labels the choice of images saves against chance is not known: {why}. "
        "`cdsel simulate` measures it on labelled images."
    )

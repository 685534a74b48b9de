"""What strategies make of images that show any of several classes: the rarest class an image shows is its class.

Strategies ask for one class an image in three places: to spread a round over the classes (`ji2025`), to learn on the
labels (`dropquery`, `badge`), and to be unsure. For the first two an image counts as the class it shows that is
rarest among the labels so far, "none" where it shows none of them: rare findings then get rounds of their own. It is
as unsure as the class that the model is least sure of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.problem import Problem


def problem_for(
    *, labels: NDArray[np.integer], n_classes: int, probabilities: NDArray[np.float64] | None, **rest: Any
) -> Problem:
    """Return the problem of a pool, of labels (n,) as they are, or of (n, c) as the classes that images show."""
    if labels.ndim == 1:
        return Problem(
            labels=labels.astype(np.int64), n_classes=n_classes, probabilities=probabilities, **rest
        )
    return Problem(
        labels=rarest_shown(labels),
        n_classes=n_classes + 1,
        probabilities=None if probabilities is None else rarest_probabilities(labels, probabilities),
        doubt=None if probabilities is None else largest_doubt(probabilities),
        **rest,
    )


def rarest_shown(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return (n,): the rarest class that each image shows, c where it shows none, -1 where nobody said.

    labels (n, c): 1 shown, 0 not, -1 not said. Ties go to the earlier class.
    """
    classes = labels.shape[1]
    found = np.where((labels >= 0).any(axis=1), classes, -1).astype(np.int64)
    for code in _commonest_first(labels):
        found[labels[:, code] == 1] = code
    return found


def rarest_probabilities(
    labels: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (n, c + 1): how likely each class is the rarest that an image shows, and that it shows none.

    From probabilities (n, c) of each class, taken as independent.
    """
    n, classes = probabilities.shape
    result = np.zeros((n, classes + 1))
    left: NDArray[np.float64] = np.ones(n)
    for code in _commonest_first(labels)[::-1]:
        result[:, code] = left * probabilities[:, code]
        left = left * (1 - probabilities[:, code])
    result[:, classes] = left
    return result


def largest_doubt(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) in [0, 1]: 1 - |2p - 1| of the class the model is least sure of; 0 where p is not finite."""
    doubt = 1 - np.abs(2 * probabilities - 1)
    return np.where(np.isfinite(doubt).all(axis=1), np.nan_to_num(doubt).max(axis=1, initial=0.0), 0.0)


def _commonest_first(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the classes by how many images show them, most first; of equals the later one first."""
    shown = (labels == 1).sum(axis=0)
    codes = np.arange(labels.shape[1])
    return np.asarray(np.lexsort((-codes, -shown)), dtype=np.int64)

"""A Gaussian kernel of projected vectors, as the features of a linear head.

    k(a, b) = v exp(a.b / 16 - 1) (1 + OWN s) / (1 + OWN)

    exp(a.b / 16 - 1) = exp(-|a - b|^2 / (2 4^2))   for vectors of length 4, as `project` gives them
    s                 = the share of the confounders in whose level both items are

So every level has a part of its own beside the one that all share, as tasks that are alike have in multi-task learning
(Daume 2007; Bonilla et al. 2007): what tells the classes apart at one site need not be quite the same at another.

A logistic head on these features, penalised with C = 1, is the most likely function of a Gaussian process with that
covariance (Rasmussen & Williams 2006, ch. 3): it ranks better than one on the vectors themselves wherever it was tried
(simulate/EVIDENCE.md). Beyond `MOST` labels the kernel is read at so many of them only (Nystroem), at a linear cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import SCALE, level_shift
from cdsel_backend.pool.columns import Column

Array = NDArray[np.float64]
Real = TypeVar("Real", bound=np.floating[Any])

VARIANCES = (2.0, 4.0, 8.0, 16.0)
"""What v is chosen from: the larger, the further a head goes by few labels."""
OWN = 0.1
"""The variance of a level's own part, over that of the part that all levels share."""
MOST = 512
"""Landmarks: labelled items at which the kernel is read."""
_LEAST_EIGENVALUE = 1e-6  # of the greatest: what is below is rounding


def similarity(items: NDArray[Real], landmarks: NDArray[Real], components: int) -> NDArray[Real]:
    """Return (n, m): the kernel with v = 1 of items (n, k + l) at landmarks (m, k + l), in their precision.

    Of each the first k = `components` values are its projected vector, the others its levels (`with_levels`); l may
    be 0, and then all is shared.
    """
    values = items[:, :components] @ (landmarks[:, :components].T / SCALE**2)
    values -= 1
    np.exp(values, out=values)
    if landmarks.shape[1] > components:
        part = items[:, components:] @ (landmarks[:, components:].T * (OWN / (1 + OWN)))
        part += 1 / (1 + OWN)
        values *= part
    return values


def with_levels(
    z: NDArray[Real], levels: Mapping[str, Sequence[str]], columns: Sequence[Column]
) -> NDArray[Real]:
    """Return (n, k + l): projected vectors (n, k), and marks of the `levels` that each item is in.

    Their inner product is the share of the variables in whose level two items are. A level that is not among `levels`
    and a variable that is not given have no mark.
    """
    if not levels:
        return z
    marks = (np.eye(sum(map(len, levels.values()))) / np.sqrt(len(levels))).astype(z.dtype)
    return np.hstack([z, level_shift(marks, levels, columns, len(z))])


def spread(n: int) -> NDArray[np.int64]:
    """Return the positions of at most `MOST` landmarks among n items, evenly spaced."""
    return np.linspace(0, n - 1, min(n, MOST)).astype(np.int64)


def whitening(landmarks: Array, components: int) -> Array:
    """Return (m, r): `similarity` times it are features whose inner products are the kernel's values at landmarks."""
    values, axes = np.linalg.eigh(similarity(landmarks, landmarks, components))
    kept = values > _LEAST_EIGENVALUE * values.max()
    return np.asarray(axes[:, kept] / np.sqrt(values[kept]), dtype=np.float64)

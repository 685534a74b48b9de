"""A Gaussian kernel of projected vectors, as the features of a linear head.

    k(a, b) = v exp(a.b / 16 - 1)  =  v exp(-|a - b|^2 / (2 4^2))   for vectors of length 4, as `project` gives them

A logistic head on these features, penalised with C = 1, is the most likely function of a Gaussian process with that
covariance (Rasmussen & Williams 2006, ch. 3): it ranks better than one on the vectors themselves wherever it was tried
(simulate/EVIDENCE.md). Beyond `MOST` labels the kernel is read at so many of them only (Nystroem), at a linear cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import SCALE

Array = NDArray[np.float64]

VARIANCES = (2.0, 4.0, 8.0, 16.0)
"""What v is chosen from: the larger, the further a head goes by few labels."""
MOST = 512
"""Landmarks: labelled items at which the kernel is read."""
_LEAST_EIGENVALUE = 1e-6  # of the greatest: what is below is rounding


def similarity(z: Array, landmarks: Array) -> Array:
    """Return (n, m): the kernel with v = 1 of vectors (n, k) at landmarks (m, k)."""
    values = z @ landmarks.T
    values /= SCALE**2
    values -= 1
    return np.exp(values, out=values)


def spread(n: int) -> NDArray[np.int64]:
    """Return the positions of at most `MOST` landmarks among n items, evenly spaced."""
    return np.linspace(0, n - 1, min(n, MOST)).astype(np.int64)


def whitening(landmarks: Array) -> Array:
    """Return (m, r): `similarity` times it are features whose inner products are the kernel's values at landmarks."""
    values, axes = np.linalg.eigh(similarity(landmarks, landmarks))
    kept = values > _LEAST_EIGENVALUE * values.max()
    return np.asarray(axes[:, kept] / np.sqrt(values[kept]), dtype=np.float64)

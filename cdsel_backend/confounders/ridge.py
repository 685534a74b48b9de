"""Ridge regression on whole vectors, cross-validated, without forming a weight for each of their values.

No principal components are taken: what a single value of a vector shows is no direction of great variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PENALTY = 0.5  # of the mean squared length of the vectors


def penalised_inverse(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (n, n): the inverse of the inner products of vectors (n, d), plus the penalty on the diagonal.

    The vectors are standardised, made as long as each other, and centred before.
    """
    x = vectors.astype(np.float64)
    x -= x.mean(axis=0)
    scale = x.std(axis=0)
    x /= np.where(scale > 1e-6 * scale.max(), scale, np.inf)  # a constant value says nothing
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x -= x.mean(axis=0)
    products = x @ x.T
    products[np.diag_indices_from(products)] += _PENALTY * max(float(np.trace(products)) / len(x), 1e-12)
    return np.asarray(np.linalg.inv(products), dtype=np.float64)


def out_of_fold(inverse: NDArray[np.float64], folds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the matrix (n, n) that predicts each item's target from those of the items in other folds (n,).

    With G the `inverse`, what the items F are off by when they were left out is (G_FF)^-1 (G y)_F (the leave-one-out
    formula of Rasmussen & Williams 2006, section 5.4.2, for several items at once).
    """
    # Folds side by side, so that parts of the matrix are slices.
    order = np.argsort(folds, kind="stable")
    ends = np.cumsum(np.unique(folds, return_counts=True)[1])
    beside = inverse.take(order, axis=0).take(order, axis=1)
    hat = np.zeros(inverse.shape, dtype=np.float32)
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        own = slice(start, end)
        others = np.hstack([beside[own, :start], beside[own, end:]])
        weights = np.linalg.solve(beside[own, own], others)
        hat[own, :start], hat[own, end:] = -weights[:, :start], -weights[:, start:]
    back = np.argsort(order)
    return np.asarray(hat.take(back, axis=0).take(back, axis=1))


def without(inverse: NDArray[np.float64], left_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the `inverse` as it is without the items `left_out` (n,), over the others.

    The inverse of a part of a matrix is the Schur complement of the rest in the inverse of the whole.
    """
    out, kept = np.flatnonzero(left_out), np.flatnonzero(~left_out)
    rows = inverse.take(out, axis=0)
    across = rows.take(kept, axis=1)
    rest = inverse.take(kept, axis=0).take(kept, axis=1)
    rest -= across.T @ np.linalg.solve(rows.take(out, axis=1), across)
    return np.asarray(rest)

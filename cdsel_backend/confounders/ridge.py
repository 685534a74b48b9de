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
    hat = np.zeros(inverse.shape, dtype=np.float32)
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        hat[np.ix_(own, others)] = -np.linalg.solve(inverse[np.ix_(own, own)], inverse[np.ix_(own, others)])
    return hat


def without(inverse: NDArray[np.float64], left_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the `inverse` as it is without the items `left_out` (n,), over the others.

    The inverse of a part of a matrix is the Schur complement of the rest in the inverse of the whole.
    """
    out, kept = np.flatnonzero(left_out), np.flatnonzero(~left_out)
    across = inverse[np.ix_(out, kept)]
    correction = across.T @ np.linalg.solve(inverse[np.ix_(out, out)], across)
    return np.asarray(inverse[np.ix_(kept, kept)] - correction, dtype=np.float64)

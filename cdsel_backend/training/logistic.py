"""Penalized logistic regression: the fit of which a training does hundreds, each of a few hundred labels.

It is what scikit-learn's `LogisticRegression` fits, by the same solver, without what that checks at each step: on such
sizes its checks take several times as long as the arithmetic.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_ITERATIONS = 1000
_OPTIONS = {"maxiter": MAX_ITERATIONS, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(np.float64).eps}
"""Of L-BFGS; those of scikit-learn."""


def fit_logistic(features: Array, y: NDArray[np.int64], weights: Array, c: float) -> tuple[Array, Array]:
    """Fit one sigmoid to two classes, a softmax to more: least mean log loss + |coefficients|^2 / (2 c sum(weights)).

    Args:
        features: (m, r).
        y: (m,) in 0..k, each of which occurs.
        weights: (m,) of the items in the loss.
        c: inverse of the penalty, which the intercepts do not have.

    Returns:
        The coefficients (k, r) and intercepts (k,); of two classes those of the second alone, (1, r) and (1,).

    Raises:
        ValueError: a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("the features of some labelled images are not finite")
    r = features.shape[1]
    classes = int(y.max()) + 1
    rows = 1 if classes == 2 else classes
    share = weights / weights.sum()
    penalty = 1.0 / (c * weights.sum())
    wanted = np.eye(classes)[y] if rows > 1 else y[:, None].astype(np.float64)

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(rows, r + 1)
        scores = features @ w[:, :r].T + w[:, r]
        if rows == 1:
            normalizer, likely = np.logaddexp(0.0, scores), scipy.special.expit(scores)
        else:
            top = scores.max(axis=1, keepdims=True)
            shifted = np.exp(scores - top)
            total = shifted.sum(axis=1, keepdims=True)
            normalizer, likely = np.log(total) + top, shifted / total
        value = share @ (normalizer[:, 0] - (wanted * scores).sum(axis=1))
        value += 0.5 * penalty * np.vdot(w[:, :r], w[:, :r])
        slope = share[:, None] * (likely - wanted)
        gradient = np.empty_like(w)
        gradient[:, :r] = slope.T @ features + penalty * w[:, :r]
        gradient[:, r] = slope.sum(axis=0)
        return float(value), gradient.ravel()

    found = scipy.optimize.minimize(
        loss, np.zeros(rows * (r + 1)), jac=True, method="L-BFGS-B", options=_OPTIONS
    )
    w = np.asarray(found.x).reshape(rows, r + 1)
    return w[:, :r], w[:, r]

"""How near an item lies to the boundary its own strata should have.

A model trained where label and stratum hang together carries the stratum's prevalence in its scores: the boundary
of a stratum lies in the tail of its scores, and what looks uncertain is uncertain for the wrong reason. The pool
says where the scores of a stratum lie, the labels how prevalent each class is; from both the boundary that weighs
the classes equally follows, without a single label of a rare cell:

    s_c(x) = logit p_c(x) - [ mean_g logit p_c + (1/C - pi_gc) gap sd_g(logit p_c) ]

with g the stratum, C the number of classes, pi_gc the share of c among the labels in g (one label's worth shrunk
to 1/C), and `gap` the distance of a class from the others in standard deviations: .75, as where the AUROC within
a stratum is near .7; what is picked depends little on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import joint_codes

_GAP = 0.75
_LEAST = 20  # items a stratum needs for a mean of its own; smaller ones are taken together


def balanced_distance(problem: Problem) -> NDArray[np.float64] | None:
    """Return (n,): distance to the balanced boundary of the item's stratum; none where nothing tells it.

    In standard deviations of the distances' own scale, 0 on the boundary; infinite where the probabilities are
    not finite. None without probabilities, with one class, or where no probability is finite.
    """
    if problem.probabilities is None or problem.n_classes < 2:
        return None
    known = problem.usable & np.isfinite(problem.probabilities).all(axis=1)
    if not known.any():
        return None
    p = np.clip(problem.probabilities[known], 1e-6, 1 - 1e-6)
    scores = np.log(p) - np.log1p(-p)
    labels, strata = problem.labels[known], _strata(joint_codes(problem)[known])
    fair = 1 / problem.n_classes
    for stratum in np.unique(strata):
        here = strata == stratum
        seen = labels[here & (labels >= 0)]
        prevalence = (np.bincount(seen, minlength=problem.n_classes) + fair) / (len(seen) + 1)
        inside = scores[here]
        scores[here] -= inside.mean(axis=0) + (fair - prevalence) * _GAP * inside.std(axis=0)
    top = np.sort(scores, axis=1)
    margin = top[:, -1] - top[:, -2]
    spread = float(np.sqrt((margin**2).mean()))
    distance = np.full(len(problem), np.inf)
    distance[known] = margin / spread if spread > 0 else margin
    return distance


def balanced_uncertainty(problem: Problem) -> NDArray[np.float64] | None:
    """Return (n,) in [0, 1]: 1 on the balanced boundary, .5 at a typical distance; none where nothing tells it."""
    distance = balanced_distance(problem)
    return None if distance is None else np.exp2(-distance)


def _strata(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the codes with the small strata as one."""
    small = np.bincount(codes) < _LEAST
    return np.where(small[codes], -1, codes)

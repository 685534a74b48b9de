"""Fair decisions in every level: how far a level's scores must be shifted, read off the unlabelled pool.

A head trained on confounded labels calls too much of one level positive and too little of another. If in a level
every class were recognised equally well, with accuracy a, the share of its items called class c would be

    q_c = p_c a + (1 - p_c) (1 - a) / (C - 1)

with p the shares of the classes there (`shares.py`). p is estimated from few labels well enough, because a weak a
makes q depend little on it; the shift that yields q comes from the many unlabelled scores, which carry the confounder's
effect on the score whatever its shape. No label of a rare (class, level) cell is needed beyond that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.association import SMOOTHING, smoothed_shares
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.shares import Shares

Array = NDArray[np.float64]

_OCCURS = 0.02  # a level where all but one class together make up less is left to what its shares are
_RARE = 0.2  # share of all labels below which classes are rare everywhere
_FEW_ITEMS = 10.0  # items of a level at which its shift counts half
_PRIOR_AUROC, _PRIOR_SCALE, _PRIOR_FREEDOM = 0.73, 0.2, 2.0
"""The prior of d: Student's t about the d of this AUROC, its scale and its degrees of freedom.

With so few of those it is heavy-tailed, and labels that clearly show another d prevail; simulate/EVIDENCE.md has what
other priors cost.
"""
_ROUNDS = 8


def fair_offsets(
    scores: Array,
    columns: Sequence[Column],
    shares: Sequence[Shares],
    *,
    accuracy: float,
    strength: float,
) -> tuple[Array, Array]:
    """Return (c,) offsets for all items, and (l, c) more for each level of each column, stacked.

    scores (n, c) of the whole pool; columns over its n items, at least one, and the `shares` of the classes in the
    levels of each; `accuracy` the recall to expect. With `strength` 0 levels have no offset of their
    own, with 1 they get all of it. Each variable's levels are made fair in turn, until all are. The first column, the
    strongest, says how much is called each class in all: variables that disagree on that undo each other's work.
    """
    n, classes = scores.shape
    sizes = [np.bincount(column.codes, minlength=len(column.levels)) for column in columns]
    common_shares = sizes[0] @ _fair(shares[0].values, accuracy) / n
    common = _offset_for(scores, common_shares)
    shifted = scores + common
    called = np.eye(classes)[shifted.argmax(axis=1)]
    tables = [np.zeros((len(column.levels), classes)) for column in columns]
    members = [
        [np.flatnonzero(column.codes == code) for code in range(len(column.levels))] for column in columns
    ]
    targets = [
        _targets(inside, called, share, accuracy, strength)
        for inside, share in zip(members, shares, strict=True)
    ]
    for target, size in zip(targets[1:], sizes[1:], strict=True):
        _agree(target, size, sizes[0] @ targets[0])
    for _ in range(_ROUNDS if len(columns) > 1 else 1):
        for table, inside, target in zip(tables, members, targets, strict=True):
            for code, items in enumerate(inside):
                if len(items):
                    step = _offset_for(shifted[items], target[code])
                    table[code] += step
                    shifted[items] += step
    for table, size in zip(tables, sizes, strict=True):
        table *= (size / (size + _FEW_ITEMS))[:, None]
    return common, np.vstack([*tables, np.zeros((0, classes))])


def occurs(found: Shares) -> NDArray[np.bool_]:
    """Return (l,): whether more than one class occurs in each level.

    It does where it is likelier than not that all but its commonest class together make up `_OCCURS` of it, by its
    labels and a prior that has the shares of all levels and weighs as much as `SMOOTHING` labels. Where these classes
    make up less than `_RARE` of all labels, they may be as much rarer in the level, too, and the prior weighs as much
    more: of a class that is rare everywhere, few labels of a level will show none.
    """
    commonest = smoothed_shares(found.seen).argmax(axis=1)
    overall = found.seen.sum(axis=0) / max(float(found.seen.sum()), 1e-300)
    elsewhere = 1 - overall[commonest]
    rarity = np.clip(elsewhere / _RARE, 1e-9, 1)
    prior = SMOOTHING / rarity
    main = found.seen[np.arange(len(commonest)), commonest] + prior * (1 - elsewhere)
    rest = found.seen.sum(axis=1) + prior - main
    return np.asarray(
        scipy.stats.beta.sf(_OCCURS * rarity, np.maximum(rest, 1e-3), np.maximum(main, 1e-3)) > 0.5
    )


def expected_accuracy(
    scores: Array, labels: NDArray[np.int64], columns: Sequence[Column], classes: int
) -> float:
    """Return the recall to expect of every class when all are recognised equally well, from out-of-fold scores (m, c).

    Scores are taken as normal with equal variance; inside a level the means of two classes lie d standard deviations
    apart (Cohen's d), and the recall is the integral of phi(x - d / sqrt 2) Phi(x)^(C-1). It is averaged over the
    posterior of d: the estimate has the variance 1 / w + d^2 / (2 f), for w pairs of labels and f degrees of freedom
    (Hedges and Olkin 1985), and the prior is heavy-tailed, as is usual for effect sizes (Rouder et al. 2009).
    """
    d, log_prior, recall = _before_labels(classes)
    log_posterior = log_prior.copy()
    seen, pairs, freedom = _separation(scores, labels, columns, classes)
    if pairs and freedom > 1:
        variance = 1 / pairs + d**2 / (2 * freedom)
        log_posterior -= (seen - d) ** 2 / (2 * variance) + np.log(variance) / 2
    return float(scipy.special.softmax(log_posterior) @ recall)


@lru_cache
def _before_labels(classes: int) -> tuple[Array, Array, Array]:
    """Return values of d (k,), the log of their prior density, and the recall that each gives."""
    norm, student = scipy.stats.norm, scipy.stats.t
    d = np.linspace(0, 4, 201, dtype=np.float64)
    x = np.linspace(-8, 16, 961)
    log_prior = student.logpdf(d, _PRIOR_FREEDOM, np.sqrt(2) * norm.ppf(_PRIOR_AUROC), _PRIOR_SCALE)
    recall = norm.pdf(x - d[:, None] / np.sqrt(2)) @ norm.cdf(x) ** (classes - 1) * (x[1] - x[0])
    return d, log_prior, recall


def _separation(
    scores: Array, labels: NDArray[np.int64], columns: Sequence[Column], classes: int
) -> tuple[float, float, float]:
    """Return Cohen's d of the classes inside levels, by how many pairs of labels, and its degrees of freedom.

    n labels of one class and m of the other in a level are n m / (n + m) pairs. The standard deviation is that inside
    classes and levels. Of several columns, the pairs and the degrees of freedom are those of one in the mean.
    """
    level_masks = [column.codes == code for column in columns for code in range(len(column.levels))]
    # (c, c), of which the pairs above the diagonal count.
    apart: Array = np.zeros((classes, classes))
    weight, squares, free = apart, apart, apart
    for inside in level_masks or [labels >= 0]:
        sizes, means, deviations = _margins(scores, labels, inside, classes)
        squares = squares + deviations + deviations.T
        free = free + np.maximum(sizes - 1, 0)[:, None] + np.maximum(sizes - 1, 0)
        both = (sizes[:, None] > 0) & (sizes > 0)
        own = np.where(both, np.outer(sizes, sizes) / np.maximum(sizes[:, None] + sizes, 1), 0.0)
        # The margin of b over a is that of a over b with the other sign.
        apart, weight = apart + own * np.where(both, means + means.T, 0.0), weight + own
    pair = np.triu_indices(classes, 1)
    deviation = np.maximum(np.sqrt(squares / np.maximum(free, 1)), 1e-12)
    # Added up one after the other: what `sum` gives would depend on how many there are.
    weighted, pairs, freedom = (
        float(np.add.accumulate(values[pair])[-1]) if len(pair[0]) else 0.0
        for values in (apart / deviation, weight, free)
    )
    several = max(len(columns), 1)
    return float(np.clip(weighted / max(pairs, 1e-12), -4, 4)), pairs / several, freedom / several


def _margins(
    scores: Array, labels: NDArray[np.int64], inside: NDArray[np.bool_], classes: int
) -> tuple[NDArray[np.int64], Array, Array]:
    """Return how many items `inside` (n,) each class has (c,), and how far the scores of each lie above those of each.

    That is the mean (c, c) over the items of a class, the row, of its score less another's, the column, and the sum of
    the squares (c, c) by which they differ from it; 0 where there is no item.
    """
    sizes = np.zeros(classes, dtype=np.int64)
    means, squares = np.zeros((classes, classes)), np.zeros((classes, classes))
    for code in range(classes):
        own = scores[inside & (labels == code)].T
        sizes[code] = own.shape[1]
        if own.shape[1]:
            margins = np.ascontiguousarray(own[code] - own)
            means[code] = margins.mean(axis=1)
            squares[code] = ((margins - means[code][:, None]) ** 2).sum(axis=1)
    return sizes, means, squares


def _fair(shares: Array, accuracy: float) -> Array:
    """Return the shares called each class when every class is recognised with this accuracy."""
    return np.asarray(
        shares * accuracy + (1 - shares) * (1 - accuracy) / max(shares.shape[-1] - 1, 1), dtype=np.float64
    )


def _targets(
    members: Sequence[NDArray[np.int64]],
    called: Array,
    found: Shares,
    accuracy: float,
    strength: float,
) -> Array:
    """Return (l, c): the share of each level that is to be called each class.

    Fair, where more than one class `occurs` in the level; elsewhere rare classes are called no oftener than they
    occur. Between what is called now and that, by `strength`.
    """
    shares = found.values
    now = np.stack(
        [called[items].mean(axis=0) if len(items) else shares[i] for i, items in enumerate(members)]
    )
    alone = np.minimum(now, shares)
    commonest = shares.argmax(axis=1)
    alone[np.arange(len(alone)), commonest] += 1 - alone.sum(axis=1)
    return np.asarray(
        (1 - strength) * now + strength * np.where(occurs(found)[:, None], _fair(shares, accuracy), alone),
        dtype=np.float64,
    )


def _agree(target: Array, size: NDArray[np.int64], total: Array) -> None:
    """Scale (l, c) shares in place until the levels' items called each class add up to `total` (c,)."""
    for _ in range(_ROUNDS):
        target *= total / np.maximum(size @ target, 1e-9)
        target /= target.sum(axis=1, keepdims=True)


def _offset_for(scores: Array, target: Array) -> Array:
    """Return (c,) offsets of mean 0 after which each class wins its target share of (m, c) scores.

    One class at a time by the quantile of its lead over the best other; exact at once for two classes.
    """
    classes = len(target)
    offset = np.zeros(classes)
    by_class = np.ascontiguousarray(scores.T)
    shares = (1 - np.clip(target, 0, 1)).tolist()
    for _ in range(1 if classes == 2 else 12):
        shifted = by_class + offset[:, None]
        # The best of the classes that follow each, and of those before it, as they are once their turn has come.
        following = np.maximum.accumulate(shifted[::-1], axis=0)[::-1]
        before = np.full(len(scores), -np.inf)
        for code in range(classes):
            if code or classes != 2:
                best = before if code == classes - 1 else np.maximum(before, following[code + 1])
                offset[code] -= _quantile(shifted[code] - best, shares[code])
                shifted[code] = by_class[code] + offset[code]
            np.maximum(before, shifted[code], out=before)
    return np.asarray(offset - offset.mean(), dtype=np.float64)


def _quantile(values: Array, share: float) -> float:
    """Return `np.quantile` of values (m,), to the bit: with 500 classes it is asked a hundred thousand times a head.

    Of a few hundred values numpy's own takes ten times as long, most of it before it looks at any.
    """
    place = (len(values) - 1) * share
    below = int(place)
    above = min(below + 1, len(values) - 1)
    ordered = np.partition(values, (below, above))
    low, high, part = ordered[below], ordered[above], place - below
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))

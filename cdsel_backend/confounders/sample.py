"""Which items a probe sees, and how a variable is permuted over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.groups import alone_or_together

_ITEMS = 1500
_LABELLED = 1000  # items of the sample that are labelled ones, if there are so many


def sample(
    labelled: NDArray[np.bool_], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return (g, k) positions: k items of each of g groups, drawn again where a group has fewer than k.

    Of each group the labelled (n,) come first, and of the groups some that hold any.
    """
    n = len(labelled)
    order = rng.permutation(n)
    order = order[np.argsort(~labelled[order], kind="stable")]
    group = (np.arange(n) if groups is None else alone_or_together(groups, n))[order]
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    firsts = np.cumsum(sizes) - sizes
    drawn = rng.permutation(len(sizes))
    known = np.bincount(group, weights=labelled[order])[drawn] > 0
    drawn = np.concatenate(
        [drawn[known][:_LABELLED], rng.permutation(drawn[~known]), drawn[known][_LABELLED:]]
    )
    chosen = rng.permutation(drawn[:_ITEMS])
    each = max(1, min(_ITEMS // len(chosen), -(-n // len(sizes))))
    offsets = np.arange(each) % sizes[chosen][:, None]
    return np.asarray(order[by_group[firsts[chosen][:, None] + offsets]], dtype=np.int64)


def same_labels(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return sets of groups (rows of (g, k)) among which a variable may be permuted: they have the same labels."""
    shown = [frozenset(row[row >= 0].tolist()) for row in labels]
    found: dict[frozenset[int], list[int]] = {}
    for i, names in enumerate(shown):
        if names:
            found.setdefault(names, []).append(i)
    return [np.array(members, dtype=np.int64) for members in found.values()]


def permuted(
    sampled: NDArray[np.int64], alike: Sequence[NDArray[np.int64]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return a variable (g, k) permuted between the groups of each of the sets `alike`; the others keep theirs."""
    shuffled = sampled.copy()
    for members in alike:
        shuffled[members] = sampled[rng.permutation(members)]
    return shuffled

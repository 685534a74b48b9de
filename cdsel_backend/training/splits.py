"""Which labels are for evaluation only, and folds that keep a patient on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.groups import alone_or_together


def is_held_out(group_keys: Sequence[str], share: float = 0.2) -> NDArray[np.bool_]:
    """Return (n,): whether the hash of the group (patient, lesion, else the image) falls in the held-out share.

    It depends on the key alone, so a group never changes sides. Raises ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the held-out share is {share}; it lies between 0 and 1")
    keys = (hashlib.blake2b(f"\0{key}".encode(), digest_size=8).digest() for key in group_keys)
    return np.array([int.from_bytes(key, "big") < share * 2**64 for key in keys], dtype=bool)


def one_side_each(
    group_keys: Sequence[str], contents: Sequence[str | None]
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what keeps the files of a picture on one side: group keys, held out (n,), and which have several groups.

    `contents` are hashes of the files, None where unknown. A picture that several groups have is nobody's: it is a
    group of its own, and held out only where all of them are. So one that was trained on is never tested on later.
    """
    owner: dict[str, str] = {}
    several: set[str] = set()
    for key, content in zip(group_keys, contents, strict=True):
        if content is not None and owner.setdefault(content, key) != key:
            several.add(content)
    held_out = is_held_out(group_keys)
    shared = np.array([content in several for content in contents], dtype=bool)
    if several:
        trained = {contents[row] for row in np.flatnonzero(shared & ~held_out)}
        held_out &= ~np.array([content in trained for content in contents], dtype=bool)
    keys = [
        f"image={content}" if content in several else key
        for key, content in zip(group_keys, contents, strict=True)
    ]
    return keys, held_out, shared


def grouped_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return (n,): the fold of each item; a group stays together, and each label is spread over the folds.

    Groups are dealt out at random, largest first, each to the fold that has fewest of its commonest label, then
    fewest items. A negative group is an item on its own.
    """
    group = alone_or_together(groups, len(labels))
    found = int(labels.max(initial=0)) + 1
    # Of each group the labels that it has, rising, with their counts: labels may be as many as groups.
    pairs, counts = np.unique(group * found + labels, return_counts=True)
    owner, of_pair = np.divmod(pairs, found)
    members = int(group.max(initial=-1)) + 1
    starts = np.searchsorted(owner, np.arange(members + 1)).tolist()
    order = rng.permutation(members)
    order = order[np.argsort(-np.bincount(group, minlength=members)[order], kind="stable")]
    # Lists, because there are thousands of groups and few folds.
    labels_of, counts_of = of_pair.tolist(), counts.tolist()
    filled, total = [[0] * found for _ in range(folds)], [0] * folds
    fold_of = np.empty(members, dtype=np.int64)
    for member in order.tolist():
        own = range(starts[member], starts[member + 1])
        label = labels_of[max(own, key=counts_of.__getitem__)]
        fold = min(zip((row[label] for row in filled), total, range(folds), strict=True))[2]
        for pair in own:
            filled[fold][labels_of[pair]] += counts_of[pair]
            total[fold] += counts_of[pair]
        fold_of[member] = fold
    return fold_of[group]

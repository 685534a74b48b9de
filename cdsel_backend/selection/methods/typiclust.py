"""TypiClust (Hacohen, Dekel and Weinshall, "Active Learning on a Budget", ICML 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft, Pick
from cdsel_backend.selection.neighbours import nearest
from cdsel_backend.selection.problem import Problem

_MAX_CLUSTERS = 500
_MIN_CLUSTER = 5
_NEIGHBOURS = 20
_FEW = 50  # clusters up to which full k-means is cheap


def fill(problem: Problem, draft: Draft) -> None:
    """Pick the most typical open item of the largest cluster with the fewest taken, cluster after cluster.

    Clusters by k-means, as many as items taken and wanted (at most 500, as in the paper; clusters under five
    items only when no other is left). Typicality is the inverse mean distance to the 20 nearest neighbours in
    the cluster; it is the gain.
    """
    usable = np.flatnonzero(problem.usable)
    if not draft.open.any():
        return
    vectors = problem.vectors[usable]
    wanted = min(
        int(problem.taken[usable].sum()) + draft.size, _MAX_CLUSTERS, len(np.unique(vectors, axis=0))
    )
    from sklearn.cluster import KMeans, MiniBatchKMeans  # slow to load

    kind = KMeans if wanted <= _FEW else MiniBatchKMeans
    cluster = np.full(len(problem), -1, dtype=np.int64)
    cluster[usable] = kind(wanted, n_init=1, random_state=_seed(problem)).fit(vectors).labels_
    members = [np.flatnonzero(cluster == c) for c in range(wanted)]
    sizes = np.array([len(m) for m in members])
    counts = np.bincount(cluster[problem.taken & problem.usable], minlength=wanted)
    typicality: dict[int, NDArray[np.float64]] = {}
    while not draft.full:
        alive = np.bincount(cluster[draft.open], minlength=wanted) > 0
        # Not tiny, then fewest taken, then largest.
        order = np.lexsort((-sizes, counts, sizes < _MIN_CLUSTER, ~alive))
        chosen = int(order[0])
        if chosen not in typicality:
            typicality[chosen] = _typicality(problem.vectors[members[chosen]])
        typical = np.where(draft.open[members[chosen]], typicality[chosen], -np.inf)
        best = int(np.argmax(typical))
        draft.add(Pick(int(members[chosen][best]), float(typical[best])))
        counts[chosen] += 1


def _seed(problem: Problem) -> int:
    return int(problem.random().integers(2**31))


def _typicality(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (m,): one over the mean distance to the nearest neighbours; 0 for a cluster of one."""
    if len(vectors) < 2:
        return np.zeros(len(vectors))
    square, _ = nearest(vectors, vectors, min(_NEIGHBOURS + 1, len(vectors)))
    distance = np.sqrt(square[:, 1:].astype(np.float64)).mean(axis=1)
    return np.asarray(1 / np.maximum(distance, 1e-9))

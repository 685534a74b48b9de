"""Ji et al., "Confounder-Aware Medical Data Selection", arXiv 2503.00744 (ISBI 2025), as far as its text is public.

Class by class: reduce to two dimensions, cluster with DBSCAN, give each cluster a quota, pick by the distance to
the cluster's centre. What the text leaves open is `Ji2025Options`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.neighbours import distinct
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import quotas_of

_MIN_POINTS = 5
_TSNE_LEAST = 10  # items under which t-SNE has no meaning, and PCA stands in
_THREADED = 2_000  # items from which several threads pay for t-SNE
_TSNE_MOST = 10_000  # items above which t-SNE takes minutes; the rest joins its nearest neighbour's place


def fill(problem: Problem, draft: Draft) -> None:
    """Split the round evenly over classes, and over each class's clusters by quota."""
    rng = problem.random()
    cluster, of_class, centre_distance = _clusters(problem, rng)
    n_clusters = len(of_class)
    sizes = np.bincount(cluster[problem.usable], minlength=n_clusters)
    taken = np.bincount(cluster[problem.taken & problem.usable], minlength=n_clusters)
    shares = _shares(sizes, of_class, problem.options.ji2025.quota)

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        here = cluster[candidates]
        picked = cluster[draft.indices]
        have = taken + np.bincount(picked, minlength=n_clusters)
        quotas = quotas_of(shares, have, np.bincount(here, minlength=n_clusters), count)
        chosen = []
        for c in np.flatnonzero(quotas):
            inside = np.flatnonzero(here == c)
            chosen.append(
                inside[
                    _pick(centre_distance[candidates[inside]], int(quotas[c]), problem, candidates[inside])
                ]
            )
        return rng.permutation(np.concatenate(chosen))

    draft.add_batches(propose)


def _clusters(
    problem: Problem, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return each item's cluster (n,), each cluster's class, and the distance (n,) to the cluster's centre in 2-D."""
    cluster = np.zeros(len(problem), dtype=np.int64)
    distance = np.zeros(len(problem))
    of_class: list[int] = []
    classes = _classes(problem)
    for c in np.unique(classes[problem.usable]):
        items = np.flatnonzero(problem.usable & (classes == c))
        vectors = problem.vectors[items]
        # t-SNE takes far longer where many lie at one place, and DBSCAN holds every pair of neighbours.
        first, which = distinct(vectors)
        plane = reduce_to_plane(vectors[first], problem.options.ji2025.reduce, rng)
        found = dbscan(plane, np.bincount(which))[which]
        plane = plane[which]
        for g in range(int(found.max()) + 1):
            inside = found == g
            distance[items[inside]] = np.linalg.norm(plane[inside] - plane[inside].mean(axis=0), axis=1)
        cluster[items] = found + len(of_class)
        of_class += [int(c)] * (int(found.max()) + 1)
    return cluster, np.array(of_class, dtype=np.int64), distance


def _classes(problem: Problem) -> NDArray[np.int64]:
    """Labels, or else pseudo-labels; one class before there are any."""
    if problem.probabilities is None:
        return np.zeros(len(problem), dtype=np.int64)
    guessed = np.argmax(np.nan_to_num(problem.probabilities), axis=1)
    return np.where(problem.labels >= 0, problem.labels, guessed)


def reduce_to_plane(vectors: NDArray[np.float32], how: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (m, 2) coordinates by t-SNE or principal components; zeros where the vectors do not vary."""
    from sklearn.decomposition import PCA  # slow to load, as what follows
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**31))
    flat = np.zeros((len(vectors), 2))
    if len(vectors) < 3 or not np.ptp(vectors, axis=0).any():  # exactly, where a deviation is rounded
        return flat
    if how == "pca" or len(vectors) < _TSNE_LEAST:
        found = PCA(min(2, vectors.shape[1]), random_state=seed).fit_transform(vectors)
        flat[:, : found.shape[1]] = found
        return flat
    sample = rng.permutation(len(vectors))[:_TSNE_MOST]
    first = PCA(min(50, len(sample), vectors.shape[1]), random_state=seed).fit_transform(vectors[sample])
    perplexity = min(30.0, (len(sample) - 1) / 3)
    # Threads that wait for one another take many times as long for few items, where the cores have other work.
    with threadpool_limits(1 if len(sample) < _THREADED else None):
        placed = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(first)
    if len(sample) == len(vectors):
        flat[sample] = placed
    else:
        flat[:] = placed[NearestNeighbors(n_neighbors=1).fit(vectors[sample]).kneighbors(vectors)[1][:, 0]]
    return flat


def dbscan(plane: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return (m,) groups from 0 on: DBSCAN, eps at the knee of the k-distance curve; noise joins the nearest group.

    `counts` (m,) say how many items lie at each place of the plane; one each if none.
    """
    from sklearn.cluster import DBSCAN  # slow to load
    from sklearn.neighbors import NearestNeighbors

    k = min(_MIN_POINTS, len(plane) - 1)
    if k < 1:
        return np.zeros(len(plane), dtype=np.int64)
    reach = np.sort(NearestNeighbors(n_neighbors=k + 1).fit(plane).kneighbors(plane)[0][:, k])
    eps = _knee(reach)
    if eps <= 0:
        return np.zeros(len(plane), dtype=np.int64)
    made = DBSCAN(eps=eps, min_samples=_MIN_POINTS).fit(plane, sample_weight=counts)
    found: NDArray[np.int64] = made.labels_.astype(np.int64)
    core = found >= 0
    if not core.any():
        return np.zeros(len(plane), dtype=np.int64)
    if not core.all():
        nearest_core = NearestNeighbors(n_neighbors=1).fit(plane[core]).kneighbors(plane[~core])[1][:, 0]
        found[~core] = found[core][nearest_core]
    return found


def _knee(curve: NDArray[np.float64]) -> float:
    """Return the value of an ascending curve that lies farthest below its chord (Satopää et al. 2011)."""
    if curve[-1] <= curve[0]:
        return float(curve[-1])
    height = (curve - curve[0]) / (curve[-1] - curve[0])
    return float(curve[np.argmax(np.linspace(0, 1, len(curve)) - height)])


def _shares(sizes: NDArray[np.int64], of_class: NDArray[np.int64], quota: str) -> NDArray[np.float64]:
    """Classes evenly; inside a class its clusters by size, or evenly."""
    weight = sizes.astype(np.float64) if quota == "proportional" else (sizes > 0).astype(np.float64)
    shares = np.zeros(len(sizes))
    for c in np.unique(of_class):
        mine = of_class == c
        shares[mine] = weight[mine] / max(weight[mine].sum(), 1)
    return np.asarray(shares / max(shares.sum(), 1e-300))


def _pick(
    distance: NDArray[np.float64], count: int, problem: Problem, items: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return positions of `count` of the items of one cluster."""
    how = problem.options.ji2025.pick
    order = np.argsort(distance, kind="stable")
    if how == "nearest":
        return np.asarray(order[:count])
    if how == "midpoints":
        return np.asarray(order[((np.arange(count) + 0.5) / count * len(order)).astype(np.int64)])
    vectors = problem.vectors[items]
    chosen = [int(order[0])]
    far = np.linalg.norm(vectors - vectors[chosen[0]], axis=1)
    far[chosen[0]] = -1
    while len(chosen) < count:
        chosen.append(int(np.argmax(far)))
        far = np.minimum(far, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
        far[chosen] = -1
    return np.array(chosen, dtype=np.int64)

"""Clusters of the images: what stands in for the label before there is one, and groups no variable explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import cramers_v, cross_table
from cdsel_backend.confounders.report import LatentGroup
from cdsel_backend.confounders.representation import fit_representation
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows

_ITEMS = 2000
_COMPONENTS = 32
_CLUSTERS = 8
_APART = 0.2  # mean silhouette of a cluster that stands apart
_EXPLAINED = 0.3  # Cramér's V of a variable that accounts for a cluster


def cluster(vectors: VectorRows, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (n,): k-means clusters of finite vectors (n, d), fitted on a sample of 2,000."""
    sample = np.sort(rng.permutation(len(vectors))[:_ITEMS])
    representation = fit_representation(vectors[sample], components=_COMPONENTS)
    from sklearn.cluster import KMeans  # slow to load

    fitted = KMeans(
        min(_CLUSTERS, len(np.unique(vectors[sample], axis=0))),
        n_init=2,
        random_state=int(rng.integers(2**31)),
    ).fit(representation.project(vectors[sample]))
    return np.asarray(fitted.predict(representation.project(vectors)), dtype=np.int64)


def latent_groups(
    vectors: VectorRows, columns: Sequence[Column], rng: np.random.Generator
) -> tuple[LatentGroup, ...]:
    """Return the clusters that stand apart and that no variable accounts for, the largest first."""
    sample = np.sort(rng.permutation(len(vectors))[:_ITEMS])
    codes = cluster(vectors[sample], rng)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        return ()
    representation = fit_representation(vectors[sample], components=_COMPONENTS)
    from sklearn.metrics import silhouette_samples  # slow to load

    apart = silhouette_samples(representation.project(vectors[sample]), codes)
    found = []
    for number, size in enumerate(sizes):
        inside = (codes == number).astype(np.int64)
        best = max(
            ((cramers_v(cross_table(c.codes[sample] + 1, inside)), c.name) for c in columns),
            default=(0.0, ""),
        )
        if size >= 10 and apart[codes == number].mean() >= _APART and best[0] < _EXPLAINED:
            share = float(size / len(sample))
            nearest = f"; the nearest is {best[1]} (Cramér's V {best[0]:.2f})" if best[1] else ""
            found.append(
                LatentGroup(
                    round(share * len(vectors)),
                    share,
                    best[0],
                    f"{share:.0%} of the images stand apart and no variable says why{nearest}.",
                )
            )
    return tuple(sorted(found, key=lambda group: -group.size))

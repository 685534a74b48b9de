"""What a selection holds of each (label, level) cell, and the oracle that draws them equally."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import cramers_v, cross_table
from cdsel_backend.selection.strata import quotas_of
from cdsel_backend.simulate.dataset import Dataset

_LEAST_V = 0.05  # a pool with less dependence has none to compare with


def cell_counts(pool: Dataset, taken: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return (classes, levels of the first confounder): how many items of the pool, or of those taken."""
    column = pool.columns[0]
    cells = pool.labels * len(column.levels) + column.codes
    counts = np.bincount(
        cells if taken is None else cells[taken], minlength=len(pool.classes) * len(column.levels)
    )
    return counts.reshape(len(pool.classes), -1).astype(np.int64)


def cramers_v_ratio(pool: Dataset, taken: NDArray[np.bool_]) -> float | None:
    """Return Cramér's V of (label, level) among those taken over that of the pool, averaged over the confounders.

    None where the pool shows no dependence that could be taken over.
    """
    before = np.array([cramers_v(cross_table(pool.labels, c.codes)) for c in pool.columns])
    after = np.array([cramers_v(cross_table(pool.labels[taken], c.codes[taken])) for c in pool.columns])
    known = before >= _LEAST_V
    return float((after[known] / before[known]).mean()) if known.any() else None


def draw_equally(
    pool: Dataset, taken: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw so that the (label, level) cells of the first confounder come out equal, as far as they last."""
    cells = pool.labels * len(pool.columns[0].levels) + pool.columns[0].codes
    n_cells = len(pool.classes) * len(pool.columns[0].levels)
    have, available = (np.bincount(cells[mask], minlength=n_cells) for mask in (taken, ~taken))
    shares = (have + available > 0) / max(int((have + available > 0).sum()), 1)
    quotas = quotas_of(shares, have, available, size)
    shuffled = rng.permutation(np.flatnonzero(~taken))
    return np.concatenate([shuffled[cells[shuffled] == cell][: quotas[cell]] for cell in range(n_cells)])

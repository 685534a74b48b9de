"""The worlds a strategy is tried in: a pool to choose from, and a test set of other groups.

`natural` takes the data as they are. A number rho resamples two levels of the confounder so that
P(positive | first level) = rho and P(positive | second level) = 1 - rho in the pool; the test set is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.table import UsageError

TEST_SHARE = 0.4  # of the groups
MOST_RESAMPLED, MOST_NATURAL = 1500, 3000  # items of the pool


@dataclass(frozen=True, eq=False)
class World:
    """`pool` and `test` are positions in the dataset; `correlation` is "natural" or rho."""

    pool: NDArray[np.int64]
    test: NDArray[np.int64]
    correlation: str
    seed: int


def make_world(data: Dataset, correlation: str, seed: int, positive: int) -> World:
    """Draw a world; for a rho the data hold two levels (see `two_levels`). Raises UsageError when a cell is empty."""
    rng = np.random.default_rng(seed)
    n_groups = int(data.groups.max()) + 1
    in_test = np.zeros(n_groups, dtype=bool)
    in_test[rng.permutation(n_groups)[: round(TEST_SHARE * n_groups)]] = True
    test = np.flatnonzero(in_test[data.groups])
    rest = np.flatnonzero(~in_test[data.groups])
    if correlation == "natural":
        return World(rng.permutation(rest)[:MOST_NATURAL], test, correlation, seed)
    rho = float(correlation)
    level, is_positive = data.columns[0].codes[rest], data.labels[rest] == positive
    share = {(0, True): rho, (0, False): 1 - rho, (1, True): 1 - rho, (1, False): rho}
    cells = {key: rest[(level == key[0]) & (is_positive == key[1])] for key in share}
    for (code, yes), items in cells.items():
        if not len(items) and share[code, yes] > 0:
            word = "positive" if yes else "negative"
            raise UsageError(
                f"--correlation {rho:g}: no {word} item at level {data.columns[0].levels[code]!r}"
            )
    # Both levels get the same number of items: as many as the scarcest cell allows.
    per_level = min(MOST_RESAMPLED / 2, *(len(cells[key]) / share[key] for key in share if share[key] > 0))
    drawn = [rng.permutation(cells[key])[: round(per_level * share[key])] for key in share]
    return World(rng.permutation(np.concatenate(drawn)), test, correlation, seed)

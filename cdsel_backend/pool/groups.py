"""Images that belong together: those of one patient or lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def alone_or_together(groups: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Return (n,): the group of each item as a code from 0; an item of a negative group is one on its own."""
    alone = -1 - np.arange(n)
    keys = alone if groups is None else np.where(groups < 0, alone, groups)
    return np.asarray(np.unique(keys, return_inverse=True)[1].ravel(), dtype=np.int64)

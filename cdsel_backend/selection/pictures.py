"""Files of one picture: items of a pool that show the same, byte for byte, and are one to whoever chooses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pictures:
    """Which of n items show the same of p pictures: `codes` (n,) in 0..p - 1, and `first` (p,), the first item of each.

    Sorted once for a pool; what is asked of them afterwards takes one pass over the items.
    """

    codes: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Pictures:
        """Those of items whose `numbers` (n,) are equal where they show the same picture."""
        _, first, codes = np.unique(numbers, return_index=True, return_inverse=True)
        return cls(codes.ravel(), first)

    def __len__(self) -> int:
        return len(self.codes)

    def repeats(self, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (n,): the items not `taken` (n,) that show the picture of one that is, or of one before them."""
        found = np.ones(len(self), dtype=bool)
        found[self.first] = False
        shown = np.zeros(len(self.first), dtype=bool)
        shown[self.codes[taken]] = True
        return np.asarray((found | shown[self.codes]) & ~taken)

    @cached_property
    def copies(self) -> NDArray[np.int64] | None:
        """(n,): how many other items show the same picture; None where no two do."""
        if len(self.first) == len(self):
            return None
        return np.asarray(np.bincount(self.codes)[self.codes] - 1, dtype=np.int64)

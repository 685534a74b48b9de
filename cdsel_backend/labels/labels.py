"""The labels of some items as arrays, and what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels.kind import Decision, LabelKind
from cdsel_backend.labels.single import SINGLE

if TYPE_CHECKING:
    from typing_extensions import Self

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of n items.

    `values` are as `kind` has them: (n,) int64 into `classes` where an image has one, (n, c) of 1 (shown), 0 (not) and
    -1 where it may show several; -1 = unlabelled. `groups` (n,) int64: patient or lesion, negative = unknown, each an
    item on its own.
    """

    values: NDArray[np.integer[Any]]
    classes: Sequence[str]
    _: KW_ONLY
    kind: LabelKind = SINGLE
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,): which items have a label, or a label for some class."""
        return self.kind.labelled(self.values)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The q decisions that a label makes."""
        return self.kind.decisions(self.classes)

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n, q): the outcome of each decision, -1 where nobody decided. Raises ValueError for another shape."""
        return self.kind.codes(self.values)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the labels of the items of `rows` (positions or a mask)."""
        return replace(self, values=self.values[rows], groups=of_rows(self.groups, rows))


def of_rows(
    array: NDArray[Scalar] | None, rows: NDArray[np.int64] | NDArray[np.bool_]
) -> NDArray[Scalar] | None:
    """Return some rows of an array (n, ...), where there is one."""
    return None if array is None else array[rows]

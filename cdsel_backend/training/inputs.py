"""What a training is given: the pool, its labels, and how to train on them.

Everything that trains takes these three (`train_head`, `train_presence`, `train_model`, `cross_fit`, `fine_tune`), so
that what a training is to know of an item, or to do in another way, is a field here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import Representation, fit_representation
from cdsel_backend.labels import Labels
from cdsel_backend.labels.labels import of_rows
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import VectorRows, finite_rows

if TYPE_CHECKING:
    from typing_extensions import Self

Recipe = Literal["plain", "group_balanced", "deconfounded"]
RECIPES: tuple[Recipe, ...] = ("plain", "group_balanced", "deconfounded")


@dataclass(frozen=True, eq=False)
class Pool:
    """n items: `vectors` (n, d), and `columns`, the confounders over the n items.

    What is derived from all of the vectors is computed once.
    """

    vectors: VectorRows
    columns: Sequence[Column]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.int64]) -> Pool:
        """Return some items as a pool of their own."""
        return Pool(self.vectors[rows], [column.take(rows) for column in self.columns])

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """(n,): which vectors are finite."""
        return finite_rows(self.vectors)

    def counted(self, labelled: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,): which items the pool consists of, to a training that knows labels of those `labelled` (n,)."""
        return self.finite

    @cached_property
    def representation(self) -> Representation:
        """Fitted on the whole pool. Raises ValueError where no vector is finite."""
        return fit_representation(self.vectors, finite=self.finite)


@dataclass(frozen=True, eq=False)
class TrainingLabels(Labels):
    """The labels of n items, and what a training is to know of these.

    `trainable` (n,) bool: False = held out for evaluation, never trained on. `represents` (n,) float64: for how many
    items of its level a labelled one speaks, 0 where it was chosen for what it is (see `level_shares`).
    """

    _: KW_ONLY
    trainable: NDArray[np.bool_] | None = None
    represents: NDArray[np.float64] | None = None

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,): which items have a label to train on."""
        return self.labelled if self.trainable is None else self.labelled & self.trainable

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the labels of the items of `rows` (positions or a mask)."""
        return replace(
            super().take(rows),
            trainable=of_rows(self.trainable, rows),
            represents=of_rows(self.represents, rows),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; the same input and `seed` give the same model, bit for bit on one machine.

    Recipes: `deconfounded` gives every level an intercept in training, so that what tells the levels apart is not
    taken for the disease, and then shifts each level's scores until its decisions are fair (`offsets.py`), by
    `strength` in [0, 1] (None: all the way, in levels where more than one class occurs). Without levels, or with
    strength 0, they are made fair in the whole pool. `plain`: class weights, nothing else, linear in the vectors.
    `group_balanced`: (class, level) weights.

    Raises ValueError for a strength outside [0, 1].
    """

    recipe: Recipe = "deconfounded"
    strength: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; it lies between 0 (plain) and 1 (de-confounded)")

    def correction(self, columns: Sequence[Column]) -> float:
        """Return how far scores are corrected between the levels of these confounders, in [0, 1]; 0: not at all."""
        if self.recipe != "deconfounded" or not columns:
            return 0.0
        return 1.0 if self.strength is None else float(self.strength)


DEFAULTS = TrainingOptions()

"""A round as a pure function: arrays in, picks with reasons out.

The loop of a project (`reconcile`) and the backtest (`simulate`) both come here, and to `training.train_model`, so that
a backtest tests what production does. What they differ in is where the arrays come from and where the results go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.representation import centre, level_effects
from cdsel_backend.labels import SINGLE, LabelKind
from cdsel_backend.selection import Pictures, Selection, SelectionOptions, problem_for, select
from cdsel_backend.training import Model, Pool

FIRST_STRENGTH = 0.5  # of centring, until a model has chosen its own
_SEEDS = 1000  # rounds of one project that get a seed of their own


@dataclass(frozen=True, eq=False)
class RoundPool(Pool):
    """What a round reads of a pool of n items, and a training, too.

    `classes` and `kind` of the labels; `groups` (n,) patient or lesion, negative = unknown; `pictures`: which
    items show the same, which is chosen once.
    """

    classes: tuple[str, ...]
    kind: LabelKind = SINGLE
    groups: NDArray[np.int64] | None = None
    pictures: Pictures | None = None

    def counted(self, labelled: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,): which items the pool consists of: each picture once, since one is asked for once."""
        return self.finite if self.pictures is None else self.finite & ~self.pictures.repeats(labelled)

    @cached_property
    def projected(self) -> NDArray[np.float32]:
        """(n, k): the pool before any centring."""
        return self.representation.project(self.vectors)

    def centred(self, strength: float) -> NDArray[np.float32]:
        """Return (n, k): the pool with `strength` times the confounders' effects taken away."""
        if strength == 0 or not self.columns:
            return self.projected
        return centre(self.projected, self._effects, self.columns, strength)

    @cached_property
    def _effects(self) -> NDArray[np.float32]:
        """(l, k): the effect of every level of every confounder."""
        usable = np.flatnonzero(self.finite)
        if len(usable) == len(self.vectors):
            return level_effects(self.projected, self.columns)
        return level_effects(self.projected[usable], [column.take(usable) for column in self.columns])


def strength_of(setting: float | None, model: Model | None) -> float:
    """Return how far the pool is centred for a round: as a setting says, else as the model was trained."""
    if setting is not None:
        return setting
    return FIRST_STRENGTH if model is None else float(model.describe()["strength"])


def seed_of_round(seed: int, number: int) -> int:
    """Return the seed of a round, numbered from 1, of a project with this seed."""
    return seed * _SEEDS + number - 1


def next_round(
    pool: RoundPool,
    labels: NDArray[np.integer],
    taken: NDArray[np.bool_],
    size: int,
    *,
    strategy: str,
    strength: float,
    probabilities: NDArray[np.float64] | Callable[[], NDArray[np.float64]] | None,
    seed: int,
    options: SelectionOptions,
) -> Selection:
    """Choose up to `size` items for the next round, in rank order, with a reason for each.

    labels: the values of the n items so far, as their kind has them; taken (n,): what is not to be chosen any more;
    `strength` of centring in [0, 1] (see `strength_of`); `probabilities` (n, c) of the model so far, or a function that
    gives them, None before the first; `seed` of the round (see `seed_of_round`). The pool's vectors are projected, and
    that function is called, only where the strategy asks for it: of a million images each takes seconds.

    The same input gives the same selection. Raises ValueError for an unknown strategy, a negative size, or a pool
    without a finite vector.
    """
    problem = problem_for(
        vectors=partial(pool.centred, strength),
        finite=pool.finite,
        columns=pool.columns,
        labels=labels,
        n_classes=len(pool.classes),
        kind=pool.kind,
        taken=taken,
        probabilities=probabilities,
        groups=pool.groups,
        pictures=pool.pictures,
        seed=seed,
        options=options,
    )
    return select(strategy, problem, size)

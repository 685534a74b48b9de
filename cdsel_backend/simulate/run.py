"""One cell on its way through its rounds, with the functions that production uses."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.round import RoundPool, next_round, seed_of_round, strength_of
from cdsel_backend.simulate.cells import cell_counts, draw_equally
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.plan import ORACLE, Plan
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.training import Model, NotEnoughLabels, TrainingLabels, TrainingOptions, train_model
from cdsel_backend.training.inputs import Recipe


@dataclass(frozen=True, eq=False)
class Scene:
    """A world made ready: the pool, as a dataset and as a round reads it, and the test set."""

    pool: Dataset
    test: Dataset
    correlation: str
    seed: int
    round_pool: RoundPool


@dataclass(frozen=True, eq=False)
class Picks:
    """What a round chose, in rank order; `represents` (m,) is as in `TrainingLabels`; `seconds` it took."""

    items: NDArray[np.int64]
    represents: NDArray[np.float64]
    seconds: float


_LAST: dict[tuple[str, int], Scene] = {}


def make_scene(data: Dataset, correlation: str, seed: int, positive: int) -> Scene:
    """Make a world ready, or return the one this process had last."""
    key = (f"{_digest(data)} {correlation} {positive}", seed)
    if key not in _LAST:
        world = make_world(data, correlation, seed, positive)
        pool = data.take(world.pool)
        ready = RoundPool(pool.vectors, pool.columns, pool.classes, groups=pool.groups)
        _LAST.clear()
        _LAST[key] = Scene(pool, data.take(world.test), correlation, seed, ready)
    return _LAST[key]


def _digest(data: Dataset) -> str:
    """What tells one dataset from another in a process that meets several; of the vectors some rows suffice."""
    found = hashlib.blake2b(repr((data.name, data.classes, [c.meta() for c in data.columns])).encode())
    some = data.vectors[:: max(1, len(data) // 64)]
    for array in (data.labels, data.groups, data.rows, *(column.codes for column in data.columns), some):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class Run:
    """One cell on its way: what is taken, what each round chose in rank order, and the head so far."""

    def __init__(self, scene: Scene, strategy: str, training: Recipe, budget: int, plan: Plan) -> None:
        self.scene, self.strategy, self.training, self.budget = scene, strategy, training, budget
        self.options = plan.options
        # As a project's setting `strength`: the training's own choice, or none at all where it knows no levels.
        self.strength = None if training == "deconfounded" else 0.0
        ends = np.linspace(0, budget, min(plan.rounds, budget) + 1).round().astype(int)
        self.sizes = np.diff(ends).tolist()
        self.taken = np.zeros(len(scene.pool), dtype=bool)
        self.drawn = np.zeros(len(scene.pool))
        self.chosen: list[NDArray[np.int64]] = []
        self.model: Model | None = None
        self.seconds = 0.0

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,): the labels bought so far, -1 elsewhere."""
        return np.where(self.taken, self.scene.pool.labels, -1)

    @property
    def represents(self) -> NDArray[np.float64]:
        """(n,): as in `TrainingLabels`; the oracle knows the odds at which it drew from each (label, level) cell."""
        if self.strategy != ORACLE:
            return self.drawn
        pool = self.scene.pool
        odds = cell_counts(pool, self.taken) / np.maximum(cell_counts(pool), 1)
        return np.asarray(1 / np.maximum(odds[pool.labels, pool.columns[0].codes], 1e-9))

    @property
    def training_labels(self) -> TrainingLabels:
        """The labels bought so far, as a training reads them."""
        pool = self.scene.pool
        return TrainingLabels(self.labels, pool.classes, groups=pool.groups, represents=self.represents)

    def select(self, shared: list[Picks] | None) -> None:
        """Take the budget in rounds.

        A list says that no model matters to the rounds: those it holds are taken over, and new ones appended.
        """
        for number, size in enumerate(self.sizes, start=1):
            if shared is None or number > len(shared):
                started = time.perf_counter()
                chosen, represents = self._choose(size, number)
                picks = Picks(chosen, represents, time.perf_counter() - started)
                if shared is not None:
                    shared.append(picks)
            else:
                picks = shared[number - 1]
            self.seconds += picks.seconds
            self.taken[picks.items] = True
            self.drawn[picks.items] = picks.represents
            self.chosen.append(picks.items)
            if shared is None and number < len(self.sizes):
                self.model = self.train()

    def train(self, strength: float | None = None) -> Model | None:
        """Return the head of the labels so far, or None where they do not suffice; `strength` overrides the choice."""
        options = TrainingOptions(
            recipe=self.training,
            strength=self.strength if strength is None else strength,
            seed=self.scene.seed,
        )
        try:
            return train_model(self.scene.round_pool, self.training_labels, options)
        except NotEnoughLabels:
            return None

    def _choose(self, size: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Choose the images of round `number`, from 1, and say for how many each speaks."""
        scene, pool, model = self.scene, self.scene.pool, self.model
        seed = seed_of_round(scene.seed, number)
        if self.strategy == ORACLE:
            drawn = draw_equally(pool, self.taken, size, np.random.default_rng(seed))
            return drawn, np.ones(len(drawn))
        found = next_round(
            scene.round_pool,
            self.labels,
            self.taken.copy(),
            size,
            strategy=self.strategy,
            strength=strength_of(self.strength, model),
            probabilities=None if model is None else model.predict(pool.vectors, pool.columns),
            seed=seed,
            options=self.options,
        )
        return found.indices, found.represents

    def probabilities(self, model: Model | None) -> NDArray[np.float64]:
        """Return the test set's probabilities; without a head, the commonest label so far is certain."""
        test = self.scene.test
        if model is not None:
            return model.predict(test.vectors, test.columns)
        seen = np.bincount(self.scene.pool.labels[self.taken], minlength=len(test.classes))
        return np.tile(np.eye(len(test.classes))[int(seen.argmax())], (len(test), 1))

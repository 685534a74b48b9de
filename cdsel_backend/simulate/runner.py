"""Run strategies and trainings through the worlds, with the functions that production uses.

A cell of the design is (strategy, training, correlation, budget, seed). It starts without labels and takes the
budget in rounds. As in production, the head that the cell's own training makes of the labels so far gives the next
round its probabilities and the strength at which the representation is de-confounded; the labels of the last round
make the head that is tested.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray

from cdsel_backend.confounders.association import cramers_v, cross_table
from cdsel_backend.round import RoundPool, next_round, seed_of_round, strength_of, train_round
from cdsel_backend.selection import Ji2025Options, SelectionOptions
from cdsel_backend.selection.strata import due
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.ranking import Ranking, rank
from cdsel_backend.simulate.tuning import tune
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.training import Model, NotEnoughLabels, evaluate
from cdsel_backend.training.head import Recipe
from cdsel_backend.training.tuned import ENOUGH_LABELS

DEFAULT = ("confounder_aware", "deconfounded")
BASELINE = ("random", "plain")
ORACLE = "oracle"
"""Draws every (label, level) cell equally, reading the labels it is yet to buy: a bound, not a strategy."""
TRAININGS: tuple[Recipe, ...] = ("plain", "group_balanced", "deconfounded")
TUNED = ("backbone", "auto")
"""A fine-tune of the backbone, always or where a project's `auto` keeps it; rounds go by the `deconfounded` head."""
ACCURACIES = (
    "worst_group_accuracy",
    "group_balanced_accuracy",
    "balanced_accuracy",
    "accuracy",
    "within_group_auc",
)
METRICS = (*ACCURACIES, "calibration_error", "cramers_v_ratio", "min_cell_share", "seconds")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the trade-off curve
# ji2025's t-SNE takes seconds a round, and a backtest has thousands: here it reduces by the other of its two ways.
OPTIONS = SelectionOptions(ji2025=Ji2025Options(reduce="pca"))
_LEAST_V = 0.05  # a pool with less dependence has none to compare with
BLIND = frozenset({"random", "stratified", ORACLE})  # look at neither vectors nor a model
MODEL_FREE = BLIND | {
    "kcenter",
    "typiclust",
    "maxherding",
    "lightly",
    "coreset",
    "probcover",
}  # need no model


@dataclass(frozen=True)
class Result:
    """One line of results.csv."""

    dataset: str
    strategy: str
    training: str
    correlation: str
    budget: int
    seed: int
    metric: str
    value: float


@dataclass(frozen=True)
class GroupResult:
    """One line of groups.csv: `accuracy` on the `n` test images of a group.

    `judged` says that there are enough of them for the group to count in the worst and the mean.
    """

    dataset: str
    strategy: str
    training: str
    correlation: str
    budget: int
    seed: int
    group: str
    n: int
    accuracy: float
    judged: bool


Cell = tuple[str, str, str, int]
"""(strategy, training, correlation, budget)."""


@dataclass(frozen=True)
class Plan:
    """What to run: the cells are all combinations."""

    strategies: tuple[str, ...]
    trainings: tuple[str, ...]
    correlations: tuple[str, ...]
    budgets: tuple[int, ...]
    rounds: int
    seeds: int
    positive: int
    options: SelectionOptions = OPTIONS
    first_seed: int = 0

    @property
    def seed_numbers(self) -> range:
        """The seeds of its worlds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def units(self) -> list[tuple[str, int, str]]:
        """(correlation, seed, strategy): what one process does at a stretch."""
        return [
            (c, s, name) for c in self.correlations for s in self.seed_numbers for name in self.strategies
        ]


@dataclass
class Outcome:
    """What came of a unit. `tables`: (classes, levels) counts selected; `rankings` of the test images, one a seed."""

    results: list[Result] = field(default_factory=list)
    groups: list[GroupResult] = field(default_factory=list)
    tables: dict[Cell, NDArray[np.int64]] = field(default_factory=dict)
    rankings: dict[Cell, list[Ranking]] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Join another unit's outcome."""
        self.results += other.results
        self.groups += other.groups
        for key, rankings in other.rankings.items():
            self.rankings.setdefault(key, []).extend(rankings)
        for key, table in other.tables.items():
            self.tables[key] = self.tables.get(key, 0) + table


def run_plan(sets: dict[str, Dataset], plan: Plan, jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of every unit as it is done; `sets` holds each correlation's dataset.

    Units run in `jobs` processes of one thread each. What a strategy or a training raises comes through.
    """
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        work = (delayed(run_unit)(sets[c], c, seed, name, plan) for c, seed, name in plan.units)
        yield from Parallel(return_as="generator_unordered", pre_dispatch="2*n_jobs")(work)


def run_unit(data: Dataset, correlation: str, seed: int, strategy: str, plan: Plan) -> Outcome:
    """Run one strategy in one world: all trainings and budgets."""
    scene = _scene(data, correlation, seed, plan.positive)
    outcome = Outcome()
    for budget in plan.budgets:
        shared: list[_Picks] = []
        for recipe in TRAININGS:
            # A project's fine-tune tries to do better than the head that chose its rounds.
            tuned = [name for name in plan.trainings if name in TUNED and recipe == DEFAULT[1]]
            if recipe not in plan.trainings and not tuned:
                continue
            run = _Run(scene, strategy, recipe, budget, plan)
            # Where the training can make no difference to the selection, one selection serves all trainings: the
            # de-confounded one moves the vectors, to which near duplicates are held, too.
            blind = strategy in BLIND and plan.options.near_duplicate is None
            free = blind or (strategy in MODEL_FREE and recipe != "deconfounded")
            run.select(shared if free else None)
            head = run.probabilities(run.train())
            if recipe in plan.trainings:
                _note(outcome, data.name, run, recipe, head, positive=plan.positive)
            for strength in STRENGTHS if (strategy, recipe) == DEFAULT and recipe in plan.trainings else ():
                given = run.probabilities(run.train(strength))
                _note(
                    outcome, data.name, run, f"strength={strength:g}", given,
                    positive=plan.positive, trade_off=True,
                )  # fmt: skip
            trial = tune(scene.pool, scene.test, run.labels, run.represents, head, seed) if tuned else None
            for name in tuned:
                kept = trial is not None and (
                    name == "backbone" or (budget >= ENOUGH_LABELS and not trial.loses)
                )
                found = trial.probabilities if trial and kept else head
                _note(outcome, data.name, run, name, found, positive=plan.positive)
    return outcome


@dataclass(frozen=True, eq=False)
class _Scene:
    """A world made ready: the pool, as a dataset and as a round reads it, and the test set."""

    pool: Dataset
    test: Dataset
    correlation: str
    seed: int
    round_pool: RoundPool


@dataclass(frozen=True, eq=False)
class _Picks:
    """What a round chose, in rank order; `by_chance` (m,) says where nothing but chance did; `seconds` it took."""

    items: NDArray[np.int64]
    by_chance: NDArray[np.bool_]
    seconds: float


_LAST: dict[tuple[str, int], _Scene] = {}


def _scene(data: Dataset, correlation: str, seed: int, positive: int) -> _Scene:
    """Make a world ready, or return the one this process had last."""
    key = (f"{_digest(data)} {correlation} {positive}", seed)
    if key not in _LAST:
        world = make_world(data, correlation, seed, positive)
        pool = data.take(world.pool)
        ready = RoundPool(pool.vectors, pool.columns, pool.classes, groups=pool.groups)
        _LAST.clear()
        _LAST[key] = _Scene(pool, data.take(world.test), correlation, seed, ready)
    return _LAST[key]


def _digest(data: Dataset) -> str:
    """What tells one dataset from another in a process that meets several; of the vectors some rows suffice."""
    found = hashlib.blake2b(repr((data.name, data.classes, [c.meta() for c in data.columns])).encode())
    some = data.vectors[:: max(1, len(data) // 64)]
    for array in (data.labels, data.groups, data.rows, *(column.codes for column in data.columns), some):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class _Run:
    """One cell on its way: what is taken, what each round chose in rank order, and the head so far."""

    def __init__(self, scene: _Scene, strategy: str, training: Recipe, budget: int, plan: Plan) -> None:
        self.scene, self.strategy, self.training, self.budget = scene, strategy, training, budget
        self.options = plan.options
        # As a project's setting `strength`: the training's own choice, or none at all where it knows no levels.
        self.strength = None if training == "deconfounded" else 0.0
        ends = np.linspace(0, budget, min(plan.rounds, budget) + 1).round().astype(int)
        self.sizes = np.diff(ends).tolist()
        self.taken = np.zeros(len(scene.pool), dtype=bool)
        self.by_chance = np.zeros(len(scene.pool), dtype=bool)
        self.chosen: list[NDArray[np.int64]] = []
        self.model: Model | None = None
        self.seconds = 0.0

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,): the labels bought so far, -1 elsewhere."""
        return np.where(self.taken, self.scene.pool.labels, -1)

    @property
    def represents(self) -> NDArray[np.float64]:
        """(n,): as `train_head` wants it; the oracle knows the odds at which it drew from each (label, level) cell."""
        if self.strategy != ORACLE:
            return self.by_chance.astype(np.float64)
        pool = self.scene.pool
        odds = cell_counts(pool, self.taken) / np.maximum(cell_counts(pool), 1)
        return np.asarray(1 / np.maximum(odds[pool.labels, pool.columns[0].codes], 1e-9))

    def select(self, shared: list[_Picks] | None) -> None:
        """Take the budget in rounds.

        A list says that no model matters to the rounds: those it holds are taken over, and new ones appended.
        """
        for number, size in enumerate(self.sizes, start=1):
            if shared is None or number > len(shared):
                started = time.perf_counter()
                chosen, by_chance = self._choose(size, number)
                picks = _Picks(chosen, by_chance, time.perf_counter() - started)
                if shared is not None:
                    shared.append(picks)
            else:
                picks = shared[number - 1]
            self.seconds += picks.seconds
            self.taken[picks.items] = True
            self.by_chance[picks.items] = picks.by_chance
            self.chosen.append(picks.items)
            if shared is None and number < len(self.sizes):
                self.model = self.train()

    def train(self, strength: float | None = None) -> Model | None:
        """Return the head of the labels so far, or None where they do not suffice; `strength` overrides the choice."""
        try:
            return train_round(
                self.scene.round_pool,
                self.labels,
                represents=self.represents,
                strength=self.strength if strength is None else strength,
                recipe=self.training,
                seed=self.scene.seed,
            )
        except NotEnoughLabels:
            return None

    def _choose(self, size: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Choose the images of round `number`, from 1, and say which chance chose."""
        scene, pool, model = self.scene, self.scene.pool, self.model
        seed = seed_of_round(scene.seed, number)
        if self.strategy == ORACLE:
            drawn = _draw_equally(pool, self.taken, size, np.random.default_rng(seed))
            return drawn, np.ones(len(drawn), dtype=bool)
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
        return found.indices, found.by_chance

    def probabilities(self, model: Model | None) -> NDArray[np.float64]:
        """Return the test set's probabilities; without a head, the commonest label so far is certain."""
        test = self.scene.test
        if model is not None:
            return model.predict(test.vectors, test.columns)
        seen = np.bincount(self.scene.pool.labels[self.taken], minlength=len(test.classes))
        return np.tile(np.eye(len(test.classes))[int(seen.argmax())], (len(test), 1))


def _note(
    outcome: Outcome,
    dataset: str,
    run: _Run,
    training: str,
    probabilities: NDArray[np.float64],
    *,
    positive: int,
    trade_off: bool = False,
) -> None:
    """Add what a finished run measured with these probabilities of the test set."""
    scene, test = run.scene, run.scene.test
    measured = evaluate(
        probabilities,
        test.labels,
        test.columns,
        test.classes,
        seed=scene.seed,
    )
    values = {metric: measured[metric] for metric in ACCURACIES}
    if not trade_off:
        table = cell_counts(scene.pool, run.taken)
        cell: Cell = (run.strategy, training, scene.correlation, run.budget)
        outcome.tables[cell] = table
        outcome.rankings[cell] = [rank(probabilities, test.labels, test.columns, positive)]
        outcome.groups += [
            GroupResult(
                dataset,
                *cell,
                scene.seed,
                group["group"],
                group["n"],
                group["accuracy"],
                not group["unreliable"],
            )
            for group in measured["groups"]
        ]
        values |= {
            "calibration_error": measured["calibration_error"],
            "cramers_v_ratio": cramers_v_ratio(scene.pool, run.taken),
            "min_cell_share": float(table[cell_counts(scene.pool) > 0].min() / max(table.sum(), 1)),
            "seconds": run.seconds,
        }
    outcome.results += [
        Result(
            dataset, run.strategy, training, scene.correlation, run.budget, scene.seed, metric, float(value)
        )
        for metric, value in values.items()
        if value is not None
    ]


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


def _draw_equally(
    pool: Dataset, taken: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw so that the (label, level) cells of the first confounder come out equal, as far as they last."""
    cells = pool.labels * len(pool.columns[0].levels) + pool.columns[0].codes
    n_cells = len(pool.classes) * len(pool.columns[0].levels)
    have, available = (np.bincount(cells[mask], minlength=n_cells) for mask in (taken, ~taken))
    shares = (have + available > 0) / max(int((have + available > 0).sum()), 1)
    quota = due(shares, have, available, size)
    shuffled = rng.permutation(np.flatnonzero(~taken))
    return np.concatenate([shuffled[cells[shuffled] == cell][: quota[cell]] for cell in range(n_cells)])


def check_budgets(sets: dict[str, Dataset], plan: Plan) -> Sequence[str]:
    """Return what is wrong with the budgets for each correlation whose pool is too small for some seed."""
    faults = []
    for correlation, data in sets.items():
        sizes = [len(make_world(data, correlation, seed, plan.positive).pool) for seed in plan.seed_numbers]
        if max(plan.budgets) > min(sizes):
            faults.append(
                f"--budget {max(plan.budgets)}: the pool at correlation {correlation} has {min(sizes)} items"
            )
    return faults

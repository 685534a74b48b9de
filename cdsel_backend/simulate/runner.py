"""Run strategies and trainings through the worlds, with the functions that production uses.

A cell of the design is (strategy, training, correlation, budget, seed). It starts without labels and takes the
budget in rounds. As in production, the head that the cell's own training makes of the labels so far gives the next
round its probabilities and the strength at which the representation is de-confounded; the labels of the last round
make the head that is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.simulate.cells import cell_counts, cramers_v_ratio
from cdsel_backend.simulate.checkpoint import Checkpoint
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.outcome import Cell, GroupResult, Outcome, Result
from cdsel_backend.simulate.plan import (
    ACCURACIES,
    BLIND,
    DEFAULT,
    MODEL_FREE,
    STRENGTHS,
    TRAININGS,
    TUNED,
    Plan,
    Unit,
)
from cdsel_backend.simulate.ranking import rank
from cdsel_backend.simulate.run import Picks, Run, make_scene
from cdsel_backend.simulate.tuning import tune
from cdsel_backend.training import evaluate
from cdsel_backend.training.tuned_model import ENOUGH_LABELS


def run_plan(sets: dict[str, Dataset], plan: Plan, jobs: int, checkpoint: Checkpoint) -> Iterator[Outcome]:
    """Yield the outcome of every unit: of those in `checkpoint` at once, of others as they are done and put there.

    `sets` holds each correlation's dataset. Units run in `jobs` processes of one thread each. What a strategy or a
    training raises comes through.
    """
    done = [unit for unit in plan.units if unit in checkpoint]
    yield from map(checkpoint.read, done)
    left = [unit for unit in plan.units if unit not in set(done)]
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        work = (delayed(_run_and_keep)(sets[unit[0]], unit, plan, checkpoint) for unit in left)
        yield from Parallel(return_as="generator_unordered", pre_dispatch="2*n_jobs")(work)


def _run_and_keep(data: Dataset, unit: Unit, plan: Plan, checkpoint: Checkpoint) -> Outcome:
    outcome = run_unit(data, *unit, plan)
    checkpoint.write(unit, outcome)
    return outcome


def run_unit(data: Dataset, correlation: str, seed: int, strategy: str, plan: Plan) -> Outcome:
    """Run one strategy in one world: all trainings and budgets."""
    scene = make_scene(data, correlation, seed, plan.positive)
    outcome = Outcome()
    for budget in plan.budgets:
        shared: list[Picks] = []
        for recipe in TRAININGS:
            # A project's fine-tune tries to do better than the head that chose its rounds.
            tuned = [name for name in plan.trainings if name in TUNED and recipe == DEFAULT[1]]
            if recipe not in plan.trainings and not tuned:
                continue
            run = Run(scene, strategy, recipe, budget, plan)
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
            trial = tune(scene.pool, scene.test, run.training_labels, head, seed) if tuned else None
            for name in tuned:
                kept = trial is not None and (
                    name == "backbone" or (budget >= ENOUGH_LABELS and not trial.loses)
                )
                found = trial.probabilities if trial and kept else head
                _note(outcome, data.name, run, name, found, positive=plan.positive)
    return outcome


def _note(
    outcome: Outcome,
    dataset: str,
    run: Run,
    training: str,
    probabilities: NDArray[np.float64],
    *,
    positive: int,
    trade_off: bool = False,
) -> None:
    """Add what a finished run measured with these probabilities of the test set."""
    scene, test = run.scene, run.scene.test
    measured = evaluate(probabilities, Labels(test.labels, test.classes), test.columns, seed=scene.seed)
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

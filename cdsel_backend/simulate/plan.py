"""What a backtest is asked to run: its cells, and the names of what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdsel_backend.phrases import number_of
from cdsel_backend.selection import Ji2025Options, SelectionOptions
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.training.inputs import Recipe

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
BLIND = frozenset({"random", "stratified", ORACLE})  # look at neither vectors nor a model
# Need no model.
MODEL_FREE = BLIND | {"kcenter", "typiclust", "maxherding", "lightly", "coreset", "probcover"}


Unit = tuple[str, int, str]
"""(correlation, seed, strategy): what one process does at a stretch."""


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
    def units(self) -> list[Unit]:
        """All that is to be run."""
        return [
            (c, s, name) for c in self.correlations for s in self.seed_numbers for name in self.strategies
        ]


def check_budgets(sets: dict[str, Dataset], plan: Plan) -> Sequence[str]:
    """Return what is wrong with the budgets for each correlation whose pool is too small for some seed."""
    faults = []
    for correlation, data in sets.items():
        sizes = [len(make_world(data, correlation, seed, plan.positive).pool) for seed in plan.seed_numbers]
        if max(plan.budgets) > min(sizes):
            faults.append(
                f"--budget {max(plan.budgets)}: the pool at correlation {correlation} has "
                f"{number_of(min(sizes), 'item')}"
            )
    return faults

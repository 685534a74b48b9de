"""What the results say: means and paired differences, each with its interval over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from cdsel_backend.simulate.outcome import Result
from cdsel_backend.simulate.plan import DEFAULT, METRICS, ORACLE

Pipeline = tuple[str, str]
WORST, FAIR, WITHIN = "worst_group_accuracy", "group_balanced_accuracy", "within_group_auc"


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def above(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the interval lies below zero."""
        return self.high < 0

    def text(self, sign: str = "+") -> str:
        """Return the mean and its interval as text; `sign` "" for a share, whose interval ends at 0 and at 1."""
        if not self.n:
            return "not measured"
        ends = self if sign else self.as_share()
        interval = f"{ends.low:{sign}.3f} to {ends.high:{sign}.3f}" if self.n > 1 else "one seed, no interval"
        return f"{self.mean:{sign}.3f} ({interval})"

    def as_share(self) -> Estimate:
        """Return it as that of what lies between 0 and 1, where its interval ends, too."""
        return replace(self, low=max(self.low, 0.0), high=min(self.high, 1.0))

    def to_json(self) -> dict[str, float | int]:
        """Return the fields."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of (seeds,) with its interval; seeds without a value are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if len(known) < 2:
        return Estimate(mean, np.nan, np.nan, 1)
    half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Estimate(mean, mean - half, mean + half, len(known))


class Findings:
    """The results as arrays, and the questions asked of them."""

    def __init__(
        self,
        results: Iterable[Result],
        correlations: Sequence[str],
        budgets: Sequence[int],
        seeds: int,
        first_seed: int = 0,
    ):
        self.correlations, self.budgets, self.seeds = tuple(correlations), tuple(budgets), seeds
        self._values: dict[tuple[Pipeline, str], NDArray[np.float64]] = {}
        place_c = {c: i for i, c in enumerate(self.correlations)}
        place_b = {b: i for i, b in enumerate(self.budgets)}
        shape = (len(self.correlations), len(self.budgets), seeds)
        for r in results:
            key = ((r.strategy, r.training), r.metric)
            cube = self._values.setdefault(key, np.full(shape, np.nan))
            cube[place_c[r.correlation], place_b[r.budget], r.seed - first_seed] = r.value
        self.pipelines = [
            p for p in dict.fromkeys(p for p, _ in self._values) if not p[1].startswith("strength=")
        ]

    def cube(self, pipeline: Pipeline, metric: str) -> NDArray[np.float64]:
        """(correlations, budgets, seeds), NaN where nothing was measured."""
        empty = np.full((len(self.correlations), len(self.budgets), self.seeds), np.nan)
        return self._values.get((pipeline, metric), empty)

    def overall(
        self, pipeline: Pipeline, metric: str, correlation: str | None = None, budget: int | None = None
    ) -> Estimate:
        """The mean over the budgets and the correlations, unless one is named."""
        return estimate(self.by_seed(pipeline, metric, correlation, budget))

    def by_seed(
        self, pipeline: Pipeline, metric: str, correlation: str | None = None, budget: int | None = None
    ) -> NDArray[np.float64]:
        """(seeds,): the mean over the correlations and budgets, unless one is named."""
        cube = self.cube(pipeline, metric)
        if correlation is not None:
            cube = cube[[self.correlations.index(correlation)]]
        if budget is not None:
            cube = cube[:, [self.budgets.index(budget)]]
        return np.asarray(cube.mean(axis=(0, 1)))

    def difference(
        self,
        a: Pipeline,
        b: Pipeline,
        metric: str,
        correlation: str | None = None,
        budget: int | None = None,
    ) -> Estimate:
        """How much better `a` is than `b` in the same worlds, over all correlations and budgets unless one is named."""
        theirs = self.by_seed(b, metric, correlation, budget)
        return estimate(self.by_seed(a, metric, correlation, budget) - theirs)

    def ranked(self) -> list[Pipeline]:
        """All pipelines but the bound, the best in the worst group first."""
        usable = [p for p in self.pipelines if p[0] != ORACLE]
        means = {p: self.overall(p, WORST).mean for p in usable}
        return sorted(usable, key=lambda p: -means[p] if np.isfinite(means[p]) else np.inf)

    def best_other(self, training: str | None = None) -> Pipeline | None:
        """The best pipeline whose strategy is neither the default's nor the bound, perhaps of one training."""
        others = [p for p in self.ranked() if p[0] != DEFAULT[0]]
        return next((p for p in others if training in (None, p[1])), None)

    def strengths(self) -> list[str]:
        """The trainings of the trade-off curve, by rising strength."""
        named = {p[1] for p, _ in self._values if p[1].startswith("strength=")}
        return sorted(named, key=lambda name: float(name.partition("=")[2]))

    def to_json(self) -> dict[str, Any]:
        """Every mean, and the default's paired differences from every other pipeline."""
        means, paired = [], []
        for (pipeline, metric), cube in self._values.items():
            for i, correlation in enumerate(self.correlations):
                for j, budget in enumerate(self.budgets):
                    cell = _named(pipeline) | {
                        "correlation": correlation,
                        "budget": budget,
                        "metric": metric,
                    }
                    means.append(cell | estimate(cube[i, j]).to_json())
                    if DEFAULT in self.pipelines and pipeline in self.pipelines and pipeline != DEFAULT:
                        gap = self.cube(DEFAULT, metric)[i, j] - cube[i, j]
                        paired.append(cell | estimate(gap).to_json())
        overall = [
            _named(p) | {"correlation": c or "all", "metric": m} | self.overall(p, m, c).to_json()
            for p in self.pipelines
            for m in METRICS
            for c in (None, *self.correlations)
        ]
        gaps = [
            _named(p) | {"correlation": c or "all", "metric": m} | self.difference(DEFAULT, p, m, c).to_json()
            for p in self.pipelines
            if p != DEFAULT and DEFAULT in self.pipelines
            for m in METRICS
            for c in (None, *self.correlations)
        ]
        return {
            "default": _named(DEFAULT),
            "means": _plain(means),
            "default_minus_other": _plain(paired),
            "means_over_budgets": _plain(overall),
            "default_minus_other_over_budgets": _plain(gaps),
        }


def _named(pipeline: Pipeline) -> dict[str, Any]:
    return {"strategy": pipeline[0], "training": pipeline[1]}


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop rows without a value, and NaN bounds, which JSON cannot hold."""
    return [
        {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in row.items()}
        for row in rows
        if row["n"]
    ]

"""The labels that the default saves against random + plain, as far as the runs can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from cdsel_backend.phrases import number_of
from cdsel_backend.simulate.plan import BASELINE, DEFAULT
from cdsel_backend.simulate.summary import WORST, Findings, estimate

SEEDS_OF_A_SAVING = 10
"""From which labels saved may be claimed: a bootstrap of fewer repeats hides its own error."""
_RESAMPLES = 4000


@dataclass(frozen=True)
class Saving:
    """How many labels the default saves against random + plain for the same worst-group accuracy.

    `saved` of `budget` labels with its 95 % interval (bootstrap over seeds), 0 where the default never reaches
    `target`; all None where these runs cannot tell, and `sentence` says why. `at_least`: the smallest budget tried
    already sufficed, so that more may be saved.
    """

    budget: int
    target: float
    saved: float | None
    low: float | None
    high: float | None
    at_least: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))


def labels_saved(findings: Findings, correlation: str | None = None) -> Saving | None:
    """Return the saving over all correlations, or at one; None without both pipelines, two seeds and two budgets.

    Both curves are made to rise alike, by isotonic regression: more labels are taken not to hurt either. A saving is
    claimed from `SEEDS_OF_A_SAVING` seeds on, and only where the baseline rises with labels beyond its 95 % interval:
    a baseline that labels do not help would be beaten by fewer of its own.
    """
    if not {DEFAULT, BASELINE} <= set(findings.pipelines) or min(findings.seeds, len(findings.budgets)) < 2:
        return None
    rows = slice(None) if correlation is None else [findings.correlations.index(correlation)]
    ours, theirs = (findings.cube(p, WORST)[rows].mean(axis=0) for p in (DEFAULT, BASELINE))
    measured = np.isfinite(ours + theirs).all(axis=0)  # a seed whose test set is too small has no worst group
    ours, theirs = ours[:, measured], theirs[:, measured]
    if measured.sum() < 2:
        return None
    budgets = np.array(findings.budgets, dtype=float)
    most = int(budgets[-1])
    saved, target = _saved(ours.mean(axis=1), theirs.mean(axis=1), budgets)
    where = _where(findings.correlations if correlation is None else (correlation,))
    if (why := _unclaimed(theirs, budgets)) is not None:
        sentence = f"No saving of labels is claimed{where}: {why}."
        return Saving(most, target, None, None, None, False, sentence)
    draws = np.random.default_rng(0).integers(ours.shape[1], size=(_RESAMPLES, ours.shape[1]))
    found = np.array(
        [_saved(ours[:, draw].mean(axis=1), theirs[:, draw].mean(axis=1), budgets)[0] for draw in draws]
    )
    low, high = (float(x) for x in np.quantile(found, [0.025, 0.975]))
    at_least = saved >= float(budgets[-1] - budgets[0])
    claim = Saving(most, target, saved, low, high, at_least, "")
    return replace(claim, sentence=_sentence(claim, where, budgets[0]))


def _unclaimed(theirs: NDArray[np.float64], budgets: NDArray[np.float64]) -> str | None:
    """Say why no saving is claimed against the baseline's measures (budgets, seeds); None where one may be."""
    seeds = theirs.shape[1]
    if seeds < SEEDS_OF_A_SAVING:
        return f"that takes {SEEDS_OF_A_SAVING} seeds, and {seeds} measured the worst group"
    rise = estimate(theirs[-1] - theirs[0])
    if rise.above:
        return None
    return (
        f"{' + '.join(BASELINE)} is not shown to rise with labels, from {theirs[0].mean():.3f} with {budgets[0]:.0f} "
        f"to {theirs[-1].mean():.3f} with {budgets[-1]:.0f}: {rise.text()}"
    )


def _sentence(claim: Saving, where: str, fewest: float) -> str:
    """Say what is claimed; `fewest` labels is the smallest budget that was tried."""
    assert claim.low is not None
    reached = (
        f"the worst-group accuracy that {' + '.join(BASELINE)} has with {number_of(claim.budget, 'label')} "
        f"({claim.target:.3f}{where})"
    )
    ours, interval = " + ".join(DEFAULT), f"95 % interval {claim.low:.0f} to {claim.high:.0f}"
    if claim.low <= 0:
        return (
            f"For {reached}, {ours} saves no labels that these runs could show "
            f"(estimate {claim.saved:.0f}, {interval})."
        )
    least, bound = "", ""
    if claim.at_least:
        least = "at least "
        bound = f", and may save more: fewer than {number_of(int(fewest), 'label')} were not tried"
    of_all = number_of(claim.budget, "label")
    return f"For {reached}, {ours} saves {least}{claim.saved:.0f} of the {of_all} ({interval}{bound})."


def _saved(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], budgets: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the labels saved for what `theirs` reaches at the largest budget, and what that is."""
    curve, target = isotonic_regression(ours).x, float(isotonic_regression(theirs).x[-1])
    if not curve[-1] >= target:
        return 0.0, target
    first = int(np.argmax(curve >= target))
    if first == 0:
        return float(budgets[-1] - budgets[0]), target
    part = (target - curve[first - 1]) / (curve[first] - curve[first - 1])
    return float(budgets[-1] - (budgets[first - 1] + part * (budgets[first] - budgets[first - 1]))), target


def _where(correlations: Sequence[str]) -> str:
    if correlations == ("natural",):
        return ", on the natural pool"
    return (
        f", mean over correlations {', '.join(correlations)}"
        if len(correlations) > 1
        else f", at {correlations[0]}"
    )

"""What the sections of a report share: the pipelines that matter, their names and tones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdsel_backend.figures import Tone
from cdsel_backend.phrases import number_of
from cdsel_backend.simulate.plan import BASELINE, DEFAULT, ORACLE
from cdsel_backend.simulate.summary import WORST, Findings, Pipeline


@dataclass(frozen=True)
class Section:
    """One picture or several alike: what it shows, the pictures, how to read them."""

    title: str
    panels: Sequence[str]
    caption: str
    legend: str = ""


def label(pipeline: Pipeline) -> str:
    """Return the name of a pipeline; the oracle is marked as the bound it is."""
    return " + ".join(pipeline) + (" (bound)" if pipeline[0] == ORACLE else "")


def place_of(correlation: str) -> str:
    """Return what a correlation is called in a title."""
    return "natural pool" if correlation == "natural" else f"correlation {correlation}"


def spent(findings: Findings) -> str:
    """Return which budgets a pipeline's one number is of."""
    budgets = findings.budgets
    return "mean over the budgets" if len(budgets) > 1 else f"with {number_of(budgets[0], 'label')}"


def shown(findings: Findings) -> dict[Pipeline, Tone]:
    """Return the pipelines that matter to the reader, each with its tone."""
    wanted: list[tuple[Pipeline | None, Tone]] = [
        (DEFAULT if DEFAULT in findings.pipelines else findings.ranked()[0], "first"),
        (BASELINE if BASELINE in findings.pipelines else None, "second"),
        (findings.best_other("plain"), "third"),
        (findings.best_other(), "fourth"),
    ]
    found: dict[Pipeline, Tone] = {}
    for pipeline, tone in wanted:
        if pipeline is not None and pipeline not in found:
            found[pipeline] = tone
    bounds = [p for p in findings.pipelines if p[0] == ORACLE]
    if bounds:
        found[max(bounds, key=lambda p: findings.overall(p, WORST).mean)] = "bound"
    return found


def usable(findings: Findings) -> dict[Pipeline, Tone]:
    """Return those of `shown` that somebody can use: no bound."""
    return {pipeline: tone for pipeline, tone in shown(findings).items() if tone != "bound"}

"""The report: one HTML file with every picture in it, each titled by what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
from numpy.typing import NDArray

from cdsel_backend import figures
from cdsel_backend.phrases import number_of
from cdsel_backend.simulate import comparisons, measures
from cdsel_backend.simulate.outcome import Outcome
from cdsel_backend.simulate.plan import DEFAULT
from cdsel_backend.simulate.saving import SEEDS_OF_A_SAVING, Saving
from cdsel_backend.simulate.section import label
from cdsel_backend.simulate.summary import WORST, Findings
from cdsel_backend.simulate.worlds import MOST_NATURAL, MOST_RESAMPLED, TEST_SHARE
from cdsel_backend.training.evaluation import MIN_GROUP


@dataclass(frozen=True)
class Setting:
    """What was run on: names, sizes, and how it was asked for.

    `label`: the column of the labels; `classes`: what they can be, as people read it, `positive` among them; `levels`
    and `pools` by correlation: the confounder's levels, and the (classes, levels) counts of all pools; `run`: version,
    date, sizes and options, as people read them.
    """

    dataset: str
    label: str
    classes: Sequence[str]
    positive: str
    levels: Mapping[str, Sequence[str]]
    pools: Mapping[str, NDArray[np.int64]]
    run: Mapping[str, object]
    notes: Sequence[str]


def render(findings: Findings, saving: Saving | None, outcome: Outcome, setting: Setting) -> str:
    """Return the HTML."""
    sections = [
        comparisons.curves(findings),
        comparisons.paired(findings),
        comparisons.same_training(findings),
        comparisons.fine_tune(findings),
        comparisons.trade_off(findings),
        measures.groups(findings, outcome.groups, setting.label),
        measures.roc(findings, outcome.rankings, setting.positive),
        measures.calibration(findings, outcome.rankings, setting.positive),
        measures.numbers(findings),
        measures.tables(findings, outcome.tables, setting.classes, setting.levels, setting.pools),
        measures.seconds(findings),
    ]
    cells = len(findings.pipelines) * len(findings.correlations) * len(findings.budgets) * findings.seeds
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cdsel_backend.simulate"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        style=figures.STYLE,
        dataset=setting.dataset,
        counts=f"{number_of(len(findings.pipelines), 'pipeline')}, {number_of(findings.seeds, 'seed')}, "
        f"{number_of(cells, 'run')}",
        headline=headline(findings),
        answer=saving.sentence if saving else "",
        sections=[section for section in sections if section is not None],
        methods=_methods(findings),
        run=setting.run,
        notes=setting.notes,
    )


def headline(findings: Findings) -> str:
    """Say in one sentence where the default stands against the best other strategy, as far as the interval goes."""
    best, *rest = findings.ranked()
    other = findings.best_other()
    if DEFAULT not in findings.pipelines or other is None:
        second = f"; {_compared(findings, best, rest[0])}" if rest else ""
        mean = findings.overall(best, WORST).mean
        return f"{label(best)} has the highest mean in the worst group, {mean:.3f}{second}"
    plain = findings.best_other("plain")
    kind = "the best other strategy with a plain head" if plain else "the best other strategy"
    return f"In the worst group, {_compared(findings, DEFAULT, plain or other, kind)}"


def _compared(findings: Findings, a: tuple[str, str], b: tuple[str, str], kind: str = "") -> str:
    """Say whether `a` is above or below `b`, or that no difference was shown."""
    gap = findings.difference(a, b, WORST)
    named = f"{kind}, {label(b)}" if kind else label(b)
    interval = gap.text().partition(" ")[2]
    if gap.above or gap.below:
        verb = "above" if gap.above else "below"
        return f"{label(a)} is {abs(gap.mean):.3f} {verb} {named} {interval}"
    return f"no difference was shown between {label(a)} and {named}: {gap.text()}"


def _methods(findings: Findings) -> list[str]:
    """Say in whole sentences how the numbers came about."""
    each = "The one seed" if findings.seeds == 1 else f"Each of {findings.seeds} seeds"
    said = [
        f"{each} draws {TEST_SHARE:.0%} of the patients (or lesions) as a test set, which no "
        "pipeline selects from or trains on. The pool is made of the others: on the natural pool as they are (at most "
        f"{MOST_NATURAL:,} images), at a correlation rho resampled from two levels of the confounder so that the "
        f"positive label has share rho in the first and 1 - rho in the second (at most {MOST_RESAMPLED:,} images). "
        "The test set is never resampled. All pipelines see the same worlds.",
        "A pipeline is a strategy and a training. It starts without labels and spends its budget in rounds; the model "
        "of each round helps to choose the next, by the same functions as in a project. The last round's model is "
        "tested.",
        "Accuracies are on the test set. A group is a label within a level of the confounder; groups with fewer than "
        f"{MIN_GROUP} test images are left out of the worst group and of the mean over groups. AUROC is inside "
        "levels, averaged over them.",
        "Intervals are 95 %: of means and of paired differences over the seeds by Student's t, each for itself and "
        "not corrected for their number; of labels saved by a bootstrap over the seeds, with both curves made to rise "
        f"by isotonic regression, claimed from {SEEDS_OF_A_SAVING} seeds on and only where the baseline is shown to "
        "rise. Test sets of different seeds share images of the same table, so that intervals speak of this table and "
        "not of other hospitals.",
    ]
    if any(c != "natural" for c in findings.correlations):
        said.append(
            "A resampled pool shows what a pipeline does under that correlation, not how strong it is elsewhere."
        )
    return said

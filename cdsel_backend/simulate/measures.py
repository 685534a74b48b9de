"""Sections of the report on what models do: group by group, their ranking, calibration, all numbers, and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend import figures
from cdsel_backend.figures import Dots, Line, Tone
from cdsel_backend.simulate.outcome import Cell, GroupResult
from cdsel_backend.simulate.plan import DEFAULT, ORACLE
from cdsel_backend.simulate.ranking import RATES, Ranking
from cdsel_backend.simulate.section import Section, label, place_of, shown, usable
from cdsel_backend.simulate.summary import FAIR, WITHIN, WORST, Estimate, Findings, Pipeline, estimate
from cdsel_backend.training.evaluation import MIN_GROUP

Rows = Mapping[Pipeline, Sequence[GroupResult]]
"""Of one group: what each pipeline reached, by seed."""


def groups(findings: Findings, results: Sequence[GroupResult], column: str) -> Section | None:
    """Accuracy per group with n at the largest budget, and which groups are left out of the worst and the mean.

    `column`: that of the labels, whose values may say little by themselves.
    """
    budget, pipelines = findings.budgets[-1], usable(findings)
    found: dict[str, dict[str, dict[Pipeline, list[GroupResult]]]] = {}
    for result in results:
        if result.budget == budget and (result.strategy, result.training) in pipelines:
            rows = found.setdefault(result.correlation, {}).setdefault(f"{column} {result.group}", {})
            rows.setdefault((result.strategy, result.training), []).append(result)
    panels, out, lowest = [], [], []
    for correlation in findings.correlations:
        if correlation not in found:
            continue
        own = dict(sorted(found[correlation].items()))
        panels.append(_panel(own, pipelines, place_of(correlation)))
        out += _left_out(own, place_of(correlation))
        lowest.append(_lowest(own, next(iter(pipelines))))
    if not panels:
        return None
    left_out = (
        f"Left out of the worst group and of the mean, for fewer than {MIN_GROUP} test images: {'; '.join(out)}."
        if out
        else f"No group is left out: each has {MIN_GROUP} test images or more in every seed."
    )
    caption = (
        "A group is a label within a level of the confounder; n is its number of test images, from the smallest to "
        f"the largest over the seeds. Dots are means over the seeds with {budget} labels, lines their 95 % intervals. "
        "The worst group of the other figures is the worst of each seed, of those that are not left out there. "
    )
    first = next(iter(pipelines))
    title = f"Lowest accuracy of a group under {label(first)}, {budget} labels: {'; '.join(dict.fromkeys(lowest))}"
    return Section(
        title, panels, caption + left_out, figures.legend([(label(p), tone) for p, tone in pipelines.items()])
    )


def _panel(own: Mapping[str, Rows], pipelines: Mapping[Pipeline, Tone], title: str) -> str:
    """Draw the accuracy of each group under each pipeline."""
    marks = []
    for pipeline, tone in pipelines.items():
        values = [_accuracy(rows, pipeline) for rows in own.values()]
        low, high = [v.low for v in values], [v.high for v in values]
        marks.append(Dots(label(pipeline), [v.mean for v in values], low, high, tone))
    names = []
    for name, rows in own.items():
        seeds = next(iter(rows.values()))
        judged = any(result.judged for result in seeds)
        names.append(f"{name} (n {_range([result.n for result in seeds])}){'' if judged else ', left out'}")
    return figures.dots(names, marks, x_label="accuracy", title=title)


def _left_out(own: Mapping[str, Rows], place: str) -> list[str]:
    """Return the groups that are not judged in every seed, and in how many not."""
    out = []
    for name, rows in own.items():
        seeds = next(iter(rows.values()))
        if missing := sum(not result.judged for result in seeds):
            out.append(f"{name} in {missing} of {len(seeds)} seeds ({place})")
    return out


def _lowest(own: Mapping[str, Rows], pipeline: Pipeline) -> str:
    """Return the worst group under a pipeline with its accuracy: of those judged in some seed, else of all."""
    judged = [name for name, rows in own.items() if any(row.judged for row in next(iter(rows.values())))]
    means = {name: _accuracy(own[name], pipeline) for name in judged or own}
    worst = min(means, key=lambda name: means[name].mean if np.isfinite(means[name].mean) else 2.0)
    return f"{worst} {means[worst].text('')}"


def _accuracy(rows: Rows, pipeline: Pipeline) -> Estimate:
    """Return the mean accuracy of a group over the seeds."""
    return estimate(np.array([result.accuracy for result in rows.get(pipeline, [])])).as_share()


def roc(findings: Findings, rankings: Mapping[Cell, Sequence[Ranking]], positive: str) -> Section | None:
    """Receiver operating characteristics inside the levels, at the largest budget."""
    budget, pipelines, panels = findings.budgets[-1], usable(findings), []
    for correlation in findings.correlations:
        drawn = [Line("chance", [0, 1], [0, 1], tone="bound")]
        for pipeline, tone in pipelines.items():
            rates = [ranking.roc for ranking in rankings.get((*pipeline, correlation, budget), ())]
            marks = [estimate(column) for column in np.array(rates).reshape(-1, len(RATES)).T]
            if marks and np.isfinite([m.mean for m in marks]).any():
                low, high = np.clip([[m.low for m in marks], [m.high for m in marks]], 0, 1)
                drawn.append(Line(label(pipeline), RATES, [m.mean for m in marks], low, high, tone))
        if len(drawn) > 1:
            panels.append(
                figures.lines(
                    drawn, x_label="false positive rate", y_label="true positive rate",
                    title=place_of(correlation), marks=False,
                )
            )  # fmt: skip
    if not panels:
        return None
    areas = [f"{label(p)} {findings.overall(p, WITHIN, budget=budget).text('')}" for p in pipelines]
    caption = (
        f"{positive} against the rest with {budget} labels, inside each level of the confounder and averaged over the "
        "levels, so that knowing the level is worth nothing; vertical averages over the seeds with their 95 % "
        "intervals. The areas in the title are means over the seeds and the correlations."
    )
    return Section(
        f"AUROC inside the levels: {', '.join(areas)}", panels, caption,
        figures.legend([(label(p), tone) for p, tone in pipelines.items()]),
    )  # fmt: skip


def calibration(
    findings: Findings, rankings: Mapping[Cell, Sequence[Ranking]], positive: str
) -> Section | None:
    """Reliability diagrams at the largest budget."""
    budget, pipelines, panels = findings.budgets[-1], usable(findings), []
    for correlation in findings.correlations:
        drawn = [Line("as predicted", [0, 1], [0, 1], tone="bound")]
        for pipeline, tone in pipelines.items():
            found = rankings.get((*pipeline, correlation, budget), ())
            if not found:
                continue
            total = np.sum([ranking.bins for ranking in found], axis=0)
            used = total[:, 0] >= 0.01 * total[:, 0].sum()  # what a hundredth of the weight says is chance
            weight, predicted, observed = total[used].T
            drawn.append(Line(label(pipeline), predicted / weight, observed / weight, tone=tone))
        if len(drawn) > 1:
            panels.append(
                figures.lines(
                    drawn, x_label=f"predicted probability of {positive}", y_label=f"share of {positive}",
                    title=place_of(correlation),
                )
            )  # fmt: skip
    if not panels:
        return None
    errors = [
        f"{label(p)} {findings.overall(p, 'calibration_error', budget=budget).text('')}" for p in pipelines
    ]
    caption = (
        f"Test images with {budget} labels in ten bins of predicted probability, all seeds together, every group (a "
        "label within a level) weighing the same: that is what the probabilities of a head hold for. On the dashed "
        "line they are right; below it too high. Bins with less than a hundredth of the weight are not drawn. The "
        "error in the title is the expected calibration error of the likeliest class, over the correlations."
    )
    return Section(
        f"Calibration error: {', '.join(errors)}", panels, caption,
        figures.legend([(label(p), tone) for p, tone in pipelines.items()]),
    )  # fmt: skip


def _range(sizes: Sequence[int]) -> str:
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)}–{max(sizes)}"


def numbers(findings: Findings) -> Section:
    """Every mean as a table."""
    rows = findings.ranked() + [p for p in findings.pipelines if p[0] == ORACLE]
    cells = [(c, b) for c in findings.correlations for b in findings.budgets]
    worst, fair = (_means(findings, rows, metric) for metric in (WORST, FAIR))
    names = [label(p) for p in rows]
    columns = [f"{c if c == 'natural' else f'ρ {c}'} · {b}" for c, b in cells]
    bounds = [i for i, p in enumerate(rows) if p[0] == ORACLE]
    panels = [
        figures.heat_table(worst, names, columns, corner="worst-group accuracy", bounds=bounds),
        "<details><summary>The same table for group-balanced accuracy</summary>"
        + figures.heat_table(fair, names, columns, corner="group-balanced accuracy", bounds=bounds)
        + "</details>",
    ]
    best, *others = findings.ranked()
    lower = sum(findings.difference(best, p, WORST).above for p in others)
    caption = (
        "Means over the seeds; a column is a correlation and a number of labels. Darker is better, the highest usable "
        "value of a column is underlined. Italic rows are bounds. Every number stands in results.csv and summary.json."
    )
    title = (
        f"All pipelines in figures: {label(best)} has the highest mean, "
        f"{findings.overall(best, WORST).text('')}, and is shown above {lower} of {len(others)} others"
    )
    return Section(title, ["".join(panels)], caption)


def _means(findings: Findings, rows: Sequence[Pipeline], metric: str) -> list[list[float]]:
    """Return for each pipeline the means over the seeds, by correlation and number of labels."""
    return [
        [
            estimate(findings.cube(pipeline, metric)[i, j]).mean
            for i in range(len(findings.correlations))
            for j in range(len(findings.budgets))
        ]
        for pipeline in rows
    ]


def tables(
    findings: Findings,
    counts: Mapping[Cell, NDArray[np.int64]],
    classes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    pools: Mapping[str, NDArray[np.int64]],
) -> Section | None:
    """The label x level tables at the strongest correlation and the middle budget."""
    numbers = [c for c in findings.correlations if c != "natural"]
    correlation = max(numbers, key=float) if numbers else findings.correlations[0]
    budget = findings.budgets[len(findings.budgets) // 2]
    wanted = [p for p in shown(findings) if (p[0], p[1], correlation, budget) in counts]
    if not wanted:
        return None
    rows, columns = list(classes), list(levels[correlation])
    panels = [figures.mosaic(pools[correlation], rows, columns, title="the pool")]
    smallest = {}
    for pipeline in {p[0]: p for p in reversed(wanted)}.values():
        table = counts[pipeline[0], pipeline[1], correlation, budget]
        smallest[pipeline[0]] = float(table.min() / max(table.sum(), 1))
        name = pipeline[0] + (" (bound)" if pipeline[0] == ORACLE else "")
        panels.append(figures.mosaic(table, rows, columns, title=f"{name}, {budget} labels"))
    pool = float(pools[correlation].min() / max(pools[correlation].sum(), 1))
    said = ", ".join(f"{name} {share:.1%}" for name, share in smallest.items())
    caption = (
        "Each column is a level of the confounder, as wide as its share; its parts are the labels. The more alike the "
        "columns, the less the selected labels depend on the confounder. Sums over the seeds, "
        f"{place_of(correlation)}; {rows[0]} lies at the bottom. A table is a diagnosis, never a proof."
    )
    title = f"The rarest group's share of what is labelled: {said}; of the pool {pool:.1%}"
    return Section(title, panels, caption, figures.row_legend(rows))


def seconds(findings: Findings) -> Section:
    """What choosing costs."""
    budget = findings.budgets[-1]
    training = DEFAULT[1] if any(t == DEFAULT[1] for _, t in findings.pipelines) else findings.pipelines[0][1]
    spent = {
        p[0]: estimate(findings.cube(p, "seconds")[:, -1].ravel()).mean
        for p in findings.pipelines
        if p[1] == training and p[0] != ORACLE
    }
    order = sorted(spent, key=lambda name: spent[name])
    first = DEFAULT[0] if DEFAULT[0] in spent else order[0]
    title = f"{first} takes {spent[first]:.2g} s to choose {budget} images, in the mean"
    picture = figures.bars(
        order,
        [max(spent[n], 1e-4) for n in order],
        tones=["first" if n == DEFAULT[0] else "other" for n in order],
        x_label="seconds, log scale",
        log=True,
    )
    caption = (
        f"Mean seconds of selection for {budget} labels in all rounds, one processor thread, without the training "
        f"between the rounds (trained {training}). Each step to the right is ten times longer."
    )
    return Section(title, [picture], caption)

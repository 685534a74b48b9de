"""The report: one HTML file with every picture in it, each titled by what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from cdsel_backend import figures
from cdsel_backend.figures import Line, Point, Tone
from cdsel_backend.simulate.runner import BASELINE, DEFAULT, ORACLE, TUNED
from cdsel_backend.simulate.summary import FAIR, WITHIN, WORST, Findings, Pipeline, Saving, estimate
from cdsel_backend.training.finetune import ENOUGH_LABELS

Tables = Mapping[tuple[str, str, str, int], NDArray[np.int64]]


@dataclass(frozen=True)
class Section:
    """One picture or several alike: what it shows, the pictures, how to read them."""

    title: str
    panels: Sequence[str]
    words: str
    legend: str = ""


def render(
    findings: Findings,
    saving: Saving | None,
    tables: Tables,
    *,
    dataset: str,
    classes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    pools: Mapping[str, NDArray[np.int64]],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> str:
    """Return the HTML. `pools` holds each correlation's (classes, levels) counts in the pools, `levels` the names."""
    sections = [_curves(findings), _same_training(findings), _fine_tune(findings), _trade_off(findings)]
    sections.append(_numbers(findings))
    sections += [_tables(findings, tables, classes, levels, pools), _seconds(findings)]
    cells = len(findings.pipelines) * len(findings.correlations) * len(findings.budgets) * findings.seeds
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cdsel_backend.simulate"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        style=figures.STYLE,
        dataset=dataset,
        counts=f"{len(findings.pipelines)} pipelines, {findings.seeds} seeds, {cells:,} runs",
        headline=headline(findings),
        answer=saving.words if saving else "",
        sections=[section for section in sections if section is not None],
        settings=settings,
        notes=notes,
    )


def headline(findings: Findings) -> str:
    """Say in one sentence where the default stands against the best other strategy."""
    best = findings.ranked()[0]
    other = findings.best_other()
    if DEFAULT not in findings.pipelines or other is None:
        return f"{label(best)} is best in the worst group: {findings.overall(best, WORST).mean:.3f}"
    plain = findings.best_other("plain")
    against = plain or other
    gap = findings.difference(DEFAULT, against, WORST)
    verb = "above" if gap.mean >= 0 else "below"
    sure = "" if not np.isfinite(gap.low) or gap.low > 0 or gap.high < 0 else "; the interval includes zero"
    interval = f" ({gap.low:+.3f} to {gap.high:+.3f})" if np.isfinite(gap.low) else ""
    return (
        f"In the worst group, {label(DEFAULT)} is {abs(gap.mean):.3f} {verb} the best other strategy"
        f"{' with a plain head' if plain else ''}, {label(against)}{interval}{sure}"
    )


def label(pipeline: Pipeline) -> str:
    """Return the name of a pipeline; the oracle is marked as the bound it is."""
    return " + ".join(pipeline) + (" (bound)" if pipeline[0] == ORACLE else "")


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


def _place(correlation: str) -> str:
    return "natural pool" if correlation == "natural" else f"correlation {correlation}"


def _curves(findings: Findings) -> Section:
    tones = shown(findings)
    panels = []
    wins = []
    for i, correlation in enumerate(findings.correlations):
        curves = []
        for pipeline in findings.pipelines:
            marks = [estimate(seeds) for seeds in findings.cube(pipeline, WORST)[i]]
            low, high = np.clip([[m.low for m in marks], [m.high for m in marks]], 0, 1)
            tone = tones.get(pipeline, "other")
            if pipeline[0] == ORACLE and tone == "other":
                continue
            y = [m.mean for m in marks]
            if np.isfinite(y).any():
                curves.append(Line(label(pipeline), findings.budgets, y, low, high, tone))
        if curves:
            panels.append(
                figures.lines(
                    curves, x_label="labels", y_label="worst-group accuracy", title=_place(correlation)
                )
            )
        if findings.ranked(WORST, correlation)[0] == DEFAULT:
            wins.append(correlation)
    if DEFAULT not in findings.pipelines:
        title = f"{label(findings.ranked()[0])} holds the worst group best"
    elif len(wins) == len(findings.correlations):
        title = f"{label(DEFAULT)} holds the worst group best at every correlation tried"
    elif wins:
        title = (
            f"{label(DEFAULT)} holds the worst group best at {', '.join(map(_place, wins))}, not elsewhere"
        )
    else:
        title = f"{label(findings.ranked()[0])} holds the worst group better than {label(DEFAULT)}"
    words = (
        "Each line is one way to choose images and to train on them. Higher is better: it is the accuracy in the "
        "worst of the groups (a label within a level of the confounder). The shade is the 95 % interval over the "
        "seeds; grey lines are all other pipelines, named when pointed at. A dashed line draws the groups equally by "
        "reading labels nobody has yet: a bound, not a strategy."
    )
    return Section(title, panels, words, figures.legend([(label(p), tone) for p, tone in tones.items()]))


def _same_training(findings: Findings) -> Section | None:
    trainings = list(dict.fromkeys(t for _, t in findings.pipelines))
    strategies = list(dict.fromkeys(s for s, _ in findings.pipelines))
    if BASELINE[0] not in strategies or len(strategies) < 2:
        return None
    panels, lead = [], []
    for training in trainings:
        base = (BASELINE[0], training)
        others = [(s, training) for s in strategies if s != BASELINE[0]]
        gaps = {p: findings.difference(p, base, WORST) for p in others if p in findings.pipelines}
        order = sorted((p for p in gaps if np.isfinite(gaps[p].mean)), key=lambda p: -gaps[p].mean)
        if not order or base not in findings.pipelines:
            continue
        best = next((p for p in order if p[0] != ORACLE), order[0])
        lead.append(f"{best[0]} ({training})")
        panels.append(
            f'<h3 style="font-size:1em;margin:.4em 0">trained {training}</h3>'
            + figures.bars(
                [p[0] + (" (bound)" if p[0] == ORACLE else "") for p in order],
                [gaps[p].mean for p in order],
                [gaps[p].low for p in order],
                [gaps[p].high for p in order],
                tones=[_tone(p[0]) for p in order],
                x_label="worst-group accuracy above random",
                title=f"Selection alone, trained {training}",
            )
        )
    words = (
        "The training is the same for all bars of a panel, so that only the choice of images differs. A bar is the "
        "mean difference to random in the same worlds, over all correlations and budgets; the whisker is its 95 % "
        "interval. A whisker that crosses zero: no difference was shown."
    )
    return (
        Section(f"Selection alone: best under each training is {', '.join(lead)}", panels, words)
        if panels
        else None
    )


def _fine_tune(findings: Findings) -> Section | None:
    names = [name for name in TUNED if (DEFAULT[0], name) in findings.pipelines]
    if not names or DEFAULT not in findings.pipelines:
        return None
    panels, lead = [], []
    for metric, words in ((WORST, "worst-group accuracy"), (WITHIN, "AUROC within the groups")):
        gaps = {
            f"{name}, {budget} labels": findings.difference(
                (DEFAULT[0], name), DEFAULT, metric, budget=budget
            )
            for name in names
            for budget in findings.budgets
        }
        if metric == WORST:
            ahead = zip(findings.budgets, gaps.values(), strict=False)  # of the first of `names`
            lead = [f"{g.mean:+.3f} ({g.low:+.3f} to {g.high:+.3f}) with {n} labels" for n, g in ahead]
        values = list(gaps.values())
        panels.append(
            figures.bars(
                list(gaps),
                [gap.mean for gap in values],
                [gap.low for gap in values],
                [gap.high for gap in values],
                x_label=f"{words} above the head's",
                title=f"Fine-tune against head: {words}",
            )
        )
    words = (
        f"Both learn from the labels that {label(DEFAULT)} bought, over all correlations. backbone: the last stage "
        "of the network learns, too, and the mean of its answer and the head's counts. auto: as a project's automatic "
        "mode with a GPU, the fine-tune unless it ranks labels not seen worse than the head alone, from "
        f"{ENOUGH_LABELS} labels on. A whisker is a 95 % interval; one that crosses zero shows no difference."
    )
    return Section(f"Worst group, {names[0]} against the head: {', '.join(lead)}", panels, words)


def _tone(strategy: str) -> Tone:
    return "bound" if strategy == ORACLE else "first" if strategy == DEFAULT[0] else "other"


def _trade_off(findings: Findings) -> Section:
    tones = shown(findings)
    strengths = findings.strengths()
    panels, on_front = [], []
    for correlation in findings.correlations:
        points = [
            _point(findings, p, correlation, tones.get(p, "other"), label(p))
            for p in findings.pipelines
            if p[0] != ORACLE
        ]
        usable = [p for p in points if np.isfinite([p.x, p.y]).all()]
        if not usable:
            continue
        curve = []
        for name in strengths:
            value = name.partition("=")[2]
            marked = _point(findings, (DEFAULT[0], name), correlation, "first", f"strength {value}")
            curve.append(Point(value, marked.x, marked.y, "first", labelled=True))
        front = figures.pareto(np.array([[p.x, p.y] for p in usable]))
        on_front += [usable[i].name for i in front]
        panels.append(
            figures.scatter(
                usable,
                x_label="group-balanced accuracy",
                y_label="worst-group accuracy",
                title=_place(correlation),
                path=curve,
            )
        )
    always = [name for name in dict.fromkeys(on_front) if on_front.count(name) == len(panels)]
    title = (
        f"On the front at every correlation: {', '.join(always)}"
        if always
        else "No pipeline is on the front at every correlation"
    )
    words = (
        "Up is better for the worst group, right is better for the groups on average; every mark is one pipeline, its "
        "mean over the budgets. The dotted steps join the marks that no other beats in both (the Pareto front)."
    )
    if strengths:
        words += (
            f" The blue curve is one setting, the strength: {DEFAULT[0]} with its labels, trained as if the confounder "
            "were not known (0) up to wholly de-confounded (1)."
        )
    return Section(
        title, panels, words, figures.legend([(label(p), t) for p, t in tones.items() if t != "bound"])
    )


def _point(findings: Findings, pipeline: Pipeline, correlation: str, tone: Tone, name: str) -> Point:
    x, y = (findings.overall(pipeline, metric, correlation).mean for metric in (FAIR, WORST))
    return Point(name, x, y, tone)


def _numbers(findings: Findings) -> Section:
    rows = findings.ranked() + [p for p in findings.pipelines if p[0] == ORACLE]
    cells = [(c, b) for c in findings.correlations for b in findings.budgets]
    values = [
        [
            estimate(findings.cube(p, WORST)[i, j]).mean
            for i in range(len(findings.correlations))
            for j in range(len(findings.budgets))
        ]
        for p in rows
    ]
    fair = [
        [
            estimate(findings.cube(p, FAIR)[i, j]).mean
            for i in range(len(findings.correlations))
            for j in range(len(findings.budgets))
        ]
        for p in rows
    ]
    names = [label(p) for p in rows]
    columns = [f"{c if c == 'natural' else f'ρ {c}'} · {b}" for c, b in cells]
    bounds = [i for i, p in enumerate(rows) if p[0] == ORACLE]
    panels = [
        figures.heat_table(values, names, columns, corner="worst-group accuracy", bounds=bounds),
        "<details><summary>The same table for group-balanced accuracy</summary>"
        + figures.heat_table(fair, names, columns, corner="group-balanced accuracy", bounds=bounds)
        + "</details>",
    ]
    best = findings.ranked()[0]
    words = (
        "Means over the seeds; a column is a correlation and a number of labels. Darker is better, the best usable "
        "value of a column is underlined. Italic rows are bounds. Every number stands in results.csv and summary.json."
    )
    title = (
        f"All pipelines in figures: {label(best)} has the best mean, {findings.overall(best, WORST).mean:.3f}"
    )
    return Section(title, ["".join(panels)], words)


def _tables(
    findings: Findings,
    tables: Tables,
    classes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    pools: Mapping[str, NDArray[np.int64]],
) -> Section | None:
    """The label x level tables at the strongest correlation and the middle budget."""
    numbers = [c for c in findings.correlations if c != "natural"]
    correlation = max(numbers, key=float) if numbers else findings.correlations[0]
    budget = findings.budgets[len(findings.budgets) // 2]
    wanted = [p for p in shown(findings) if (p[0], p[1], correlation, budget) in tables]
    if not wanted:
        return None
    rows, columns = list(classes), list(levels[correlation])
    panels = [figures.mosaic(pools[correlation], rows, columns, title="the pool")]
    smallest = {}
    for pipeline in {p[0]: p for p in reversed(wanted)}.values():
        table = tables[pipeline[0], pipeline[1], correlation, budget]
        smallest[pipeline[0]] = float(table.min() / max(table.sum(), 1))
        name = pipeline[0] + (" (bound)" if pipeline[0] == ORACLE else "")
        panels.append(figures.mosaic(table, rows, columns, title=f"{name}, {budget} labels"))
    pool = float(pools[correlation].min() / max(pools[correlation].sum(), 1))
    said = ", ".join(f"{name} {share:.1%}" for name, share in smallest.items())
    words = (
        "Each column is a level of the confounder, as wide as its share; its parts are the labels. The more alike the "
        "columns, the less the selected labels depend on the confounder. Sums over the seeds, "
        f"{_place(correlation)}; {rows[0]} lies at the bottom. A table is a diagnosis, never a proof."
    )
    title = f"The rarest group's share of what is labelled: {said}; of the pool {pool:.1%}"
    return Section(title, panels, words, figures.row_legend(rows))


def _seconds(findings: Findings) -> Section:
    budget = findings.budgets[-1]
    training = DEFAULT[1] if any(t == DEFAULT[1] for _, t in findings.pipelines) else findings.pipelines[0][1]
    spent = {
        p[0]: estimate(findings.cube(p, "seconds")[:, -1].ravel()).mean
        for p in findings.pipelines
        if p[1] == training and p[0] != ORACLE
    }
    order = sorted(spent, key=lambda name: spent[name])
    ours = spent.get(DEFAULT[0])
    title = (
        f"{DEFAULT[0]} takes {ours:.2g} s to choose {budget} images"
        if ours is not None
        else f"{order[0]} is the fastest to choose {budget} images"
    )
    picture = figures.bars(
        order,
        [max(spent[n], 1e-4) for n in order],
        tones=[_tone(n) for n in order],
        x_label="seconds, log scale",
        log=True,
    )
    words = (
        f"Seconds of selection for {budget} labels in all rounds together, one processor thread, without the training "
        f"between the rounds (trained {training}). Each step to the right is ten times longer."
    )
    return Section(title, [picture], words)

"""Sections of the report that compare pipelines. Their titles claim what an interval excludes, and no more."""

from __future__ import annotations

import numpy as np

from cdsel_backend import figures
from cdsel_backend.figures import Line, Point, Tone
from cdsel_backend.phrases import listed
from cdsel_backend.simulate.plan import BASELINE, DEFAULT, ORACLE, TUNED
from cdsel_backend.simulate.section import Section, label, place_of, shown, spent, usable
from cdsel_backend.simulate.summary import FAIR, WITHIN, WORST, Findings, Pipeline, estimate
from cdsel_backend.training.tuned_model import ENOUGH_LABELS


def curves(findings: Findings) -> Section:
    """Worst-group accuracy against labels."""
    tones = shown(findings)
    panels = []
    for i, correlation in enumerate(findings.correlations):
        drawn = []
        for pipeline in findings.pipelines:
            marks = [estimate(seeds).as_share() for seeds in findings.cube(pipeline, WORST)[i]]
            low, high = np.clip([[m.low for m in marks], [m.high for m in marks]], 0, 1)
            tone = tones.get(pipeline, "other")
            if pipeline[0] == ORACLE and tone == "other":
                continue
            y = [m.mean for m in marks]
            if np.isfinite(y).any():
                drawn.append(Line(label(pipeline), findings.budgets, y, low, high, tone))
        if drawn:
            panels.append(
                figures.lines(
                    drawn, x_label="labels", y_label="worst-group accuracy", title=place_of(correlation)
                )
            )
    caption = (
        "Each line is one way to choose images and to train on them. Higher is better: it is the accuracy in the "
        "worst of the groups (a label within a level of the confounder). The shade is the 95 % interval over the "
        "seeds; grey lines are all other pipelines, named when pointed at. A dashed line draws the groups equally by "
        "reading labels nobody has yet: a bound, not a strategy."
    )
    return Section(
        _worst_group_claim(findings),
        panels,
        caption,
        figures.legend([(label(p), tone) for p, tone in tones.items()]),
    )


def _worst_group_claim(findings: Findings) -> str:
    """Say where the default is above every other pipeline, as far as the intervals of paired differences go."""
    if DEFAULT not in findings.pipelines:
        best = findings.ranked()[0]
        return (
            f"{label(best)} has the highest mean in the worst group, {findings.overall(best, WORST).text('')}"
        )
    others = [p for p in findings.ranked() if p != DEFAULT]
    if not others:
        return f"Worst-group accuracy of {label(DEFAULT)}: {findings.overall(DEFAULT, WORST).text('')}"
    gaps = {c: {p: findings.difference(DEFAULT, p, WORST, c) for p in others} for c in findings.correlations}
    wins = [place_of(c) for c, found in gaps.items() if all(gap.above for gap in found.values())]
    if len(wins) == len(gaps):
        return f"{label(DEFAULT)} is above every other pipeline in the worst group ({listed(wins)})"
    every = [gap for found in gaps.values() for gap in found.values()]
    above, below = sum(gap.above for gap in every), sum(gap.below for gap in every)
    where = f"; above all of them: {listed(wins)}" if wins else ""
    return (
        f"In the worst group {label(DEFAULT)} is above another pipeline in {above} of {len(every)} comparisons, below "
        f"in {below}, and not told apart in {len(every) - above - below}{where}"
    )


def same_training(findings: Findings) -> Section | None:
    """Each strategy against random, the training being the same."""
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
        best = next((p for p in order if p[0] != ORACLE and gaps[p].above), None)
        lead.append(
            f"{best[0]} {gaps[best].text()} trained {training}" if best else f"none trained {training}"
        )
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
    caption = (
        "The training is the same for all bars of a panel, so that only the choice of images differs. A bar is the "
        "mean difference to random in the same worlds, over all correlations and budgets; the whisker is its 95 % "
        "interval, for each bar by itself. A whisker that crosses zero: no difference was shown. The title names the "
        "highest bar whose whisker lies above zero, which need not be above the others."
    )
    if not panels:
        return None
    if all(text.startswith("none") for text in lead):
        return Section("Selection alone: no strategy was shown to be above random", panels, caption)
    return Section(f"Selection alone, shown above random: {', '.join(lead)}", panels, caption)


def paired(findings: Findings) -> Section | None:
    """The default's difference to others in the same worlds, seed by seed."""
    others = [p for p in usable(findings) if p != DEFAULT]
    if DEFAULT not in findings.pipelines or not others:
        return None
    panels = []
    for other in others:
        cells = [(c, b) for c in findings.correlations for b in findings.budgets]
        gaps = [findings.difference(DEFAULT, other, WORST, c, b) for c, b in cells]
        single = [
            findings.by_seed(DEFAULT, WORST, c, b) - findings.by_seed(other, WORST, c, b) for c, b in cells
        ]
        if not np.isfinite(single).any():
            continue
        marks = figures.Dots(
            "mean", [g.mean for g in gaps], [g.low for g in gaps], [g.high for g in gaps], "first", single
        )
        names = [f"{place_of(c)}, {b} labels" for c, b in cells]
        title = f"minus {label(other)}"
        panels.append(figures.dots(names, [marks], x_label="worst-group accuracy", reference=0, title=title))
    if not panels:
        return None
    counted = [
        f"{int((gap > 0).sum())} of {int(np.isfinite(gap).sum())} seeds above {label(other)}"
        for other in others
        if np.isfinite(gap := findings.by_seed(DEFAULT, WORST) - findings.by_seed(other, WORST)).any()
    ]
    caption = (
        f"Every pale dot is one seed: {label(DEFAULT)} less the other pipeline in the same world, with the same test "
        "images. The large dot is their mean, the line its 95 % interval (Student's t). The others shown are random + "
        "plain and those with the highest means, picked after the fact, which favours them."
    )
    return Section(f"Differences seed by seed: {', '.join(counted)}", panels, caption)


def fine_tune(findings: Findings) -> Section | None:
    """The fine-tune of the backbone against the head, on the same labels."""
    names = [name for name in TUNED if (DEFAULT[0], name) in findings.pipelines]
    if not names or DEFAULT not in findings.pipelines:
        return None
    panels, lead = [], []
    for metric, measure in ((WORST, "worst-group accuracy"), (WITHIN, "AUROC within the groups")):
        gaps = {
            f"{name}, {budget} labels": findings.difference(
                (DEFAULT[0], name), DEFAULT, metric, budget=budget
            )
            for name in names
            for budget in findings.budgets
        }
        if metric == WORST:
            ahead = zip(findings.budgets, gaps.values(), strict=False)  # of the first of `names`
            lead = [f"{gap.text()} with {n} labels" for n, gap in ahead]
        values = list(gaps.values())
        panels.append(
            figures.bars(
                list(gaps),
                [gap.mean for gap in values],
                [gap.low for gap in values],
                [gap.high for gap in values],
                x_label=f"{measure} above the head's",
                title=f"Fine-tune against head: {measure}",
            )
        )
    caption = (
        f"Both learn from the labels that {label(DEFAULT)} bought, over all correlations. backbone: the last stage of "
        "the network learns, too, and the mean of its answer and the head's counts. auto: as a project's automatic "
        "mode with a GPU, the fine-tune unless it ranks labels not seen worse than the head alone, from "
        f"{ENOUGH_LABELS} labels on. A whisker is a 95 % interval; one that crosses zero shows no difference."
    )
    return Section(f"Worst group, {names[0]} against the head: {', '.join(lead)}", panels, caption)


def _tone(strategy: str) -> Tone:
    return "bound" if strategy == ORACLE else "first" if strategy == DEFAULT[0] else "other"


def trade_off(findings: Findings) -> Section | None:
    """The worst group against the mean over the groups, and what the strength does to both."""
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
                title=place_of(correlation),
                path=curve,
            )
        )
    if not panels:
        return None
    always = [name for name in dict.fromkeys(on_front) if on_front.count(name) == len(panels)]
    tried = listed([place_of(c) for c in findings.correlations])
    title = f"Means that no other pipeline beats in both ({tried}): {', '.join(always) or 'of no pipeline throughout'}"
    caption = (
        "Up is better for the worst group, right is better for the groups on average; every mark is one pipeline "
        f"({spent(findings)}), without its interval. The dotted steps join the marks that no other beats in both "
        "(the Pareto front)."
    )
    if strengths:
        caption += (
            f" The blue curve is one setting, the strength: {DEFAULT[0]} with its labels, trained as if the "
            "confounder were not known (0) up to wholly de-confounded (1)."
        )
    return Section(
        title, panels, caption, figures.legend([(label(p), t) for p, t in tones.items() if t != "bound"])
    )


def _point(findings: Findings, pipeline: Pipeline, correlation: str, tone: Tone, name: str) -> Point:
    x, y = (findings.overall(pipeline, metric, correlation).mean for metric in (FAIR, WORST))
    return Point(name, x, y, tone)

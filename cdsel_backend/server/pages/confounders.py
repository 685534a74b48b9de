"""The confounder report: how strong, why, and what the queue does about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import render_template, request
from markupsafe import Markup
from numpy.typing import NDArray

from cdsel_backend import figures
from cdsel_backend.confounders import Finding, Report, Verdict, cramers_v, labels_by_level, with_rare_classes
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.server.pages.blueprint import pages, read_state, status_of
from cdsel_backend.server.service import Service
from cdsel_backend.store import State

EXAMPLES, EXAMPLE_LEVELS = 6, 4  # images of a level, and levels
LEVELS = 8  # of a mosaic; the rest is "others"
CLASSES, COLOURS = 8, 6  # likewise; of more classes as many are drawn as there are colours
SHOWN = 20  # variables in the table of verdicts, of which the others are folded, and in the figures
LEAST = 5  # labels of a level from which its other images are estimated
UNKNOWN = "not known yet"


@pages.get("/projects/<int:pool_project>/confounders")
def confounders(pool_project: int) -> str:
    """Every variable with its verdict, and one of them across pool, queue and labels."""
    state = read_state(pool_project)
    report = Report.from_json(state.project.report)
    measured = measured_of(report)
    drawn = [finding for finding in measured if finding.acts or not finding.from_file]
    names = [finding.variable for finding in measured]
    acting = [finding for finding in measured if finding.acts]
    chosen = request.args.get("variable") or next((finding.variable for finding in (*acting, *measured)), "")
    return render_template(
        "confounders.html",
        state=state,
        status=status_of(state),
        report=report,
        measured=measured,
        verdicts=tuple(Verdict),
        strengths=strengths(drawn[:SHOWN]),
        plane=plane(drawn[:SHOWN]),
        drawn=len(drawn),
        shown=SHOWN,
        chosen=chosen,
        mosaics=mosaics(state, chosen) if chosen in names else None,
        acting=report.confounders,
        examples=examples(state, chosen) if chosen in names else [],
    )


def examples(state: State, variable: str) -> list[tuple[str, list[int]]]:
    """The first images of each of the commonest levels of a variable: level -> items."""
    table = Service.current().tables.table(state)
    column = table.column(variable)
    if column is None or not len(table):
        return []
    sizes = np.bincount(column.codes, minlength=len(column.levels))
    commonest = np.argsort(-sizes, kind="stable")[:EXAMPLE_LEVELS]
    return [
        (column.levels[code], table.ids[np.flatnonzero(column.codes == code)[:EXAMPLES]].tolist())
        for code in commonest.tolist()
        if sizes[code]
    ]


def measured_of(report: Report) -> list[Finding]:
    """The variables that can be shown against images and labels: not those left out unseen."""
    return [
        finding
        for finding in report.findings
        if finding.encoded is not None or finding.associated is not None
    ]


def strengths(findings: list[Finding]) -> tuple[Markup, Markup | None, Markup] | None:
    """Bars: encoded over all images, encoded among images of one label (None before labels), associated."""
    if not findings:
        return None
    tones = ["second" if finding.acts else "other" for finding in findings]

    def picture(measure: str, **words: Any) -> Markup:
        intervals = [getattr(finding, f"{measure}_interval") or (np.nan, np.nan) for finding in findings]
        return Markup(
            figures.bars(
                [finding.variable for finding in findings],
                [
                    np.nan if value is None else value
                    for value in (getattr(finding, measure) for finding in findings)
                ],
                *zip(*intervals, strict=True),
                tones=tones,  # type: ignore[arg-type]
                digits=2,
                **words,
            )
        )

    known = any(finding.given_label is not None for finding in findings)
    return (
        picture("encoded", x_label="AUROC; .5 is guessing", reference=0.5),
        picture("given_label", x_label="AUROC; .5 is guessing", reference=0.5) if known else None,
        picture("associated", x_label="Cramér's V; 0 is none, 1 is the same"),
    )


def plane(findings: list[Finding]) -> Markup | None:
    """One dot a variable: utility I(A; Y) to the right, detectability I(A; A^ | Y) upwards. None before labels."""
    points = [
        figures.Point(
            finding.variable,
            finding.utility,
            finding.detectability,
            "second" if finding.acts else "first",
            labelled=True,
        )
        for finding in findings
        if finding.utility is not None and finding.detectability is not None
    ]
    if not points:
        return None
    return Markup(
        figures.scatter(
            points,
            x_label="utility: what it says of the label, in bits",
            y_label="detectability given the label, in bits",
            front=False,
        )
    )


@dataclass(frozen=True, eq=False)
class Panel:
    """One mosaic: counts of labels by level (labels, levels), and its picture where there is an image."""

    name: str
    caption: str
    counts: NDArray[np.float64]
    picture: Markup | None

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Images of each level."""
        return np.asarray(self.counts.sum(axis=0))


@dataclass(frozen=True, eq=False)
class Mosaics:
    """A variable against the label, panel by panel; `several`: an image may have several labels."""

    variable: str
    several: bool
    levels: tuple[str, ...]
    names: list[str]
    legend: Markup
    panels: list[Panel]


def mosaics(state: State, variable: str, *, most_classes: int | None = CLASSES) -> Mosaics | None:
    """Label by level in the pool, in the queue and among the labels; of many classes the commonest, and the others.

    What is not labelled is estimated level by level, from the labels of that level; one that was drawn at known odds
    speaks for as many images as these say. The model is no better guide: it is made to know little of the confounder.
    """
    table = Service.current().tables.table(state)
    column = table.column(variable)
    if column is None or not len(table):
        return None
    column = _commonest(column)
    labelled, labels = table.labelled(state.labels)
    named = [table.codes(label) for label in labels.texts]
    levels = column.codes[labelled].tolist()
    shown = [(named[label], level) for label, level in zip(labels.codes.tolist(), levels, strict=True)]
    speaks_for = np.ones(len(table))
    drawn, represents = state.store.represented(state.project.id)
    rows, known = table.among(drawn)
    speaks_for[rows] = represents[known]
    weights = speaks_for[labelled].tolist()
    given = labels_by_level(shown, len(table.classes), len(column.levels))
    weighted = labels_by_level(shown, len(table.classes), len(column.levels), weights)
    known = given.sum(axis=0) >= LEAST
    of_all_classes = given
    classes, given, weighted = _commonest_classes(table.classes, given, weighted, most_classes)
    names = [*(classes if given.any() else ()), *(() if known.all() else (UNKNOWN,))]
    shares = np.zeros((len(names), len(column.levels)))
    if not known.all():
        shares[-1, ~known] = 1.0
    if given.any():
        shares[: len(given), known] = weighted[:, known] / weighted[:, known].sum(axis=0)
    panels = []
    for name, rows in (("Pool", np.arange(len(table))), ("Queue, open", table.rows(state.open))):
        sizes = np.bincount(column.codes[rows], minlength=len(column.levels))
        caption = "Estimated from the labels of each level" if given.any() else "No label yet"
        panels.append(_panel(name, caption, shares * sizes, names, column))
    if len(labelled):
        # Where an image may show several classes, the report above says it class by class.
        enough = len(labelled) >= LEAST and not table.space.kind.several
        v = cramers_v(*with_rare_classes(of_all_classes.T.astype(np.int64))) if enough else None
        caption = "As labelled" if v is None else f"Cramér's V {v:.2f} between {variable} and label"
        panels.append(
            _panel("Labelled", caption, np.vstack([given, 0 * shares[len(given) :]]), names, column)
        )
    return Mosaics(
        variable,
        table.space.kind.several,
        column.levels,
        names,
        Markup(figures.row_legend(names)),
        panels,
    )


def _panel(name: str, caption: str, counts: NDArray[np.float64], names: list[str], column: Column) -> Panel:
    n = round(float(counts.sum()))
    picture = figures.mosaic(
        np.round(counts, 1), names, column.levels, title=f"{name} · {number_of(n, 'image')}"
    )
    return Panel(name, caption, counts, Markup(picture) if n else None)


def _commonest_classes(
    classes: Sequence[str], given: NDArray[np.float64], weighted: NDArray[np.float64], most: int | None
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """The classes with most labels, and one for the others, with the two counts (classes, levels) of them."""
    if most is None or len(classes) <= most:
        return list(classes), given, weighted
    kept = np.sort(np.argsort(-given.sum(axis=1), kind="stable")[: COLOURS - 1])
    rest = np.setdiff1d(np.arange(len(classes)), kept)
    names = [*(classes[code] for code in kept), f"{len(rest)} other classes"]
    given, weighted = (np.vstack([table[kept], table[rest].sum(axis=0)]) for table in (given, weighted))
    return names, given, weighted


def _commonest(column: Column) -> Column:
    """The same variable with its commonest levels, and one for the others."""
    sizes = np.bincount(column.codes, minlength=len(column.levels))
    if len(column.levels) <= LEVELS:
        return column
    kept = np.sort(np.argsort(-sizes, kind="stable")[: LEVELS - 1])
    codes = np.full(len(column.levels), LEVELS - 1)
    codes[kept] = np.arange(LEVELS - 1)
    levels = (*(column.levels[code] for code in kept), f"{len(column.levels) - LEVELS + 1} others")
    return Column(column.name, column.kind, levels, codes[column.codes])

"""Rounds and models: what each lot of labels bought."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from flask import Response, flash, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import BadRequest

from cdsel_backend import figures
from cdsel_backend.labels import Labels, label_names
from cdsel_backend.phrases import form, number_of
from cdsel_backend.project.champion import NoSuchVersion, promote, rollback, version_before
from cdsel_backend.project.sentences.models import HEADLINES, first_training
from cdsel_backend.server.kept import kept
from cdsel_backend.server.pages.blueprint import pages, read_state, status_of, who
from cdsel_backend.server.pages.review import (
    SHOWN,
    SHOWN_FIRST,
    VERDICTS,
    disputed,
    latest_insight,
    suspects,
    why_no_insight,
)
from cdsel_backend.server.service import Service
from cdsel_backend.store import State
from cdsel_backend.store.records import Json, Training
from cdsel_backend.training import ModelFormatError, evaluate

WORST = "worst_group_accuracy"
MOST_GROUPS = 24  # that are drawn, those of lowest accuracy
NEWEST_ROWS = 3  # trainings and rounds that are shown at once; earlier ones are folded
CURVES = (
    ("worst_group_accuracy", "worst group", "second"),
    ("balanced_accuracy", "balanced over the classes", "first"),
)


@pages.get("/projects/<int:pool_project>/models")
def models(pool_project: int) -> str:
    """The rounds, the trainings, and the champion's accuracy group by group."""
    state = read_state(pool_project)
    found = latest_insight(state)
    champion = state.versions.get(state.project.champion or "")
    now = champion_now(state)
    return render_template(
        "models.html",
        state=state,
        status=status_of(state),
        curve=accuracy_curve(state),
        insight=found,
        why_no_insight=why_no_insight(state),
        verdicts=VERDICTS,
        outlook=outlook(found["curve"]) if found else None,
        among=shares_among_labels(state, found),
        pool_picture=pool_picture(found["random_share"]) if found else None,
        suspects=suspects(state),
        disputed=disputed(state),
        shown=SHOWN,
        trainings=state.trainings[::-1],
        champion=champion,
        now=now,
        groups=group_picture(now) if now else None,
        provisional=provisional_groups(found),
        measures=HEADLINES,
        first_training=first_training(state),
        withdrawn=bool(state.withdrawn),
        newest_rows=NEWEST_ROWS,
        shown_first=SHOWN_FIRST,
        before=version_before(state),
    )


@pages.post("/projects/<int:pool_project>/champion")
def change_champion(pool_project: int) -> Response:
    """Let the version that the form names serve; without one, the one before the champion.

    Where that is another by now than the page showed (`before`), nothing is done.
    """
    state = read_state(pool_project)
    version, before = request.form.get("version", ""), version_before(state)
    try:
        if version:
            promote(state, version, who=who())
        elif request.form.get("before", before) == before:
            version = rollback(state, who=who())
    except NoSuchVersion as fault:
        raise BadRequest(str(fault)) from None
    if version:
        flash(f"{version} serves now; before it {state.project.champion or 'none'} did.")
    else:
        flash("Another version came to serve meanwhile: nothing is changed.")
    return redirect(url_for("pages.models", pool_project=pool_project), code=303)  # type: ignore[return-value]


def champion_now(state: State) -> Json | None:
    """The champion's metrics on the held-out labels of today, which are more than when it was trained."""
    table = Service.current().tables.table(state)
    view = table.view(state)
    asked = np.flatnonzero(table.layout.pool.held_out & view.labelled)
    try:
        expected = Service.current().serving.of_items(state, table.ids[asked].tolist())
    except ModelFormatError:
        return None  # the worker reports it
    if expected is None:
        return None
    tested = np.array([row for row in asked if int(table.ids[row]) in expected], dtype=np.int64)
    in_order = [expected[item] for item in table.ids[tested].tolist()]
    labels = Labels(view.labels, view.classes, kind=view.kind, groups=table.layout.pool.groups).take(tested)
    probabilities = np.array(in_order).reshape(len(tested), len(view.classes))
    columns, seed = [column.take(tested) for column in view.confounders], state.settings.seed
    given = [part for column in columns for part in (column.meta(), column.codes)]
    return kept(
        lambda: evaluate(probabilities, labels, columns, seed=seed),
        *("accuracy of the champion", probabilities, labels.values, labels.groups),
        *(labels.classes, labels.kind.name, seed, *given),
    )


def measures(row: Training, provisional: bool) -> Json | None:
    """A training's measures of the worst group, on held-out labels or cross-fitted; None where there are none."""
    found = (row.metrics.get("insight") or {}).get("provisional") if provisional else row.metrics
    return found if found and found.get(WORST) is not None else None


@dataclass(frozen=True)
class GroupBars:
    """A picture of accuracies by group, the worst first."""

    picture: Markup
    more: str
    """What is not drawn, as a sentence; empty where all is. Many classes and levels make hundreds of groups."""


def provisional_groups(insight: Json) -> GroupBars | None:
    """The cross-fitted accuracy of each group with its interval, the worst first; None where there is none."""
    found = (insight or {}).get("provisional") or {}
    return _bars_of_groups(found, "accuracy, provisional", "Cross-fitted accuracy in each group")


def group_picture(metrics: Json) -> GroupBars | None:
    """The champion's accuracy in each group that has enough held-out labels, the worst first."""
    return _bars_of_groups(metrics, "accuracy", "Accuracy of the champion in each group")


def _bars_of_groups(found: Json, x_label: str, title: str) -> GroupBars | None:
    groups = sorted(
        (group for group in found.get("groups", ()) if not group.get("unreliable")),
        key=lambda group: group["accuracy"],
    )
    if not groups:
        return None
    groups, rest = groups[:MOST_GROUPS], groups[MOST_GROUPS:]
    ends = np.array([group["interval"] for group in groups if "interval" in group]).T
    picture = figures.bars(
        [group["group"] for group in groups],
        [group["accuracy"] for group in groups],
        *ends,
        tones=["second" if group["group"] == found.get("worst_group") else "first" for group in groups],
        x_label=x_label,
        title=title,
        digits=2,
    )
    more = ""
    if rest:
        verb = form(len(rest), "has", "have")
        more = (
            f"{number_of(len(rest), 'more group')} {verb} an accuracy of {rest[0]['accuracy']:.2f} or more."
        )
    return GroupBars(Markup(picture), more)


def accuracy_curve(state: State) -> Markup | None:
    """Accuracy against labels, with intervals; None before the first measured model.

    On held-out labels; of models before the worst group could be estimated by these, its cross-fitted accuracy.
    """
    rows = state.versions.values()
    curves = []
    early = [
        (row, found)
        for row in rows
        if measures(row, False) is None and (found := measures(row, True)) is not None
    ]
    if early:
        ends = [found["intervals"][WORST] for _, found in early]
        low, high = np.array(ends, dtype=float).T
        curves.append(
            figures.Line(
                "worst group, provisional",
                [row.label_count for row, _ in early],
                [found[WORST] for _, found in early],
                low,
                high,
                "bound",
            )
        )
    for metric, name, tone in CURVES:
        measured = [row for row in rows if row.metrics.get(metric) is not None]
        if not measured:
            continue
        intervals = [row.metrics.get("intervals", {}).get(metric, (np.nan, np.nan)) for row in measured]
        low, high = np.array(intervals, dtype=float).T
        curves.append(
            figures.Line(
                name,
                [row.label_count for row in measured],
                [row.metrics[metric] for row in measured],
                low,
                high,
                tone,  # type: ignore[arg-type]
            )
        )
    if not curves:
        return None
    picture = figures.lines(curves, x_label="labels", y_label="accuracy")
    return Markup(figures.legend([(curve.name, curve.tone) for curve in curves]) + picture)


def outlook(found: Json) -> Markup | None:
    """The learning curve, cross-fitted, and the expected way to twice the labels; None where there is no curve."""
    curves = [
        figures.Line(name, found["sizes"], curve["values"], curve["low"], curve["high"], tone)  # type: ignore[arg-type]
        for metric, name, tone in CURVES
        if (curve := found["curves"].get(metric))
    ]
    if not curves:
        return None
    main = next(iter(found["curves"].values()))
    curves.append(figures.Line("expected", found["ahead"], main["expected"], tone="bound"))
    picture = figures.lines(curves, x_label="labels trained on", y_label="cross-fitted accuracy")
    return Markup(figures.legend([(curve.name, curve.tone) for curve in curves]) + picture)


def shares_among_labels(state: State, insight: Json) -> dict[str, float]:
    """How often each class that the random share estimates occurs among all labels, which are chosen."""
    counts = Counter(state.labels.values())
    shown = {label: label_names(label) for label in counts}
    names = (insight["random_share"]["prevalence"] or ()) if insight else ()
    return {
        name: sum(count for label, count in counts.items() if name in shown[label]) / max(counts.total(), 1)
        for name in names
    }


def pool_picture(found: Json) -> Markup | None:
    """The shares of the pool that the random share estimates, with their intervals."""
    shares = ({"model is wrong": found["error"]} if found["error"] else {}) | (found["prevalence"] or {})
    if not shares:
        return None
    low, high = np.array([share["interval"] for share in shares.values()]).T
    return Markup(
        figures.bars(
            list(shares),
            [share["value"] for share in shares.values()],
            low,
            high,
            tones=["second" if name == "model is wrong" and found["error"] else "first" for name in shares],
            x_label="share of the pool",
            title="What the random share says of the pool",
            digits=2,
        )
    )

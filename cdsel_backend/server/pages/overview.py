"""The list of projects, and one project at a glance."""

from __future__ import annotations

from flask import Response, jsonify, render_template
from markupsafe import Markup

from cdsel_backend import figures
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.project.wording import lowering, next_step, overruled
from cdsel_backend.server.pages.blueprint import pages, read_state, share
from cdsel_backend.server.pages.models import accuracy_curve
from cdsel_backend.server.pages.queue import queue_rows
from cdsel_backend.server.pages.review import VERDICTS, disputed, latest_insight, suspects
from cdsel_backend.server.service import Service
from cdsel_backend.server.status import project_status
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

SHOWN = 3  # confounders on the overview
BUDGETED = ("budget", "round_size")  # settings that are changed on the overview
STRIP = 10  # images of the queue on the overview


@pages.get("/projects")
def projects() -> str:
    """All connected projects."""
    return render_template("projects.html", projects=_all())


@pages.get("/projects.json")
def projects_json() -> Response:
    """All connected projects, for scripts."""
    return jsonify(_all())


@pages.get("/projects/<int:pool_project>")
def project(pool_project: int) -> str:
    """What confounds, what the budget bought, what comes next."""
    store = Service.current().store
    state = read_state(pool_project)
    status = project_status(store, state)
    acting = [one for one in status["confounders"] if one["acts"]]
    waiting = [row for row in queue_rows(state) if row.state == "open"][:STRIP]
    return render_template(
        "overview.html",
        state=state,
        space=space_of(state),
        status=status,
        acting=acting[:SHOWN],
        more_acting=len(acting) - SHOWN,
        next_step=next_step(
            state, images=status["items"], read=status["embedded"] + status["unusable_count"]
        ),
        curve=accuracy_curve(state),
        gain=gain(state),
        told=latest_insight(state),
        verdicts=VERDICTS,
        again=len(
            {one.item for one in suspects(store, state)} | {one.item for one in disputed(store, state)}
        ),
        worst_known=any(row.metrics.get("worst_group_accuracy") is not None for row in state.trainings),
        waiting=waiting,
        lowering=lowering(state),
        overruled={name: words for name in BUDGETED if (words := overruled(state, name))},
        budget_changes=store.audit(state.project.id, name="budget", limit=1),
    )


@pages.get("/projects/<int:pool_project>/status.json")
def status_json(pool_project: int) -> Response:
    """One project, for scripts and for what is live on the pages."""
    return jsonify(project_status(Service.current().store, read_state(pool_project)))


@pages.get("/pictures.css")
def pictures_css() -> Response:
    """The style of the pictures."""
    response = Response(figures.STYLE, mimetype="text/css")
    response.headers["Cache-Control"] = "max-age=3600"
    return response


def gain(state: State) -> Markup | None:
    """What the labels bought so far: the worst group under the first model and under the champion."""
    trained = [row for row in state.trainings if row.metrics.get("worst_group_accuracy") is not None]
    best = next((row for row in trained if row.version == state.project.champion), None)
    if best is None:
        return None
    words = Markup("Right on <strong>{}</strong> of the held-out images in the group it serves worst").format(
        share(best.metrics["worst_group_accuracy"])
    )
    if trained[0].number == best.number:
        return words + "."
    first = share(trained[0].metrics["worst_group_accuracy"])
    return words + f", against {first} after the first {len(trained[0].labels)} labels."


def _all() -> list[Json]:
    store = Service.current().store
    return [project_status(store, State(store, row.id)) for row in store.projects()]

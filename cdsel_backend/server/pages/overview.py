"""The list of projects, and one project at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, jsonify, render_template, request
from werkzeug.exceptions import NotFound

from cdsel_backend import figures
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.project.sentences.models import first_training
from cdsel_backend.project.sentences.settings import budget_in_hours, lowering, overruled
from cdsel_backend.project.sentences.steps import next_step
from cdsel_backend.server.pages.blueprint import pages, read_state, status_of
from cdsel_backend.server.pages.changes import BUDGETS, last_budget_change
from cdsel_backend.server.pages.models import WORST, accuracy_curve, measures
from cdsel_backend.server.pages.queue import queue_rows
from cdsel_backend.server.pages.review import VERDICTS, disputed, latest_insight, suspects
from cdsel_backend.server.service import Service
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

SHOWN = 3  # confounders on the overview
BUDGETED = ("budget", "budget_hours", "round_size")  # settings that are changed on the overview
STRIP = 10  # images of the queue on the overview


@pages.get("/projects")
def projects() -> str:
    """All connected projects."""
    server = Service.current().server
    return render_template(
        "projects.html",
        projects=_all(),
        studio_url=server.label_studio_url,
        own_address=(server.public_url or request.url_root).rstrip("/"),
    )


@pages.get("/projects/<path:address>")
def unknown(address: str) -> str:
    """An address below the projects that is none of a page: a mistyped one, or of another version."""
    raise NotFound(f"There is no page {address!r} of a project: choose the project, and go on from its tabs.")


@pages.get("/projects.json")
def projects_json() -> Response:
    """All connected projects, for scripts."""
    return jsonify(_all())


@pages.get("/projects/<int:pool_project>")
def project(pool_project: int) -> str:
    """What confounds, what the budget bought, what comes next."""
    state = read_state(pool_project)
    status = status_of(state)
    acting = [finding for finding in status["confounders"] if finding["acts"]]
    queue = state.in_queues.item[: state.in_queues.first]
    strip = queue[state.in_queues.selected(state.open)][:STRIP].tolist()
    waiting = queue_rows(state, [(item, "open") for item in strip])
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
        first_training=first_training(state),
        curve=accuracy_curve(state),
        worst=worst_group(state),
        in_hours=budget_in_hours(state),
        insight=latest_insight(state),
        verdicts=VERDICTS,
        again=len({label.item for label in suspects(state)} | {image.item for image in disputed(state)}),
        waiting=waiting,
        lowering=lowering(state),
        overruled={name: message for name in BUDGETED if (message := overruled(state, name))},
        last_budget=last_budget_change(state),
        budgets=BUDGETS,
    )


@pages.get("/projects/<int:pool_project>/status.json")
def status_json(pool_project: int) -> Response:
    """One project, for scripts and for what is live on the pages."""
    return jsonify(status_of(read_state(pool_project)))


@pages.get("/pictures.css")
def pictures_css() -> Response:
    """The style of the pictures."""
    response = Response(figures.STYLE, mimetype="text/css")
    response.headers["Cache-Control"] = "max-age=3600"
    return response


@dataclass(frozen=True)
class WorstGroup:
    """How the champion does in its worst group: on held-out labels, or, while these are few, cross-fitted."""

    value: float
    interval: tuple[float, float] | None
    group: str
    provisional: bool
    labels: int
    """That tested it."""
    first: float | None
    """What the first model reached that could be measured the same way; None: this is that model."""
    first_labels: int


def worst_group(state: State) -> WorstGroup | None:
    """The champion's accuracy in its worst group; None while it is not known."""
    champion = state.versions.get(state.project.champion or "")
    if champion is None:
        return None
    for provisional in (False, True):
        measured = [(row, found) for row in state.versions.values() if (found := measures(row, provisional))]
        own = next((found for row, found in measured if row.number == champion.number), None)
        if own is None:
            continue
        first, at_first = measured[0]
        low_high = own.get("intervals", {}).get(WORST)
        return WorstGroup(
            own[WORST],
            tuple(low_high) if low_high else None,
            str(own.get("worst_group") or ""),
            provisional,
            int(own.get("n") or 0),
            None if first.number == champion.number else at_first[WORST],
            first.label_count,
        )
    return None


def _all() -> list[Json]:
    store = Service.current().store
    return [status_of(State(store, row.id)) for row in store.projects()]

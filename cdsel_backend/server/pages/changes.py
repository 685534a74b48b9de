"""What an admin changes or asks for besides the form of settings: undo of the budget, requests to the worker, problems.

Every change is one transaction with its row in the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flask import Response, flash, redirect, request, url_for
from werkzeug.exceptions import BadRequest

from cdsel_backend.project.audit import audit_rows
from cdsel_backend.project.sentences.models import few_labels
from cdsel_backend.project.sentences.settings import source_name, value_text
from cdsel_backend.server.pages.blueprint import find, pages, read_state, who
from cdsel_backend.settings import LAYERS, resolve_project
from cdsel_backend.store import State
from cdsel_backend.store.activity import Request
from cdsel_backend.store.problems import DISCONNECTED, POOL_GONE
from cdsel_backend.store.records import AuditEntry, Json

LAYER = LAYERS[-1]
REQUESTS: dict[str, str] = {
    Request.TRAIN: "A training is asked for. It starts when the worker's present step is done, if labels are new.",
    Request.TAKE_OVER: "The project is taken over at the worker's next look.",
    Request.SELECT: "The next round is asked for. It is selected as soon as the worker's present step is done.",
}
BUDGETS = {"budget": "budget", "budget_hours": "budget in hours"}
"""What undo takes back: the settings, and what a person calls them."""
BACK = ("project", "confounders", "settings", "activity")  # pages that a form may lead back to
log = logging.getLogger(__name__)


@pages.post("/projects/<int:pool_project>/undo")
def undo_budget(pool_project: int) -> Response:
    """Take the last change of the budget (images or hours) back, wherever it was made; done twice, it comes again.

    A form that says when the change was made that its page showed takes back no other.
    """
    state = read_state(pool_project)
    last = last_budget_change(state)
    if last is None:
        raise BadRequest("the budget was not changed yet")
    if request.form.get("at", str(last.at)) != str(last.at):
        flash("The budget was changed meanwhile: nothing is undone.")
        return back_to_page(pool_project)
    others = {name: layer for name, layer in state.project.layers.items() if name != LAYER}
    if (
        last.old_source != LAYER
        and resolve_project(others).settings.model_dump(mode="json")[last.name] == last.old
    ):
        change(state, drop=[last.name])
    else:  # Label Studio may say something else by now than before
        change(state, put={last.name: last.old})
    value, source = value_in_force(find(pool_project).layers, last.name)
    flash(f"The {BUDGETS[last.name]} is {value_text(value)} again, from: {source}.")
    return back_to_page(pool_project)


def last_budget_change(state: State) -> AuditEntry | None:
    """The newest change of the budget, in images or in hours; None: there was none."""
    return next(iter(state.store.audit(state.project.id, names=tuple(BUDGETS), limit=1)), None)


@pages.post("/projects/<int:pool_project>/requests")
def ask(pool_project: int) -> Response:
    """Ask the worker to train, or to select the next round, now."""
    action = request.form.get("action", "")
    if action not in REQUESTS:
        raise BadRequest(f"ask for one of {', '.join(REQUESTS)}")
    state = read_state(pool_project)
    state.store.add_request(state.project.id, action, who=who())
    few = few_labels(state, len(state.labels)) if action == Request.TRAIN else None
    flash(f"{REQUESTS[action]} Note that {few}." if few else REQUESTS[action])
    return back_to_page(pool_project)


@pages.post("/projects/<int:pool_project>/problems/dismiss")
def dismiss(pool_project: int) -> Response:
    """Say no more of a problem until it occurs anew."""
    state = read_state(pool_project)
    origin, message = request.form.get("origin", ""), request.form.get("message", "")
    if state.store.dismiss_problem(state.project.id, origin, message, who=who()):
        flash("Dismissed. It is shown again if it occurs anew.")
    else:
        flash("This problem is gone already.")
    return back_to_page(pool_project)


@pages.post("/projects/<int:pool_project>/remove")
def remove(pool_project: int) -> Response:
    """Take a project from the dashboard that is gone in Label Studio, or from which this backend was removed there.

    Asked for once more before.
    """
    state = read_state(pool_project)
    if not any(problem.origin in (POOL_GONE, DISCONNECTED) for problem in state.problems):
        raise BadRequest(
            "only a project that is not in Label Studio any more, or has this backend no more there, is removed here"
        )
    if request.form.get("sure") != "yes":
        raise BadRequest("tick the box to say that this project is to be removed from the dashboard")
    state.store.remove_project(state.project.id)
    log.info("project %s was removed from the dashboard by %s", pool_project, who())
    return redirect(url_for("pages.projects"), 303)  # type: ignore[return-value]


def change(state: State, *, put: Mapping[str, Any] | None = None, drop: Collection[str] = ()) -> None:
    """Set and unset values of the dashboard's layer; what came of it goes into the audit."""
    author = who()

    def changed_layers(layers: Mapping[str, Any]) -> tuple[Json, Sequence[Json]]:
        own = {name: value for name, value in layers.get(LAYER, {}).items() if name not in drop}
        changed = {**layers, LAYER: {**own, **(put or {})}}
        return changed, audit_rows(layers, changed, (*(put or ()), *drop), who=author)

    state.store.change_layer(state.project.id, changed_layers)


def value_in_force(layers: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """A setting's value by these layers, and the name of where it comes from."""
    found = resolve_project(layers)
    return found.settings.model_dump(mode="json")[name], source_name(found.sources[name])


def back_to_page(pool_project: int) -> Response:
    """Lead the browser back to the page whose form was sent."""
    page = request.form.get("back", "")
    endpoint = page if page in BACK else BACK[0]
    return redirect(url_for(f"pages.{endpoint}", pool_project=pool_project), code=303)  # type: ignore[return-value]

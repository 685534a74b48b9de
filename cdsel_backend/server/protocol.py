"""What Label Studio asks of an ML backend: /health, /setup, /predict, /webhook, /versions, /train."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from html import escape
from typing import Any

from flask import Blueprint, Response, g, jsonify, redirect, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden, NotFound
from werkzeug.wrappers import Response as AnyResponse

from cdsel_backend import __version__
from cdsel_backend.labelstudio.labels import LabelSpace, UnsupportedLabelConfig, parse_label_space
from cdsel_backend.project.connect import CONNECTIONS, extra_params_refusal, read_layers, same_host, stale
from cdsel_backend.server.bounds import BODY_BYTES, is_plain, project_number, read_body
from cdsel_backend.server.door import Door
from cdsel_backend.server.events import UnreadableEvent, read_event
from cdsel_backend.server.inbox import WAIT_SECONDS
from cdsel_backend.server.service import Service
from cdsel_backend.store.activity import Request
from cdsel_backend.store.problems import DISCONNECTED
from cdsel_backend.store.records import Project

log = logging.getLogger(__name__)
protocol = Blueprint("protocol", __name__)

MAX_LINE = 1000  # characters of a status line: proxies have 4 kB for it and all headers
MAX_HOST = 200  # characters of a host name or an address that is kept
ASKED_SECONDS = 30.0  # that a request of a person waits for the database
TOO_LARGE = "LARGE_EVENT"  # the action of an event whose body was not read
NO_MODEL = "cdsel"  # the version Label Studio shows before the first training


@protocol.get("/health")
@protocol.get("/")
def health() -> AnyResponse:
    """Say whether we do our work, and whether Label Studio answers; what is amiss is for whoever has the login.

    A browser that comes to the bare address is shown the projects.
    """
    kinds = ["application/json", "text/html"]
    if request.path == "/" and request.accept_mimetypes.best_match(kinds) == "text/html":
        return redirect(url_for("pages.projects"))
    service = Service.current()
    found = service.health.look()
    body: dict[str, object] = {
        "status": "DOWN" if found.problems else "UP",
        "model_class": "cdsel",
        "version": __version__,
    }
    if found.problems and Door.current().knows_caller(by_session=bool(found.facts)):
        body["problems"] = found.problems
    response = jsonify(body | found.facts)
    response.status_code = 503 if found.problems else 200
    return response


@protocol.post("/setup")
def setup() -> Response:
    """Have the worker look at a project that Label Studio connects, or whose settings its admin changed.

    Nothing of the call is believed but that it came: see `project.connect`.
    """
    service, body = Service.current(), read_body()
    source, label_config = project_number(body.get("project")), body.get("schema")
    if source is None or not isinstance(label_config, str):
        raise BadRequest(
            '/setup needs a "project" such as "12.1700000000" and the labeling config as "schema"'
        )
    known = service.project_of(source)
    version = known.champion if known is not None and known.champion else NO_MODEL
    if known is not None and known.pool_project != source:
        # A queue belongs to the project whose pool it draws on; connecting it, too, changes nothing.
        return jsonify(model_version=version)
    try:
        space = parse_label_space(label_config)
    except UnsupportedLabelConfig as fault:
        return _refuse(source, str(fault))
    # Label Studio calls /setup each time somebody looks at Settings > Model.
    if known is None or _says_otherwise(service, known, space, body.get("extra_params")):
        hostname = body.get("hostname")
        service.store.note_setup_call(
            source,
            request.host[:MAX_HOST],
            str(hostname).rstrip("/") if is_plain(hostname, longest=MAX_HOST) else "",
        )
    # Its dialog shows the refusal and saves nothing; what was saved before stays in force.
    refused = extra_params_refusal(body.get("extra_params"))
    return _refuse(source, refused) if refused else jsonify(model_version=version)


def _says_otherwise(service: Service, known: Project, space: LabelSpace, extra_params: object) -> bool:
    """Whether a call says something new of a project."""
    public = service.server.public_url
    moved = known.backend_url != public if public else not same_host(known.backend_url, request.host)
    # Whether there still are several connections only Label Studio can say.
    several = bool(known.problems.get(CONNECTIONS))
    back = DISCONNECTED in known.problems
    return moved or several or back or stale(known, read_layers(space, extra_params, known.layers))


@protocol.post("/predict")
def predict() -> Response:
    """Answer from the champion; before there is one, with no result."""
    service, body = Service.current(), read_body(deep=True)
    tasks, parameters = body.get("tasks"), body.get("params")
    if not isinstance(tasks, list):
        raise BadRequest('/predict needs a list of "tasks"')
    source = project_number(body.get("project"))
    project = service.project_of(source) if source is not None else None
    asked = [task for task in tasks if isinstance(task, dict)]
    results, version = [], NO_MODEL
    if source is not None and project is not None and project.champion is not None:
        results, version = service.predictions(project, source, asked), project.champion
    context = parameters.get("context") if isinstance(parameters, dict) else None
    return jsonify(results=results or no_answers(asked, context), model_version=version)


def no_answers(tasks: Sequence[object], context: object) -> list[dict[str, Any]]:
    """What is answered while no model can: nothing, so that Label Studio keeps nothing.

    Where the page of an annotator asks (*interactive preannotations*), which is seen by its `context`, an empty answer
    for each task: with none, the page shows her an error.
    """
    return [] if context is None else [{"result": [], "score": 0.0} for _ in tasks]


@protocol.post("/webhook")
def webhook() -> tuple[Response, int]:
    """Keep what happened; the worker looks at it."""
    service, by_token = Service.current(), g.get("webhook_project")
    if by_token is not None and (request.content_length or 0) > BODY_BYTES["protocol.webhook"]:
        # Label Studio tells of 5,000 imported tasks in one body. That it came says enough: it is not read.
        source = service.store.project(by_token).pool_project
        number = service.inbox.add(source, TOO_LARGE, {"bytes": request.content_length})
        return jsonify(job_id=str(number)), 201
    try:
        event = read_event(read_body())
    except UnreadableEvent as fault:
        raise BadRequest(str(fault)) from None
    project = service.project_of(event.project) if event.project is not None else None
    if project is None:
        # Nothing is kept of projects that are not connected: anybody could fill the disk with them.
        return jsonify(ignored="the project of this event is not connected"), 202
    if by_token is not None and by_token != project.id:
        raise Forbidden("this webhook's token belongs to another project")
    # What a person asks for is kept before it is answered; what merely says "look" makes no annotator wait.
    patience = ASKED_SECONDS if event.action == Request.TRAIN else WAIT_SECONDS
    number = service.inbox.add(event.project, event.action, event.summary(), wait=patience)
    # Named `job`, Label Studio would ask for its status at a route that no current backend has.
    return jsonify(job_id=str(number)), 201


@protocol.post("/train")
def train() -> tuple[Response, int]:
    """Ask for a training, as older versions of Label Studio do."""
    service = Service.current()
    source = project_number(read_body(deep=True).get("project"))
    if source is None:
        raise BadRequest('/train needs a "project" such as "12.1700000000"')
    if service.project_of(source) is None:
        raise NotFound(f"project {source} is not connected: connect it under Settings > Model")
    number = service.store.add_event(source, Request.TRAIN, {})
    return jsonify(job_id=str(number)), 201


@protocol.get("/versions")
def versions() -> Response:
    """The model versions, newest first; of all projects, as Label Studio does not say which it means."""
    store = Service.current().store
    rows = [row for project in store.projects() for row in store.trainings(project.id) if row.version]
    rows.sort(key=lambda row: row.created_at, reverse=True)
    return jsonify(versions=[row.version for row in rows])


def _refuse(source: int, reason: str) -> Response:
    log.warning("project %s is refused: %s", source, reason)
    response = jsonify(error=reason)
    # Label Studio shows an admin only the status line, as HTML: tags in it would vanish, with all that follows.
    line = escape(" ".join(reason.encode("latin-1", "replace").decode("latin-1").split()))
    response.status = f"422 {line[:MAX_LINE]}"
    return response

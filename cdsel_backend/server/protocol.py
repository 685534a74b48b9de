"""What Label Studio asks of an ML backend: /health, /setup, /predict, /webhook, /versions, /train."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from cdsel_backend import __version__
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig, parse_label_space
from cdsel_backend.server.events import UnreadableEvent, read_event
from cdsel_backend.server.service import Service
from cdsel_backend.settings import accept, parse_layer
from cdsel_backend.store.journal import STUDIO_FACT
from cdsel_backend.store.records import Request

log = logging.getLogger(__name__)
protocol = Blueprint("protocol", __name__)

NO_MODEL = "cdsel"  # the version Label Studio shows before the first training


@protocol.get("/health")
@protocol.get("/")
def health() -> Response:
    """Say that we are up, and whether Label Studio is."""
    service = Service.current()
    studio = service.store.fact(STUDIO_FACT) or {"reachable": None, "problem": None}
    return jsonify(status="UP", model_class="cdsel", version=__version__, label_studio=studio)


@protocol.post("/setup")
def setup() -> Response:
    """Take note of a project that Label Studio connects, or of what its admin changed."""
    service = Service.current()
    body = _body()
    source = _project_id(body.get("project"))
    label_config = body.get("schema")
    if source is None or not isinstance(label_config, str):
        raise BadRequest(
            '/setup needs a "project" such as "12.1700000000" and the labeling config as "schema"'
        )
    known = service.store.project_of(source)
    if known is not None and known.pool_project != source:
        # A queue belongs to the project whose pool it draws on; connecting it, too, changes nothing.
        return jsonify(model_version=known.champion or NO_MODEL)
    try:
        space = parse_label_space(label_config)
    except UnsupportedLabelConfig as fault:
        return _refuse(source, str(fault))
    studio_url = (service.server.label_studio_url or str(body.get("hostname") or "")).rstrip("/")
    if not studio_url:
        return _refuse(source, "cdsel does not know where Label Studio is: set LABEL_STUDIO_URL")

    layers: dict[str, dict[str, Any]] = {}
    problems: dict[str, list[str]] = {}
    before = known.layers if known is not None else {}
    for layer, read in (
        ("labeling config", lambda: dict(space.settings)),
        ("extra parameters", lambda: parse_layer(body.get("extra_params"))),
    ):
        try:
            layers[layer], problems[layer] = accept(read(), before.get(layer, {}), layer=layer)
        except ValueError as fault:
            layers[layer], problems[layer] = before.get(layer, {}), [str(fault)]
        if problems[layer]:
            log.warning("project %s: %s", source, "; ".join(problems[layer]))
    backend_url = (service.server.public_url or request.host_url).rstrip("/")
    changed = known is None or (
        (known.label_config, known.backend_url) != (label_config, backend_url)
        or any(before.get(layer, {}) != values for layer, values in layers.items())
        or any(known.problems.get(layer, []) != words for layer, words in problems.items())
    )
    if changed:  # Label Studio calls /setup each time somebody looks at Settings > Model
        service.store.connect_project(
            studio_url,
            source,
            layers=layers,
            problems=problems,
            # A known project's follows with the next look at Label Studio, once its queue has taken it.
            label_config=known.label_config if known is not None else label_config,
            backend_url=backend_url,
        )
        service.store.add_event(source, "SETUP", {})
        for note in space.notes:
            log.info("project %s: %s", source, note)
    return jsonify(model_version=(known.champion if known is not None else None) or NO_MODEL)


@protocol.post("/predict")
def predict() -> Response:
    """Answer from the champion; before there is one, with no result."""
    service = Service.current()
    body = _body()
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise BadRequest('/predict needs a list of "tasks"')
    source = _project_id(body.get("project"))
    project = service.store.project_of(source) if source is not None else None
    if project is None or project.champion is None:
        return jsonify(results=[], model_version=NO_MODEL)
    results = service.predictions(project, [task for task in tasks if isinstance(task, dict)])
    return jsonify(results=results, model_version=project.champion)


@protocol.post("/webhook")
def webhook() -> tuple[Response, int]:
    """Keep what happened; the worker looks at it."""
    try:
        event = read_event(_body())
    except UnreadableEvent as fault:
        raise BadRequest(str(fault)) from None
    number = Service.current().store.add_event(event.project, event.action, event.summary())
    # Named `job`, Label Studio would ask for its status at a route that no current backend has.
    return jsonify(job_id=str(number)), 201


@protocol.post("/train")
def train() -> tuple[Response, int]:
    """Ask for a training, as older versions of Label Studio do."""
    body = _body()
    source = _project_id(body.get("project"))
    if source is None:
        raise BadRequest('/train needs a "project"')
    number = Service.current().store.add_event(source, Request.TRAIN, {})
    return jsonify(job_id=str(number)), 201


@protocol.get("/versions")
def versions() -> Response:
    """The model versions, newest first; of all projects, as Label Studio does not say which it means."""
    store = Service.current().store
    rows = [row for project in store.projects() for row in store.trainings(project.id) if row.version]
    rows.sort(key=lambda row: row.created_at, reverse=True)
    return jsonify(versions=[row.version for row in rows])


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise BadRequest("send a JSON object")
    return body


def _project_id(value: object) -> int | None:
    """`12` of `"12.1700000000"` (project and the time it was made), `"12"` or 12."""
    head = str(value).split(".")[0]
    return int(head) if head.isdecimal() else None


def _refuse(source: int, words: str) -> Response:
    log.warning("project %s is refused: %s", source, words)
    response = jsonify(error=words)
    # Label Studio shows an admin only the status line, so the words stand there as well.
    line = " ".join(words.encode("latin-1", "replace").decode("latin-1").split())
    response.status = f"422 {line[:200]}"
    return response

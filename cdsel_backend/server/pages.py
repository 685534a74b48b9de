"""The admin's pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, render_template
from sqlalchemy import Row
from werkzeug.exceptions import NotFound

from cdsel_backend.server.service import Service
from cdsel_backend.server.status import project_status
from cdsel_backend.store import State

pages = Blueprint("pages", __name__)


@pages.get("/projects")
def projects() -> str:
    """All connected projects."""
    service = Service.current()
    statuses = [
        project_status(service.store, State(service.store, row.id)) for row in service.store.projects()
    ]
    return render_template("projects.html", projects=statuses)


@pages.get("/projects/<int:pool_project>")
def project(pool_project: int) -> str:
    """One project: what confounds, what the budget bought, what comes next."""
    service = Service.current()
    state = State(service.store, _find(pool_project).id)
    return render_template(
        "project.html", status=project_status(service.store, state), queue=state.selections
    )


@pages.get("/projects.json")
def projects_json() -> Response:
    """All connected projects, for scripts."""
    service = Service.current()
    return jsonify(
        [project_status(service.store, State(service.store, row.id)) for row in service.store.projects()]
    )


@pages.get("/projects/<int:pool_project>/status.json")
def status_json(pool_project: int) -> Response:
    """One project, for scripts."""
    service = Service.current()
    return jsonify(project_status(service.store, State(service.store, _find(pool_project).id)))


def _find(pool_project: int) -> Row[Any]:
    found = Service.current().store.project_of(pool_project)
    if found is None:
        raise NotFound(
            f"project {pool_project} of Label Studio is not connected; connect it under Settings > Model"
        )
    return found

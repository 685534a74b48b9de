"""Where Label Studio and people reach a project of ours."""

from __future__ import annotations

import base64

from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State


def webhook(server: ServerSettings, state: State) -> tuple[str, dict[str, str]]:
    """The address and the headers with which Label Studio is to call us about a project."""
    address = server.public_url or state.project.backend_url
    headers = {}
    if server.basic_auth_user:
        pair = f"{server.basic_auth_user}:{server.basic_auth_pass}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return f"{address.rstrip('/')}/webhook", headers


def dashboard(server: ServerSettings, state: State) -> str:
    """The address of a project's dashboard, as browsers reach it."""
    address = (server.dashboard_url or server.public_url or state.project.backend_url).rstrip("/")
    return f"{address}/projects/{state.project.pool_project}"

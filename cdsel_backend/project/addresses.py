"""Where Label Studio and people reach a project of ours, and the secret by which we know its webhooks.

Any account of Label Studio can read the headers of every webhook. So they hold no password, only a token of one project
that is good for /webhook and nothing else: whoever has it can make us look at that project, as any annotator can.
"""

from __future__ import annotations

import hashlib
import hmac

from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.numbers import number_in

WEBHOOK_HEADER = "X-Cdsel-Webhook"


def own_addresses(server: ServerSettings, state: State) -> set[str]:
    """The addresses by which Label Studio knows this backend, without a slash at their end; none before a project was
    connected."""
    known = (server.public_url, state.project.backend_url)
    return {address.rstrip("/") for address in known if address}


def webhook(server: ServerSettings, state: State) -> tuple[str, dict[str, str]]:
    """The address and the headers with which Label Studio is to call us about a project."""
    address = server.public_url or state.project.backend_url
    return f"{address.rstrip('/')}/webhook", {WEBHOOK_HEADER: webhook_token(state.store, state.project.id)}


def webhook_token(store: Store, project: int) -> str:
    """Our id of a project and what nobody else can know of it: 128 bits from the secret of this server."""
    proof = hmac.new(store.secret().encode(), f"webhook of project {project}".encode(), hashlib.sha256)
    return f"{project}.{proof.hexdigest()[:32]}"


def project_of_token(store: Store, token: str) -> int | None:
    """Our id of the project that a token belongs to; None where it is not one of ours."""
    project = number_in(token.partition(".")[0])
    if project is None:
        return None
    genuine = hmac.compare_digest(token.encode(), webhook_token(store, project).encode())
    return project if genuine else None


def dashboard(server: ServerSettings, state: State) -> str:
    """The address of a project's dashboard, as browsers reach it."""
    address = (server.dashboard_url or server.public_url or state.project.backend_url).rstrip("/")
    return f"{address}/projects/{state.project.pool_project}"

"""Whether Label Studio still has this backend for a project: it tells nobody that an admin removed it."""

from __future__ import annotations

import logging

from cdsel_backend.labelstudio.client import RequestRefused
from cdsel_backend.project.addresses import own_addresses
from cdsel_backend.project.connect import instance_at
from cdsel_backend.project.sentences.problems import backend_connected_again, backend_removed
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.notices import say
from cdsel_backend.store import State
from cdsel_backend.store.facts import LISTED_FACT
from cdsel_backend.store.problems import DISCONNECTED

REMOVED, BACK = "BACKEND_REMOVED", "BACKEND_CONNECTED_AGAIN"  # actions of events

log = logging.getLogger(__name__)


def glance(context: Context, state: State) -> bool:
    """`look`, where Label Studio's list differs from what is known: one small request a poll, and nobody is called."""
    seen = context.store.fact(LISTED_FACT.format(state.project.id))
    if seen is None:
        return False
    listed = _addresses(context, state.project.pool_project)
    if listed is None or (seen in listed) != state.disconnected:
        return False
    return look(context, state)


def look(context: Context, state: State) -> bool:
    """See whether Settings > Model of the pool project names this backend; returns whether that is new.

    Where it was never seen there, as where the account may not see it, nothing is concluded.
    """
    project, pool = state.project.id, state.project.pool_project
    if not own_addresses(context.server, state):
        return False  # nobody connected us yet
    fact = LISTED_FACT.format(project)
    listed = _addresses(context, pool)
    if listed is None:
        return False
    there = next((url for url in listed if _is_ours(context, state, url)), None)
    if there is not None and context.store.fact(fact) != there:
        context.store.set_fact(fact, there)
    removed = there is None and context.store.fact(fact) is not None
    if removed == state.disconnected:
        return False
    if removed:
        address = context.server.public_url or state.project.backend_url or str(context.store.fact(fact))
        sentence = backend_removed(pool, address)
        context.store.note_problems(project, DISCONNECTED, [sentence])
        say(context, pool, REMOVED, [], sentence)
    else:
        context.store.note_problems(project, DISCONNECTED, [])
        say(context, pool, BACK, [], backend_connected_again(pool))
    return True


def _addresses(context: Context, pool: int) -> list[str] | None:
    """The addresses of a project's ML backends; None where it may not be asked.

    Raises:
        LabelStudioUnreachable, TokenRefused: it could not be asked.
    """
    try:
        listed = context.studio.backends(pool)
    except RequestRefused as fault:
        log.debug("project %s: its ML backends cannot be listed: %s", pool, fault)
        return None
    return [backend["url"] for backend in listed]


def _is_ours(context: Context, state: State, url: str) -> bool:
    """Whether an address is this backend's; one at which nobody answers may be it."""
    return url in own_addresses(context.server, state) or instance_at(url) in (None, context.store.instance())

"""One backend keeps the books of a project: which one, our line in the pool project's description says.

Two that fill one queue would each push beyond the budget. Another backend than the one that the line names stands
aside, and says so, until an admin lets it take over, or until Label Studio lists no other backend for the project: then
the data folder was lost, or the backend moved, and nobody else can be at it.

A data folder or database that was copied names the same backend in both copies. The copy of which the address that both
know as their own does not lead to it becomes another backend.
"""

from __future__ import annotations

import logging
import time

from cdsel_backend.labelstudio.queue_projects import Owner, owner_of
from cdsel_backend.project.addresses import own_addresses
from cdsel_backend.project.connect import answering_at, instance_at
from cdsel_backend.project.identity import known_project
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.queues import write_line
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Request, Step

CHECK_SECONDS = 60.0  # between looks at the line
REFUSED_SECONDS = 15.0  # likewise, while another backend has it
ORIGIN = "owner"
NOT_OURS_FACT = "addresses of the backend that this one is a copy of"

log = logging.getLogger(__name__)


def holds(context: Context, state: State, *, now: bool = False) -> bool:
    """Whether this backend keeps the project's books; it takes them where nobody does.

    Args:
        context, state: the project's.
        now: whether to look in any case, as before anything is pushed.
    """
    project = state.project
    if not own_addresses(context.server, state):
        return True  # nobody connected us yet
    asked = context.requests(state, Request.TAKE_OVER, unlooked=True)
    at, held = context.held.get(project.id, (0.0, True))
    age = time.monotonic() - at
    if at and not now and not asked and age < (CHECK_SECONDS if held else REFUSED_SECONDS):
        return held
    _become_another_where_copied(context, state)
    found = known_project(context.store, context.studio, project.pool_project)
    owner = owner_of(found.get("description") or "")
    refusal = None
    if owner is None or owner.backend != context.store.instance():
        refusal = None if owner is None or asked else _refusal(context, state, owner)
        if refusal is None:
            if owner is not None:
                log.warning("project %s: taken over from the backend %s", project.pool_project, owner.backend)
            write_line(context, state)
            context.store.update_project(project.id, pool_synced_at=0.0, queue_synced_at=0.0)
    context.store.handle_events(asked)
    context.store.update_problems(project, ORIGIN, [refusal] if refusal else [])
    if refusal:
        context.show(state, Activity(Step.ANOTHER_BACKEND))
    context.held[project.id] = time.monotonic(), refusal is None
    return refusal is None


def _own_addresses(context: Context, state: State) -> set[str]:
    return own_addresses(context.server, state) - set(context.store.fact(NOT_OURS_FACT) or ())


def _become_another_where_copied(context: Context, state: State) -> None:
    """Take another id where one of our addresses leads to a backend of our id that works on another database."""
    store = context.store
    before = store.start()
    for address in sorted(_own_addresses(context, state)) if before else ():
        found = answering_at(address)
        if found is None or not found.start or found.instance != store.instance():
            continue
        if found.start not in (before, store.start()):  # it may have been started anew meanwhile
            store.set_fact(NOT_OURS_FACT, [*(store.fact(NOT_OURS_FACT) or ()), address])
            log.warning(
                "this data folder, or its database, is a copy of that of the backend at %s, which runs: this one is "
                "another backend from here on (%s)",
                address,
                store.rename_instance(),
            )


def _refusal(context: Context, state: State, owner: Owner) -> str | None:
    """Why this backend may not take the books of another, as a sentence; None where nobody else can be at it."""
    own = _own_addresses(context, state)
    pool = state.project.pool_project
    listed = {backend["url"] for backend in context.studio.backends(pool)}
    others = {url: instance_at(url) for url in sorted(listed - own)}
    sentence = (
        f"Another backend works for this project (dashboard {owner.dashboard}): this one stands aside, so that no "
        "image is pushed twice or beyond the budget, and nothing is lost. "
    )
    take = f"run `cdsel takeover {pool}` where this one runs, or press Take over"
    if owner.backend in others.values():
        where = next(url for url, name in others.items() if name == owner.backend)
        return (
            sentence
            + f"It answers at {where}. Remove one of the two under Settings > Model in Label Studio; to go on "
            f"with this one, stop the other, then {take}"
        )
    silent = sorted(url for url, name in others.items() if name is None)
    if silent:
        return (
            sentence
            + f"It does not answer at {', '.join(silent)}. If it is gone for good, remove that address under "
            f"Settings > Model in Label Studio, or {take}"
        )
    return None

"""Whether a project stands as it did when nothing was due: then a pass reads keys and counters, nothing else."""

from __future__ import annotations

import time
from typing import Any

from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import POOL_POLL

LOOK_AGAIN = 300.0  # seconds after which a whole pass is taken in any case


def standing(context: Context, project: int) -> tuple[Any, ...]:
    """What changes with everything that another process, a person or Label Studio can bring about."""
    store = context.store
    return (
        store.project(project),
        store.newest_event(),
        store.counts(project),
        store.training_runs(project),
    )


def rests(context: Context, project: int) -> bool:
    """Whether nothing is due: all is as it was after the last whole pass, and no time has come since."""
    kept = context.at_rest.get(project)
    if kept is None or context.trainings.any_ended():
        return False
    now, (since, before) = time.time(), kept
    row = before[0]
    poll = context.server.poll_seconds
    due = min(row.queue_synced_at + poll, row.pool_synced_at + poll * POOL_POLL, since + LOOK_AGAIN)
    if not since <= now <= due or context.store.without_vector(project, limit=1, now=now):
        return False
    return bool(before == standing(context, project))


def settle(context: Context, project: int) -> None:
    """Note that a whole pass found nothing due."""
    context.at_rest[project] = time.time(), standing(context, project)

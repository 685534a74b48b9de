"""Whether a project stands as it did when nothing was due: then a pass reads keys and counters, nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import pool_poll
from cdsel_backend.store.activity import Activity
from cdsel_backend.store.records import Project

LOOK_AGAIN = 300.0  # seconds after which a whole pass is taken in any case


@dataclass(frozen=True)
class Standing:
    """What is compared between two passes: whatever another process, a person or Label Studio changes, changes this."""

    project: Project
    """The project's row, without what the worker itself writes there: its activity, and our line in the description."""
    events: frozenset[int]
    """The numbers of the events of this project that nobody has looked at."""
    newest: tuple[int | None, ...]
    trains: bool

    @classmethod
    def of(cls, context: Context, project: int) -> Standing:
        """Read it from the database."""
        store, state = context.store, context.read_state(project)
        row = replace(state.project, activity=Activity(), described=None)
        events = frozenset(event.id for event in store.open_events(state.sources))
        return cls(row, events, store.newest(project), store.training_runs(project))

    def looked(self, context: Context, project: int) -> Standing:
        """This standing after a look at Label Studio: with what it brought, which the next steps see."""
        now = Standing.of(context, project)
        times = {name: getattr(now.project, name) for name in ("pool_synced_at", "queue_synced_at")}
        return replace(now, project=replace(self.project, **times), events=self.events)


def rests(context: Context, project: int) -> bool:
    """Whether nothing is due: all is as it was after the last whole pass, and no time has come since."""
    kept = context.at_rest.get(project)
    if kept is None or context.trainings.has_ended(project):
        return False
    now, (since, before) = time.time(), kept
    due = min(
        before.project.queue_synced_at + context.server.poll_seconds,
        before.project.pool_synced_at + pool_poll(context, project),
        since + LOOK_AGAIN,
    )
    if not since <= now <= due or before != Standing.of(context, project):
        return False
    return not context.store.without_vector(project, limit=1, now=now)


def settle(context: Context, project: int, before: Standing) -> None:
    """Note that a whole pass found nothing due, unless something has come that its first steps have not seen."""
    now = Standing.of(context, project)
    if now.events <= before.events and now == replace(before, events=now.events):
        context.at_rest[project] = time.time(), now

"""What happened and what is asked for: events, requests, and the audit of who changed what."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, ScalarSelect, delete, func, insert, or_, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, writing
from cdsel_backend.store.records import AuditEntry, Event
from cdsel_backend.store.rows import columns

KEPT_EVENTS = 10_000  # the newest, of all projects together
KEPT_SECONDS = 30 * 86400.0  # an event that was looked at is removed after that


class Journal(Database):
    """What happened and what is asked for: events, requests, and the audit of who changed what."""

    def add_event(
        self,
        source: int | None,
        action: str,
        payload: Mapping[str, Any],
        *,
        handled: bool = False,
        seconds: float = 0.0,
    ) -> int:
        """Keep what Label Studio sent, or what we did there in so many `seconds`; returns its number.

        One that is `handled` asks for nothing.
        """
        now = time.time()
        with writing(self.engine) as connection:
            done = connection.execute(
                insert(schema.events).values(
                    source=source,
                    action=str(action),
                    payload=dict(payload),
                    received_at=now - seconds,
                    handled_at=now if handled else None,
                )
            )
            return int(done.inserted_primary_key[0])  # type: ignore[index]

    def prune_events(self) -> None:
        """Remove events that were looked at and are old, or more than anybody reads."""
        table = schema.events.c
        with writing(self.engine) as connection:
            newest = connection.scalar(select(func.max(table.id))) or 0
            old = or_(table.id <= newest - KEPT_EVENTS, table.handled_at < time.time() - KEPT_SECONDS)
            # The newest stays: it is what the worker compares with.
            connection.execute(
                delete(schema.events).where(table.handled_at.is_not(None), old, table.id < newest)
            )

    def open_events(self, sources: Collection[int]) -> list[Event]:
        """Events of these Label Studio projects that nobody looked at yet, oldest first, without payload."""
        table = schema.events.c
        query = select(table.id, table.source, table.action, table.received_at)
        mine = (table.handled_at.is_(None), table.source.in_(list(sources)))
        return self._records(Event, query.where(*mine).order_by(table.id))

    def events(self, sources: Collection[int], *, limit: int | None = None) -> list[Event]:
        """What happened in these Label Studio projects, newest first."""
        table = schema.events
        query = columns(Event, table).where(table.c.source.in_(list(sources)))
        return self._records(Event, query.order_by(table.c.id.desc()).limit(limit))

    def newest_event(self) -> int:
        """The number of the newest event, 0 before the first: it grows when there is something to look at."""
        return self._scalar(select(func.max(schema.events.c.id))) or 0

    def newest_change(self, project: int) -> int:
        """The number of the newest change that the audit holds of a project, 0 before the first."""
        table = schema.audit.c
        return self._scalar(select(func.max(table.id)).where(table.project == project)) or 0

    def handle_events(self, ids: Sequence[int], result: Mapping[str, int] | None = None) -> None:
        """Record that these events were looked at, and what came of it, as `Event.result`."""
        if not ids:
            return
        brought = {} if result is None else {"result": dict(result)}
        with writing(self.engine) as connection:
            for part in chunks(ids):
                connection.execute(
                    update(schema.events)
                    .where(schema.events.c.id.in_(part))
                    .values(handled_at=time.time(), **brought)
                )

    def add_request(self, project: int, action: str, *, who: str) -> None:
        """Ask the worker for a step, and say so in the audit, at once."""
        now = time.time()
        with writing(self.engine) as connection:
            connection.execute(
                insert(schema.events).values(
                    source=_pool_of(project), action=str(action), payload={"who": who}, received_at=now
                )
            )
            connection.execute(
                insert(schema.audit).values(project=project, at=now, who=who, name=action.lower())
            )

    def audit(
        self, project: int, *, names: Collection[str] = (), limit: int | None = None
    ) -> list[AuditEntry]:
        """What was changed on the dashboard, newest first; of some settings, if named."""
        table = schema.audit
        query = columns(AuditEntry, table).where(table.c.project == project)
        if names:
            query = query.where(table.c.name.in_(names))
        return self._records(AuditEntry, query.order_by(table.c.id.desc()).limit(limit))


def wake_worker(connection: Connection, project: int, action: str, payload: Mapping[str, Any]) -> None:
    """Add an event that wakes the worker for a change which is in the database already.

    It counts as looked at from the start: nothing in Label Studio needs to be read for it.
    """
    now = time.time()
    connection.execute(
        insert(schema.events).values(
            source=_pool_of(project), action=action, payload=dict(payload), received_at=now, handled_at=now
        )
    )


def _pool_of(project: int) -> ScalarSelect[int]:
    """The pool project's id in Label Studio, for a statement to look up."""
    return select(schema.projects.c.pool_project).where(schema.projects.c.id == project).scalar_subquery()

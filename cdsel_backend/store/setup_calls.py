"""Calls of /setup that wait to be looked at. Anybody on the network may send them, so their number is bounded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading, writing

SETUP_CALL = "SETUP_CALL"  # the action of their events
MOST_SETUP_CALLS = 50  # of unknown projects
MOST_HOSTS = 5  # at which one known project was called


@dataclass(frozen=True)
class SetupCall:
    """Somebody called /setup: for which project of Label Studio, at which host name, naming which Label Studio."""

    id: int
    source: int
    host: str
    hostname: str
    received_at: float


class SetupCalls(Database):
    """Calls of /setup that wait to be looked at."""

    def note_setup_call(self, source: int, host: str, hostname: str) -> None:
        """Keep that /setup was called, once for each project and host; not where too many calls wait.

        Those of projects that are connected are kept, however many these are: each may be a budget that was changed.
        """
        table, now = schema.events, time.time()
        with writing(self.engine) as connection:
            waiting = _setup_calls(connection)
            same = [call.id for call in waiting if (call.source, call.host) == (source, host)]
            if same:
                connection.execute(update(table).where(table.c.id.in_(same)).values(received_at=now))
            elif _has_room(connection, source, waiting):
                connection.execute(
                    insert(table).values(
                        source=None,  # perhaps of no project that we know: nobody else is to find it
                        action=SETUP_CALL,
                        payload={"project": source, "host": host, "hostname": hostname},
                        received_at=now,
                    )
                )

    def close_setup_calls(self, calls: Sequence[SetupCall]) -> None:
        """Record that these calls were looked at, unless the same came again meanwhile."""
        table, now = schema.events, time.time()
        with writing(self.engine) as connection:
            for call in calls:
                same = and_(table.c.id == call.id, table.c.received_at == call.received_at)
                connection.execute(update(table).where(same).values(handled_at=now))

    def setup_calls(self) -> list[SetupCall]:
        """The calls of /setup that nobody looked at yet, oldest first."""
        with reading(self.engine) as connection:
            return _setup_calls(connection)


def _has_room(connection: Connection, source: int, waiting: Sequence[SetupCall]) -> bool:
    """Whether another call for a project is kept beside those that are waiting."""
    known = set(connection.scalars(select(schema.projects.c.pool_project)))
    if source in known:
        return sum(call.source == source for call in waiting) < MOST_HOSTS
    return sum(call.source not in known for call in waiting) < MOST_SETUP_CALLS


def _setup_calls(connection: Connection) -> list[SetupCall]:
    table = schema.events.c
    rows = connection.execute(
        select(table.id, table.payload, table.received_at)
        .where(table.handled_at.is_(None), table.action == SETUP_CALL)
        .order_by(table.id)
    )
    return [
        SetupCall(
            row.id, row.payload["project"], row.payload["host"], row.payload["hostname"], row.received_at
        )
        for row in rows
    ]

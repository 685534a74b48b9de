"""What happened and what is asked for: events, requests, the audit; and facts of the whole server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, reading, writing
from cdsel_backend.store.records import AuditEntry, Event
from cdsel_backend.store.rows import columns

ACCOUNTS_FACT = "accounts by number"  # of Label Studio: each one's e-mail, None where Label Studio names none
STUDIO_FACT = "label_studio"  # whether Label Studio answers, for /health
SETUP_CALL = "SETUP_CALL"
MOST_SETUP_CALLS = 50  # of unknown projects that wait to be looked at: anybody on the network may send more
MOST_HOSTS = 5  # likewise, that one known project was called at
KEPT_EVENTS = 10_000
KEPT_SECONDS = 30 * 86400.0
LISTED_FACT = "listed backend of project {}"  # its address, once Label Studio named it under Settings > Model
REPEATS_FACT = "repeated images of project {}"  # how many images of its pool another task shows, too
SECRET_FACT, INSTANCE_FACT, START_FACT = "session_secret", "instance", "start"


@dataclass(frozen=True)
class SetupCall:
    """Somebody called /setup: for which project of Label Studio, at which host name, naming which Label Studio."""

    id: int
    source: int
    host: str
    hostname: str
    received_at: float


class Journal(Database):
    """What happened and what is asked for: events, requests, the audit; and facts of the whole server."""

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
        said = {} if result is None else {"result": dict(result)}
        with writing(self.engine) as connection:
            for part in chunks(ids):
                connection.execute(
                    update(schema.events)
                    .where(schema.events.c.id.in_(part))
                    .values(handled_at=time.time(), **said)
                )

    def add_request(self, project: int, action: str, *, who: str) -> None:
        """Ask the worker for a step, and say so in the audit, at once."""
        now = time.time()
        with writing(self.engine) as connection:
            pool = connection.scalar(
                select(schema.projects.c.pool_project).where(schema.projects.c.id == project)
            )
            connection.execute(
                insert(schema.events).values(
                    source=pool, action=str(action), payload={"who": who}, received_at=now
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

    def set_fact(self, name: str, value: object) -> None:
        """Keep a small fact of the whole server, as JSON."""
        self.change_fact(name, lambda _: value)

    def change_fact(self, name: str, change: Callable[[Any], object]) -> None:
        """Keep what a small fact (None: none yet) is to become, at once: nobody changes it in between."""
        try:
            self._change_fact(name, change)
        except IntegrityError:  # another process made it meanwhile
            self._change_fact(name, change)

    def _change_fact(self, name: str, change: Callable[[Any], object]) -> None:
        table = schema.facts
        here = table.c.name == name
        with writing(self.engine) as connection:
            known = connection.execute(select(table.c.value).where(here).with_for_update()).first()
            if known is None:
                connection.execute(insert(table).values(name=name, value=change(None)))
            else:
                connection.execute(update(table).where(here).values(value=change(known.value)))

    def first_fact(self, name: str, value: object) -> Any:
        """Keep a small fact unless there is one by this name; returns the one that is kept."""
        with suppress(IntegrityError), writing(self.engine) as connection:
            connection.execute(insert(schema.facts).values(name=name, value=value))
        return self.fact(name)

    def secret(self) -> str:
        """What this server signs with, the same for all its processes and after a restart; 64 hex digits."""
        return str(self.fact(SECRET_FACT) or self.first_fact(SECRET_FACT, secrets.token_hex(32)))

    def instance(self) -> str:
        """Which server this is, as /health says: no secret."""
        return str(self.fact(INSTANCE_FACT) or self.first_fact(INSTANCE_FACT, secrets.token_hex(8)))

    def rename_instance(self) -> str:
        """Be another server from here on, as where another one runs on a copy of this database; returns its name."""
        self.set_fact(INSTANCE_FACT, secrets.token_hex(8))
        return self.instance()

    def note_start(self) -> None:
        """Keep that a program begins to work on this database: one that works on a copy of it has another start."""
        self.set_fact(START_FACT, secrets.token_hex(8))

    def start(self) -> str:
        """The last start of a program on this database, as /health says; "" before the first."""
        return str(self.fact(START_FACT) or "")

    def fact(self, name: str) -> Any:
        """A small fact, or none."""
        table = schema.facts
        return self._scalar(select(table.c.value).where(table.c.name == name))


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

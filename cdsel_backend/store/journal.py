"""What happened and what is asked for: events, requests, the audit; and facts of the whole server."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Row, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, reading, writing

STUDIO_FACT = "label_studio"  # whether Label Studio answers, for /health


class Journal(Database):
    """What happened and what is asked for: events, requests, the audit; and facts of the whole server."""

    def add_event(self, source: int | None, action: str, payload: Mapping[str, Any]) -> int:
        """Keep what Label Studio sent; returns its number."""
        with writing(self.engine) as connection:
            done = connection.execute(
                insert(schema.events).values(
                    source=source, action=str(action), payload=dict(payload), received_at=time.time()
                )
            )
            return int(done.inserted_primary_key[0])  # type: ignore[index]

    def open_events(self, sources: Collection[int]) -> list[Row[Any]]:
        """Events of these Label Studio projects that nobody looked at yet, oldest first, without payload."""
        table = schema.events.c
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table.id, table.source, table.action, table.received_at)
                    .where(table.handled_at.is_(None), table.source.in_(list(sources)))
                    .order_by(table.id)
                )
            )

    def events(self, sources: Collection[int], *, limit: int | None = None) -> list[Row[Any]]:
        """What happened in these Label Studio projects, newest first."""
        table = schema.events
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table)
                    .where(table.c.source.in_(list(sources)))
                    .order_by(table.c.id.desc())
                    .limit(limit)
                )
            )

    def newest_event(self) -> int:
        """The number of the newest event, 0 before the first: it grows when there is something to look at."""
        with reading(self.engine) as connection:
            return connection.scalar(select(func.max(schema.events.c.id))) or 0

    def handle_events(self, ids: Sequence[int]) -> None:
        """Record that these events were looked at."""
        with writing(self.engine) as connection:
            for part in chunks(ids):
                connection.execute(
                    update(schema.events).where(schema.events.c.id.in_(part)).values(handled_at=time.time())
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

    def audit(self, project: int, *, name: str | None = None, limit: int | None = None) -> list[Row[Any]]:
        """What was changed on the dashboard, newest first; of one setting, if named."""
        table = schema.audit
        where = (
            table.c.project == project
            if name is None
            else and_(table.c.project == project, table.c.name == name)
        )
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(where).order_by(table.c.id.desc()).limit(limit))
            )

    def set_fact(self, name: str, value: object) -> None:
        """Keep a small fact of the whole server, as JSON."""
        table = schema.facts
        change = update(table).where(table.c.name == name).values(value=value)
        with writing(self.engine) as connection:
            if connection.execute(change).rowcount:
                return
        try:
            with writing(self.engine) as connection:
                connection.execute(insert(table).values(name=name, value=value))
        except IntegrityError:  # another process was quicker
            with writing(self.engine) as connection:
                connection.execute(change)

    def first_fact(self, name: str, value: object) -> Any:
        """Keep a small fact unless there is one by this name; returns the one that is kept."""
        with suppress(IntegrityError), writing(self.engine) as connection:
            connection.execute(insert(schema.facts).values(name=name, value=value))
        return self.fact(name)

    def fact(self, name: str) -> Any:
        """A small fact, or none."""
        table = schema.facts
        with reading(self.engine) as connection:
            return connection.scalar(select(table.c.value).where(table.c.name == name))

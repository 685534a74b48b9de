"""Small facts by their names, as JSON: of the whole server, or of one project where the name says so."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading, writing

ACCOUNTS_FACT = "accounts by number"  # of Label Studio: each one's e-mail, None where Label Studio names none
STUDIO_FACT = "label_studio"  # whether Label Studio answers, for /health
LISTED_FACT = "listed backend of project {}"  # its address, once Label Studio named it under Settings > Model
REPEATS_FACT = "repeated images of project {}"  # how many images of its pool another task shows, too
SECRET_FACT, INSTANCE_FACT, START_FACT = "session_secret", "instance", "start"


class Facts(Database):
    """Small facts, among them what this server is called and what it signs with."""

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
        with reading(self.engine) as connection:
            return read_fact(connection, name)


def read_fact(connection: Connection, name: str) -> Any:
    """A small fact, or none, within a transaction."""
    return connection.scalar(select(schema.facts.c.value).where(schema.facts.c.name == name))


def keep_fact(connection: Connection, name: str, value: object) -> None:
    """Keep a small fact within a transaction that lets nobody else change it, as one that has locked its project."""
    connection.execute(delete(schema.facts).where(schema.facts.c.name == name))
    connection.execute(insert(schema.facts).values(name=name, value=value))

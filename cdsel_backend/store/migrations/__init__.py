"""Bring a database to the schema of this program, and refuse one that is newer.

The revisions are files in `versions/`, numbered 0001, 0002 and so on; each says what it does to the revision before
it. `python -m cdsel_backend.store.migrations "what changes"` writes the next one.
"""

from __future__ import annotations

import logging
import threading
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend import __version__
from cdsel_backend.store import schema
from cdsel_backend.store.vectors import VectorStore

log = logging.getLogger(__name__)

VERSION_TABLE = "schema_revision"
"""Where the database keeps its revision; Label Studio's tables may lie beside it."""
UPGRADED_BY = "upgraded by"  # the fact that names the program's version that brought it there
POSTGRESQL_LOCK = 0xCD5E1  # held during a migration: two processes may start at once
KNOWN = tuple(
    sorted(
        entry.name.partition("_")[0]
        for entry in (files(__package__) / "versions").iterdir()
        if entry.name.endswith(".py")
    )
)
HEAD = KNOWN[-1]
_MIGRATING = threading.Lock()  # alembic keeps its context in a global variable


class NewerDatabase(SQLAlchemyError):
    """The database has a revision that this program does not know; nothing was changed in it."""


class OtherEncoding(SQLAlchemyError):
    """A new database cannot hold every character; nothing was changed in it."""


def migrate(engine: Engine, vectors: VectorStore | None = None) -> None:
    """Bring a database to `HEAD`, all at once or, when a revision fails, not at all.

    An empty database gets every table, one from before there were revisions what it lacks. Where several processes
    open one database at once, the first migrates it and the others wait.

    `vectors` is where vectors are kept; a database from before they had a place of their own needs it.

    Raises:
        NewerDatabase: a newer program made it; the message names both revisions and what to do.
        OtherEncoding: it is new, and cannot hold every character; the message says how to make another.
    """
    revision = _revision(engine)
    if revision == HEAD:
        return
    if revision is None:
        _see_encoding(engine)
    sqlite = engine.dialect.name == "sqlite"
    with _MIGRATING, engine.connect().execution_options(cdsel_write=True) as connection:
        # SQLite changes a column by copying its table, and dropping the old one must not follow foreign keys.
        driver: Any = connection.connection.driver_connection
        if sqlite:
            driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                _upgrade(connection, vectors)
                if sqlite and (row := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
                    raise SQLAlchemyError(
                        f"the migration would leave a row of {row[0]} that refers to nothing"
                    )
        finally:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=ON")


def _see_encoding(engine: Engine) -> None:
    """See that a new database can hold what people write: `≥ 3 mm`, say, or a name in another script.

    Raises:
        OtherEncoding: it is a PostgreSQL database that is not in UTF-8; nothing was changed.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise OtherEncoding(
            f"the database {engine.url.database} has the encoding {encoding}, which lacks characters that names and "
            "metadata may have. Make another one in UTF-8, and name that: "
            f"createdb --encoding UTF8 --template template0 {engine.url.database}_utf8"
        )


def alembic_config(connection: Connection, vectors: VectorStore | None = None) -> Any:
    """What alembic's commands need to work on an open connection."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "vectors": vectors})
    config.set_main_option("script_location", str(files(__package__)).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    return config


def _revision(engine: Engine) -> str | None:
    """The revision of a database, None where it has none yet.

    Raises:
        NewerDatabase: this program does not know the revision.
    """
    with engine.connect() as connection, connection.begin():
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
        if revision is None or revision in KNOWN:
            return revision
        by = "an unknown version"
        if inspect(connection).has_table(schema.facts.name):  # as far as we know what the newer schema has
            fact = select(schema.facts.c.value).where(schema.facts.c.name == UPGRADED_BY)
            by = connection.scalar(fact) or by
    raise NewerDatabase(
        f"the database {engine.url.render_as_string(hide_password=True)} is newer than this program: its schema is "
        f"revision {revision}, written by cdsel {by}, and this cdsel {__version__} knows revisions up to {HEAD}. "
        "Nothing was changed. Install the newer cdsel again, or name another database with CDSEL_DATABASE_URL"
    )


def _upgrade(connection: Connection, vectors: VectorStore | None) -> None:
    # Here, not above: a database that is at its newest revision opens without alembic.
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRESQL_LOCK})
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.upgrade(alembic_config(connection, vectors), "head")
    table = schema.facts
    connection.execute(table.delete().where(table.c.name == UPGRADED_BY))
    connection.execute(table.insert().values(name=UPGRADED_BY, value=__version__))

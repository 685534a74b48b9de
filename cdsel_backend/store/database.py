"""Opening the database: SQLite in WAL mode, or any other by URL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Executable,
    Row,
    Select,
    Table,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from cdsel_backend.settings import secret_now
from cdsel_backend.store import schema
from cdsel_backend.store.migrations import migrate
from cdsel_backend.store.rows import R, columns, records
from cdsel_backend.store.vector_shards import VectorShards
from cdsel_backend.store.vectors import VectorStore

VECTORS = "vectors"  # the folder beside the database
CHUNK = 500  # rows of one statement: below every database's limit of bound values

SQLITE_WAIT_S = 30  # how long a transaction waits for the one that writes

POSTGRESQL_OPTIONS: Mapping[str, Any] = {
    # What lies in it is JSON and names in every script; a database without an encoding gives bytes otherwise.
    "client_encoding": "utf8",
    # A pooler such as PgBouncer gives each transaction another session, where a statement prepared before is unknown.
    "prepare_threshold": None,
    # A firewall that forgets a connection says nothing: without these a request waits for a quarter of an hour.
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,  # seconds
    "keepalives_interval": 10,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
"""How PostgreSQL is connected to, where the database's URL does not say otherwise."""

_CONNECTIONS_ALLOWED = text(
    """
    SELECT least(
        CASE WHEN rolconnlimit < 0 OR rolsuper THEN server ELSE rolconnlimit END,
        CASE WHEN datconnlimit < 0 OR rolsuper THEN server ELSE datconnlimit END,
        server
    )
    FROM pg_roles, pg_database, (
        SELECT current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int AS server
    ) AS bounds
    WHERE rolname = current_user AND datname = current_database()
    """
)

READ_ONLY = "25006"  # PostgreSQL's code of a transaction that may not write, as on a standby

LEASE = "cdsel_lease"  # the option of an engine whose transactions are under a lease: its name and its holder


class LeaseLost(Exception):
    """The lease that the work was under has another holder, or none: somebody else is at it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lease {name} was lost: another worker is at it")


def open_database(url: str, vectors: VectorStore | None = None) -> Engine:
    """Open the database at a SQLAlchemy URL and bring it to this program's schema.

    Raises:
        NewerDatabase: a newer program made the database; nothing was changed.
        sqlalchemy.exc.ArgumentError: the URL is none, or of a kind of database that is not supported here.
        sqlalchemy.exc.OperationalError: the database does not answer.
    """
    parsed = _supported(make_url(url))
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": SQLITE_WAIT_S})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if parsed.database and parsed.database != ":memory:":
            _watch_file(engine, Path(parsed.database))
    else:
        try:
            options = {name: value for name, value in POSTGRESQL_OPTIONS.items() if name not in parsed.query}
            engine = create_engine(parsed, pool_pre_ping=True, connect_args=options)
        except ImportError as error:
            raise ArgumentError(f"{error}: pip install 'cdsel-backend[postgres]'") from error
        event.listen(engine, "do_connect", partial(_renew_login, parsed))
    event.listen(engine, "handle_error", _leave_read_only)
    migrate(engine, vectors)
    return engine


def _supported(url: URL) -> URL:
    """The URL as SQLAlchemy wants it: `postgres://` and `postgresql://` are what others write for our driver's."""
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername.partition("+")[0] not in ("sqlite", "postgresql"):
        raise ArgumentError(
            f"{url.drivername}:// is neither SQLite nor PostgreSQL: write sqlite:////folder/file or "
            "postgresql+psycopg://user:password@host/name"
        )
    return url


def _renew_login(opened: URL, _dialect: object, _record: object, _: object, options: dict[str, Any]) -> None:
    """Connect as the file of the database's URL says now: its password, or its user, may have been replaced."""
    with suppress(ArgumentError):  # none is named, or it is being written
        now = _supported(make_url(secret_now("CDSEL_DATABASE_URL") or ""))
        if now.set(username="", password="") == opened.set(username="", password=""):
            options |= {"user": now.username, "password": now.password}


def _leave_read_only(context: ExceptionContext) -> None:
    """Connect anew where nothing can be written: a connection that began so stays so, whatever comes of it."""
    fault = context.original_exception
    if getattr(fault, "sqlstate", None) == READ_ONLY or "readonly database" in str(fault):
        context.is_disconnect = True
        cursor = getattr(context.execution_context, "cursor", None)
        # With a statement left open SQLite's connection stays, and new ones are like it.
        if cursor is not None:
            cursor.close()


def _watch_file(engine: Engine, file: Path) -> None:
    """See that the file stays the one that was opened: a deleted one would be written to unseen, and lost.

    Where another is there, such as a backup, new connections go to it. Where none is, nothing makes an empty one.
    """
    opened = False

    def connect(*_: object) -> None:
        if opened and not file.exists():
            raise sqlite3.OperationalError(
                f"the file {file} was deleted while it was in use: bring it back from a backup, or stop this program "
                "and start anew"
            )

    def remember(_: object, record: ConnectionPoolEntry) -> None:
        nonlocal opened
        opened, record.info["file"] = True, _identity(file)

    def compare(_: object, record: ConnectionPoolEntry, *__: object) -> None:
        if record.info.get("file") != _identity(file):
            raise DisconnectionError(f"{file} is another file than it was")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes too late for a read that a write depends on: we say BEGIN ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={1000 * SQLITE_WAIT_S}")
    _switch_to_wal(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Let readers go on while somebody writes. SQLite's own waiting leaves out the switch of a new file: wait here."""
    deadline = time.monotonic() + SQLITE_WAIT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("cdsel_write", False)
    # IMMEDIATE takes the write lock at the start: a read that turns into a write could not wait for it.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


_WRITES: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()
"""How many transactions that may have written each engine had; one that works under a lease has its own."""


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write: commits at the end, rolls back on an exception.

    Raises:
        LeaseLost: the engine works under a lease (`Store.under`), and that is lost; nothing was written.
    """
    with engine.connect().execution_options(cdsel_write=True) as connection, connection.begin():
        lease = engine.get_execution_options().get(LEASE)
        if lease is not None:
            _hold(connection, *lease)
        try:
            yield connection
        finally:
            _WRITES[engine] = _WRITES.get(engine, 0) + 1


def _hold(connection: Connection, name: str, holder: str) -> None:
    """See that a lease is its holder's, and keep it so until the transaction ends."""
    table = schema.leases
    # PostgreSQL locks the row; SQLite has one writer at a time.
    row = select(table.c.holder).where(table.c.name == name).with_for_update(read=True)
    if connection.scalar(row) != holder:
        raise LeaseLost(name)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, from one snapshot."""
    with engine.connect() as connection:
        if connection.dialect.name != "sqlite":  # where each statement would see what is new
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def lock_project(connection: Connection, project: int) -> None:
    """Let nobody else change the row of a project until the transaction ends: what is read of it is still so then.

    SQLite has one writer at a time. On PostgreSQL it comes before all that depends on it is read, and no item may be
    changed afterwards: other transactions change items first, and the counts in the project's row last.
    """
    table = schema.projects
    connection.execute(select(table.c.id).where(table.c.id == project).with_for_update(key_share=True))


def chunks(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Parts of rows that one statement can take."""
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def rows_with(
    connection: Connection, query: Select[Any], column: ColumnElement[Any], values: Collection[Any]
) -> Iterator[Row[Any]]:
    """The rows of a query whose column has one of many values: one statement for each part of the sorted values.

    Rows of one part come in the order of the query, before those of the next.
    """
    for part in chunks(sorted(values)):
        yield from connection.execute(query.where(column.in_(part)))


def records_with(
    connection: Connection,
    kind: type[R],
    query: Select[Any],
    column: ColumnElement[Any],
    values: Collection[Any],
) -> list[R]:
    """The answer of `rows_with` as records, for a query that `columns` began."""
    parts = (query.where(column.in_(part)) for part in chunks(sorted(values)))
    return [record for part in parts for record in records(connection, kind, part)]


class Database:
    """The base of every part of the store: the opened database, and the vectors beside it."""

    def __init__(self, url: str, vectors: VectorStore | Path | None = None) -> None:
        """Open the database at a URL, and the vectors: a store of them or its folder; None: beside a SQLite file."""
        self._vectors = vectors_at(url, vectors)
        self.engine = open_database(url, self._vectors)

    @property
    def vectors_kept(self) -> VectorStore:
        """The store of the vectors.

        Raises:
            sqlalchemy.exc.ArgumentError: the database is no file that they could lie beside, and no folder was named.
        """
        if self._vectors is None:
            raise ArgumentError("this database is no file: name the folder of its vectors, too")
        return self._vectors

    def connections_allowed(self) -> int | None:
        """How many connections PostgreSQL allows this account at once, in all its programs; None: no bound is known."""
        if self.engine.dialect.name != "postgresql":
            return None
        with reading(self.engine) as connection:
            return int(connection.scalar(_CONNECTIONS_ALLOWED))

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @property
    def writes(self) -> int:
        """How many transactions that may have written went through this object, or others of its engine."""
        return _WRITES.get(self.engine, 0)

    def _records(self, kind: type[R], query: Select[Any]) -> list[R]:
        """Ask a query that `columns` began, in a transaction of its own; returns its rows as records."""
        with reading(self.engine) as connection:
            return records(connection, kind, query)

    def _of_project(self, kind: type[R], table: Table, project: int, *order: str) -> list[R]:
        """Every row of a table that is of a project, as records, ordered by columns."""
        query = columns(kind, table).where(table.c.project == project)
        return self._records(kind, query.order_by(*(table.c[name] for name in order)))

    def _scalar(self, query: Select[Any]) -> Any:
        """The one value that a query answers, None where there is none, in a transaction of its own."""
        with reading(self.engine) as connection:
            return connection.scalar(query)

    def _execute(self, statement: Executable) -> None:
        """Change something by one statement, in a transaction of its own."""
        with writing(self.engine) as connection:
            connection.execute(statement)


def vectors_at(url: str, vectors: VectorStore | Path | None) -> VectorStore | None:
    """Return the store of vectors that is named, or the one beside a SQLite file; None where there is neither."""
    if vectors is None:
        file = make_url(url).database
        if make_url(url).get_backend_name() != "sqlite" or not file or file == ":memory:":
            return None
        vectors = Path(file).parent / VECTORS
    return VectorShards(vectors) if isinstance(vectors, Path) else vectors

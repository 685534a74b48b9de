"""Many rows of a statement as one value: the interpreter's lock is given up once for hundreds, not twice for each.

Each time a thread gives the lock up it waits for whoever took it, so that a statement for each row took three times as
long beside a busy pipeline as alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, String, bindparam, cast, column, func, types
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from cdsel_backend.store.database import CHUNK

_UPDATE_FROM = (3, 33)  # the version of SQLite that knows it; before, the rows are given one by one


class Bulk:
    """Rows that a statement takes: its `columns` stand for their values, whatever the number of rows.

    A statement that names a column is executed with all rows by `execute`.
    """

    def __init__(self, connection: Connection, kinds: Mapping[str, TypeEngine[Any]]) -> None:
        """Take the names and types of the columns; values are what JSON can hold, those of type JSON text."""
        self._connection = connection
        self._names = list(kinds)
        self._whole = True
        if connection.dialect.name == "postgresql":
            array = cast(bindparam("rows", type_=String), JSON)
            elements = func.json_array_elements(array).table_valued(column("value", JSON))
            given = elements.render_derived(name="given").c.value
            self.columns: dict[str, ColumnElement[Any]] = {
                name: cast(given[at].astext, kind) for at, (name, kind) in enumerate(kinds.items())
            }
        elif connection.dialect.name == "sqlite" and _sqlite_version(connection) >= _UPDATE_FROM:
            given = (
                func.json_each(bindparam("rows", type_=String)).table_valued("value", name="given").c.value
            )
            self.columns = {
                name: func.json_extract(given, f"$[{at}]", type_=kind)
                for at, (name, kind) in enumerate(kinds.items())
            }
        else:
            self._whole = False
            self.columns = {
                name: bindparam(name, type_=String() if isinstance(kind, types.JSON) else kind)
                for name, kind in kinds.items()
            }

    def execute(self, statement: Executable, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Execute a statement with rows; returns the rows that it answers, of each part."""
        answers: list[Any] = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            if self._whole:
                results = [self._connection.execute(statement, {"rows": json.dumps(part)})]
            else:
                named = (dict(zip(self._names, row, strict=True)) for row in part)
                results = [self._connection.execute(statement, row) for row in named]
            for result in results:
                if result.returns_rows:
                    answers += result.all()
        return answers


def _sqlite_version(connection: Connection) -> tuple[int, ...]:
    version: tuple[int, ...] = connection.dialect.dbapi.sqlite_version_info  # type: ignore[union-attr]
    return version

"""Items found by what the fields of their tasks say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Text, cast, func, or_, select

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading

PLAIN = re.compile(r"[A-Za-z0-9 _./:-]+")  # what JSON keeps as it is


class Search(Database):
    """Items found by what the fields of their tasks say."""

    def items_with_text(self, project: int, text: str) -> list[int]:
        """Items of the pool one of whose fields, or whose name in its source, contains a text; ascending.

        Upper and lower case are alike.
        """
        table, wanted = schema.items.c, text.casefold()
        query = (
            select(table.id, table.data, table.key)
            .where(table.project == project, ~table.gone)
            .order_by(table.id)
            .execution_options(yield_per=2000)
        )
        # The database looks for the longest part that JSON holds unescaped, and we look for the whole text in what it
        # finds. "ss" is no such part: casefold() makes it of ß, too, which the database does not.
        parts = (part for plain in PLAIN.findall(text) for part in plain.lower().split("ss"))
        part = max(parts, key=len, default="")
        if part:
            texts = (cast(table.data, Text), table.key)
            query = query.where(or_(*(func.lower(field).contains(part, autoescape=True) for field in texts)))
        with reading(self.engine) as connection:
            return [
                item
                for item, data, key in connection.execute(query)
                if any(wanted in field for field in _texts([data, key]))
            ]


def _texts(value: object) -> Iterator[str]:
    """Every text and number in what a task holds, without the names of the fields."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value).casefold()

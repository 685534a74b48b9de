"""Items found by what the fields of their tasks say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Text, cast, func, select

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading

PLAIN = re.compile(r"[A-Za-z0-9 _./:-]+")  # what JSON keeps as it is


class Search(Database):
    """Items found by what the fields of their tasks say."""

    def items_with_text(self, project: int, text: str) -> list[int]:
        """Items of the pool one of whose fields contains a text, upper or lower case alike; ascending."""
        table, wanted = schema.items.c, text.casefold()
        query = (
            select(table.id, table.data)
            .where(table.project == project, ~table.gone)
            .order_by(table.id)
            .execution_options(yield_per=2000)
        )
        # The database looks for the longest part that its text of the JSON holds as it is, and we for the whole.
        part = max(PLAIN.findall(wanted), key=len, default="")
        if part:
            query = query.where(func.lower(cast(table.data, Text)).contains(part, autoescape=True))
        with reading(self.engine) as connection:
            return [
                item
                for item, data in connection.execute(query)
                if any(wanted in said for said in _texts(data))
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

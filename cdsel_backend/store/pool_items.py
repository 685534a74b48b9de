"""The items of the pool, as they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    and_,
    exists,
    func,
    or_,
    select,
)

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading, records_with, rows_with
from cdsel_backend.store.records import Item
from cdsel_backend.store.rows import columns

PART = 2000  # items read, or tasks taken in, by one transaction


class PoolItems(Database):
    """The items of the pool."""

    def tasks_of_pool(self, project: int) -> list[int]:
        """The tasks of the pool project that are in the pool, ascending."""
        table = schema.items.c
        here = select(table.task).where(table.project == project, ~table.gone, table.source.is_(None))
        with reading(self.engine) as connection:
            return list(connection.scalars(here.order_by(table.task)))

    def items(self, project: int) -> list[Item]:
        """Every item that ever was in the pool, also those gone since, in order of their ids."""
        return self._of_project(Item, schema.items, project, "id")

    def iter_items(self, project: int) -> Iterator[list[Item]]:
        """The items of the pool in parts, in order of ids. Each part is read in a transaction of its own."""
        table, last = schema.items, 0
        while True:
            query = columns(Item, table).where(table.c.project == project, ~table.c.gone, table.c.id > last)
            part = self._records(Item, query.order_by(table.c.id).limit(PART))
            if not part:
                return
            yield part
            last = part[-1].id

    def ends_of_pool(self, project: int, limit: int) -> list[Item]:
        """The first items of a pool and the last, so many of each; in a small one some are both."""
        table = schema.items
        here = columns(Item, table).where(table.c.project == project, ~table.c.gone).limit(limit)
        first = self._records(Item, here.order_by(table.c.id))
        return first + (self._records(Item, here.order_by(table.c.id.desc())) if len(first) == limit else [])

    def items_by_id(self, ids: Collection[int]) -> dict[int, Item]:
        """Some items, by their ids."""
        return {row.id: row for row in some_items(self.engine, schema.items.c.id, ids)}

    def items_by_task(self, project: int, tasks: Collection[int]) -> dict[int, Item]:
        """Some items, by their tasks in the pool project."""
        table = schema.items.c
        return {row.task: row for row in some_items(self.engine, table.task, tasks, table.project == project)}

    def usable(self, ids: Collection[int], *, read: bool = False) -> set[int]:
        """The items, of some, that are in the pool and whose image can be used; `read`: only those that were read."""
        table = schema.items.c
        here = and_(
            ~table.gone, table.problem.is_(None), *([table.content_hash.is_not(None)] if read else ())
        )
        query = select(table.id).where(here)
        with reading(self.engine) as connection:
            return {row.id for row in rows_with(connection, query, table.id, ids)}

    def contents(self, ids: Collection[int]) -> dict[int, str]:
        """Item -> the SHA-256 of its file, for the items, of some, whose image was read."""
        table = schema.items.c
        query = select(table.id, table.content_hash).where(table.content_hash.is_not(None))
        with reading(self.engine) as connection:
            return {row.id: row.content_hash for row in rows_with(connection, query, table.id, ids)}

    def double_images(self, project: int) -> list[set[int]]:
        """Items with a label or a task in a queue that show the same picture as others of these, byte for byte.

        One that is not read yet shows what was read first at its address; where nothing was, those of one address show
        the same.
        """
        table = schema.items.c
        here, worth = table.project == project, _of_worth(project)
        double = select(table.content_hash).where(here, table.content_hash.is_not(None))
        double = double.group_by(table.content_hash).having(func.count() > 1)
        unread = select(table.image).where(here, worth, table.content_hash.is_(None), table.image != "")
        query = select(table.id, table.image, table.content_hash).where(here, worth)
        with reading(self.engine) as connection:
            found = set(connection.execute(query.where(table.content_hash.in_(double))))
            if connection.execute(unread.limit(1)).first() is not None:
                found.update(connection.execute(query.where(table.image.in_(unread))))
        rows = sorted(found, key=lambda row: row.id)
        contents: dict[str, str] = {}
        for row in rows:
            if row.image and row.content_hash:
                contents.setdefault(row.image, row.content_hash)
        shown: dict[object, set[int]] = {}
        for row in rows:
            content = row.content_hash or contents.get(row.image)
            shown.setdefault(content or (row.image or row.id,), set()).add(row.id)
        return [items for items in shown.values() if len(items) > 1]

    def showing(self, project: int, contents: Collection[str]) -> list[tuple[int, str]]:
        """Items with an annotation or a task in a queue that show one of some files: (item, content)."""
        table = schema.items.c
        query = select(table.id, table.content_hash).where(table.project == project, _of_worth(project))
        with reading(self.engine) as connection:
            found = rows_with(connection, query, table.content_hash, contents)
            return [(row.id, row.content_hash) for row in found]

    def noted(self, project: int, *, limit: int | None = None) -> list[Item]:
        """Items of the pool that are used though something is odd about their file, which their `note` says."""
        return self._with(project, schema.items.c.note, limit)

    def unusable(self, project: int, *, limit: int | None = None, after: int = 0) -> list[Item]:
        """Items of the pool with a higher id than `after` whose image cannot be used; the reason is `problem`."""
        return self._with(project, schema.items.c.problem, limit, after)

    def _with(self, project: int, column: Column[Any], limit: int | None, after: int = 0) -> list[Item]:
        table = schema.items
        here = (table.c.project == project, ~table.c.gone, column.is_not(None), table.c.id > after)
        return self._records(Item, columns(Item, table).where(*here).order_by(table.c.id).limit(limit))


def _of_worth(project: int) -> ColumnElement[bool]:
    """Whether an item has an annotation or a task in a queue, asked of one item after the other: of those that share
    their content with others there are few, and of those with an annotation many.
    """
    item, labels, selections = schema.items.c.id, schema.labels.c, schema.selections.c
    pushed = (selections.item == item, selections.queue_task.is_not(None))
    return or_(
        exists().where(labels.project == project, labels.item == item),
        exists().where(selections.project == project, *pushed),
    )


def some_items(
    engine: Engine, column: ColumnElement[Any], values: Collection[Any], *where: ColumnElement[bool]
) -> list[Item]:
    """Items whose column has one of many values, in one transaction."""
    query = columns(Item, schema.items).where(*where)
    with reading(engine) as connection:
        return records_with(connection, Item, query, column, values)

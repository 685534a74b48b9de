"""The items of the pool, as they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    and_,
    func,
    or_,
    select,
    union,
)

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, reading
from cdsel_backend.store.records import Item
from cdsel_backend.store.rows import columns, records

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
        """What is in the pool, in parts and in order of ids; no part waits for another in one transaction."""
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

    def double_images(self, project: int) -> list[set[int]]:
        """Items with a label or a task in a queue that show the same picture as others of these, byte for byte.

        One that is not read yet shows what was read first at its address; where nothing was, those of one address show
        the same.
        """
        table, labels, selections = schema.items.c, schema.labels.c, schema.selections.c
        of_worth = union(
            select(labels.item).where(labels.project == project),
            select(selections.item).where(selections.project == project, selections.queue_task.is_not(None)),
        )
        here = and_(table.project == project, table.id.in_(of_worth))
        double = [
            select(column)
            .where(here, column.is_not(None), column != "")
            .group_by(column)
            .having(func.count() > 1)
            for column in (table.image, table.content_hash)
        ]
        query = select(table.id, table.image, table.content_hash).where(
            here, or_(table.image.in_(double[0]), table.content_hash.in_(double[1]))
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(table.id)).all()
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
        table, labels, selections = schema.items.c, schema.labels.c, schema.selections.c
        of_worth = union(
            select(labels.item).where(labels.project == project),
            select(selections.item).where(selections.project == project, selections.queue_task.is_not(None)),
        )
        query = select(table.id, table.content_hash).where(table.project == project, table.id.in_(of_worth))
        with reading(self.engine) as connection:
            parts = (query.where(table.content_hash.in_(part)) for part in chunks(sorted(contents)))
            return [(row.id, row.content_hash) for part in parts for row in connection.execute(part)]

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


def some_items(
    engine: Engine, column: ColumnElement[Any], values: Collection[Any], *where: ColumnElement[bool]
) -> list[Item]:
    """Items whose column has one of many values, in one transaction."""
    query = columns(Item, schema.items).where(*where)
    with reading(engine) as connection:
        parts = (query.where(column.in_(part)) for part in chunks(sorted(values)))
        return [row for part in parts for row in records(connection, Item, part)]

"""The sources of pools outside Label Studio, and the items that they list."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from cdsel_backend.pool.source import SourceItem
from cdsel_backend.store import schema
from cdsel_backend.store.counts import counting, recount
from cdsel_backend.store.database import Database, chunks, lock_project, reading, rows_with, writing
from cdsel_backend.store.pool_items import PART, some_items
from cdsel_backend.store.pool_tasks import DUE_ANEW, UNREAD, pool_moved
from cdsel_backend.store.records import Item, Source
from cdsel_backend.store.rows import columns, records


class Sources(Database):
    """The sources of pools outside Label Studio, and the items that they list."""

    def add_source(self, project: int, address: str, options: Mapping[str, Any]) -> Source:
        """Give a project a source, or another way to read one that it has; the connected project is its queue.

        What could not be read is tried again; where the way to read is another one, all of its images are read again.
        """
        table, projects = schema.sources, schema.projects
        with writing(self.engine) as connection:
            here = (table.c.project == project) & (table.c.address == address)
            _lock_sources(connection, project)
            lock_project(connection, project)
            row = connection.execute(select(table.c.id, table.c.options).where(here)).first()
            values = {"options": dict(options), "watermark": "", "removed": False}
            if row is None:
                connection.execute(insert(table).values(project=project, address=address, **values))
            else:
                connection.execute(update(table).where(here).values(**values))
                _read_again(connection, project, row.id, everything=dict(row.options) != dict(options))
            pool = connection.scalar(select(projects.c.pool_project).where(projects.c.id == project))
            connection.execute(update(projects).where(projects.c.id == project).values(queue_project=pool))
            return records(connection, Source, columns(Source, table).where(here))[0]

    def sources(self, project: int, *, removed: bool = False) -> list[Source]:
        """The sources of a project, oldest first; with `removed`, also those that were.

        There are none where its pool is a project of Label Studio.
        """
        table = schema.sources
        query = columns(Source, table).where(table.c.project == project).order_by(table.c.id)
        return self._records(Source, query if removed else query.where(~table.c.removed))

    def source(self, source: int) -> Source:
        """One source, removed or not."""
        table = schema.sources
        return self._records(Source, columns(Source, table).where(table.c.id == source))[0]

    def remove_source(self, source: int) -> None:
        """List a source no more. What came of its images stays known, and they come back where it is added again."""
        table = schema.sources
        self._execute(update(table).where(table.c.id == source).values(removed=True))

    def note_listing(self, source: int, watermark: str) -> None:
        """Keep that a source was listed, and up to where."""
        table = schema.sources
        self._execute(
            update(table).where(table.c.id == source).values(watermark=watermark, listed_at=time.time())
        )

    def known_items(self, source: int, keys: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Key -> stamp and data of those of some items of a source that are in the pool already."""
        table = schema.items.c
        query = select(table.key, table.stamp, table.data).where(table.source == source, ~table.gone)
        with reading(self.engine) as connection:
            found = rows_with(connection, query, table.key, keys)
            return {row.key: (row.stamp, row.data) for row in found}

    def first_items(self, source: int, limit: int) -> list[Item]:
        """The first items of a source that are in the pool and of which nothing is known to be wrong."""
        table = schema.items
        here = columns(Item, table).where(table.c.source == source, ~table.c.gone, table.c.problem.is_(None))
        return self._records(Item, here.order_by(table.c.id).limit(limit))

    def items_by_key(self, source: int, keys: Sequence[str]) -> dict[str, Item]:
        """Some items of a source that are in the pool, by their keys."""
        table = schema.items.c
        found = some_items(self.engine, table.key, keys, table.source == source, ~table.gone)
        return {row.key or "": row for row in found}

    def take_items(self, source: Source, items: Sequence[SourceItem]) -> tuple[int, int]:
        """Take in what a source lists, unless it was removed; returns how many items are new, and how many changed."""
        table, sources = schema.items, schema.sources
        with writing(self.engine) as connection:
            _lock_sources(connection, source.project)
            if connection.scalar(select(sources.c.removed).where(sources.c.id == source.id)):
                return 0, 0
            of_source = select(table).where(table.c.source == source.id)
            keys = [item.key for item in items]
            known = {row.key: row for row in rows_with(connection, of_source, table.c.key, keys)}
            last = connection.scalar(select(func.max(table.c.task)).where(table.c.project == source.project))
            new: list[dict[str, Any]] = []
            seen = set(known)
            for item in items:
                if item.key not in seen:
                    seen.add(item.key)
                    values = _values(item) | {"due_at": None if item.problem else 0.0}
                    task = (last or 0) + 1 + len(new)
                    new.append({"project": source.project, "source": source.id, "task": task, **values})
            for rows in chunks(new):
                connection.execute(insert(table), rows)
            changed = [item for item in items if item.key in known and _differs(known[item.key], item)]
            with counting(connection, [known[item.key].id for item in changed]):
                for item in changed:
                    row = known[item.key]
                    values = _values(item) | {"gone": False}
                    if row.stamp != item.stamp or row.image != item.image or item.problem or row.problem:
                        values |= UNREAD | {"problem": item.problem}
                        values["due_at"] = None if item.problem else DUE_ANEW
                    else:
                        values["problem"] = row.problem
                        values["due_at"] = 0.0 if row.vector is None else None
                    connection.execute(update(table).where(table.c.id == row.id).values(values))
            if new:
                recount(connection, source.project)
            if new or changed:
                pool_moved(connection, source.project)
        return len(new), len(changed)

    def items_of_source(self, source: int) -> dict[str, int]:
        """Key -> item of what is in the pool from a source."""
        table = schema.items.c
        with reading(self.engine) as connection:
            return {
                row.key: row.id
                for row in connection.execute(
                    select(table.key, table.id).where(table.source == source, ~table.gone)
                )
            }


def in_parts(items: Iterator[SourceItem]) -> Iterator[list[SourceItem]]:
    """Parts of a listing that one transaction takes in."""
    while part := list(islice(items, PART)):
        yield part


def _read_again(connection: Connection, project: int, source: int, *, everything: bool) -> None:
    """Have images of a source read at the next look: those that could not be, or every one."""
    table = schema.items
    here = update(table).where(table.c.source == source, ~table.c.gone, table.c.image != "")
    now = time.time()
    connection.execute(here.where(table.c.due_at > now).values(due_at=now))
    if everything:
        connection.execute(here.values(UNREAD | {"due_at": DUE_ANEW}))
        recount(connection, project)
        pool_moved(connection, project)


def _lock_sources(connection: Connection, project: int) -> None:
    """Let nobody else list sources of a project until the transaction ends.

    The worker and `cdsel pool add` may list at the same time, and would give new items the same numbers.
    """
    table = schema.sources.c
    here = select(table.id).where(table.project == project).order_by(table.id)
    connection.execute(here.with_for_update(key_share=True))


def _values(item: SourceItem) -> dict[str, Any]:
    return {
        "key": item.key,
        "image": item.image,
        "data": dict(item.data),
        "stamp": item.stamp,
        "problem": item.problem,
    }


def _differs(row: Any, item: SourceItem) -> bool:
    listed = (row.image, row.stamp) != (item.image, item.stamp) or dict(row.data) != dict(item.data)
    return bool(row.gone or listed or (item.problem is not None and row.problem != item.problem))

"""How many items of a project have a vector, cannot be used, and exist: kept true over each change, or counted anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import (
    Connection,
    Integer,
    case,
    func,
    select,
    update,
)

from cdsel_backend.store import schema
from cdsel_backend.store.bulk import Bulk
from cdsel_backend.store.database import lock_project

# How a project counts its items
_COUNTS = (
    func.sum(case((schema.items.c.vector.is_not(None), 1), else_=0)),
    func.sum(case((schema.items.c.problem.is_not(None), 1), else_=0)),
    func.count(),
)
_NAMES = ("embedded_count", "unusable_count", "item_count")


class counting:  # noqa: N801 - a context manager
    """Keep the counts of projects true over a change of some of their items, within its transaction."""

    def __init__(self, connection: Connection, ids: Collection[int]) -> None:
        self._connection = connection
        self._ids = sorted(set(ids))

    def __enter__(self) -> None:
        self._before = self._count()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        after, zero = self._count(), (0, 0, 0)
        for project in self._before.keys() | after.keys():
            old, new = self._before.get(project, zero), after.get(project, zero)
            add_counts(self._connection, project, tuple(b - a for a, b in zip(old, new, strict=True)))

    def _count(self) -> dict[int, tuple[int, ...]]:
        items = schema.items.c
        counts: dict[int, tuple[int, ...]] = {}
        bulk = Bulk(self._connection, {"item": Integer()})
        query = select(items.project, *_COUNTS).where(items.id == bulk.columns["item"], ~items.gone)
        for project, *found in bulk.execute(query.group_by(items.project), [(item,) for item in self._ids]):
            known = counts.get(project, (0, 0, 0))
            counts[project] = tuple(a + int(b) for a, b in zip(known, found, strict=True))
        return counts


def add_counts(connection: Connection, project: int, counts: Sequence[int]) -> None:
    """Add to how many items of a project have a vector, cannot be used, and exist."""
    table = schema.projects
    if any(counts):
        changed = {name: table.c[name] + count for name, count in zip(_NAMES, counts, strict=True)}
        connection.execute(update(table).where(table.c.id == project).values(changed))


def recount(connection: Connection, project: int) -> None:
    """Count the items of a project anew."""
    items, table = schema.items.c, schema.projects
    # Locked, so that what another transaction has added by now is in its row and in its items.
    lock_project(connection, project)
    found = connection.execute(select(*_COUNTS).where(items.project == project, ~items.gone)).one()
    counts = {name: int(count or 0) for name, count in zip(_NAMES, found, strict=True)}
    connection.execute(update(table).where(table.c.id == project).values(counts))

"""What an admin wants of single images: left out, or put first; every change, and the last one undone."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from cdsel_backend.phrases import number_of, numbered
from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, lock_project, reading, rows_with, writing
from cdsel_backend.store.journal import wake_worker
from cdsel_backend.store.records import AuditEntry, Directive, DirectiveChange
from cdsel_backend.store.rows import columns

AUDIT_NAMES = {
    Directive.EXCLUDED: "images excluded",
    Directive.FIRST: "images put first",
    None: "images put back among the others",
}
"""What the audit calls a change."""
UNDONE = "last change of images undone"
TASKS_NAMED = 5  # in a row of the audit


class Directives(Database):
    """What an admin wants of single images."""

    def direct(self, project: int, items: Collection[int], directive: Directive | None, *, who: str) -> int:
        """Set the directive of some items at once, note it in the audit, and wake the worker.

        None takes their directives away. Returns for how many items this is a change.
        """
        with writing(self.engine) as connection:
            lock_project(connection, project)
            known = _known(connection, project, items)
            wanted = [(item, directive, known.get(item)) for item in sorted(items)]
            return _change(connection, project, wanted, name=AUDIT_NAMES[directive], who=who)

    def undo_directives(self, project: int, *, who: str, at: str | None = None) -> int | None:
        """Undo the last change of directives, except of items that were changed again; returns of how many items.

        Called twice, it makes the change again. `at` names the change that is meant, by `AuditEntry.at` as text: where
        another is the last one by now, nothing is done and None is returned.
        """
        table, audit = schema.directives.c, schema.audit.c
        with writing(self.engine) as connection:
            lock_project(connection, project)
            last = select(func.max(table.change)).where(table.project == project).scalar_subquery()
            made = connection.scalar(select(audit.at).where(audit.id == last))
            if at is not None and at != str(made):
                return None
            rows = connection.execute(
                select(table.item, table.former, table.directive).where(
                    table.project == project, table.change == last, table.latest
                )
            )
            wanted = [(row.item, _read(row.former), _read(row.directive)) for row in rows]
            return _change(connection, project, wanted, name=UNDONE, who=who)

    def directives(self, project: int, *, items: Collection[int] | None = None) -> dict[int, Directive]:
        """Item -> its directive, in the order in which these were given; `items`: only of these, None: of all."""
        with reading(self.engine) as connection:
            return _known(connection, project, items)

    def last_change(self, project: int) -> AuditEntry | None:
        """The audit's row of what `undo_directives` would take back; None where there is nothing."""
        table, audit = schema.directives.c, schema.audit
        last = select(func.max(table.change)).where(table.project == project).scalar_subquery()
        found = self._records(AuditEntry, columns(AuditEntry, audit).where(audit.c.id == last))
        return found[0] if found else None

    def last_directive(self, project: int) -> int:
        """The number of the newest change, 0 before the first: it grows with each."""
        table = schema.directives.c
        return self._scalar(select(func.max(table.id)).where(table.project == project)) or 0

    def directive_changes(self, project: int, item: int) -> list[DirectiveChange]:
        """Every change of one item's directive, oldest first."""
        table, audit = schema.directives.c, schema.audit.c
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(audit.at, audit.who, table.directive, table.former)
                .where(table.project == project, table.item == item, audit.id == table.change)
                .order_by(table.id)
            )
            return [DirectiveChange(row.at, row.who, _read(row.directive), _read(row.former)) for row in rows]


def _known(connection: Connection, project: int, items: Collection[int] | None) -> dict[int, Directive]:
    table = schema.directives.c
    here = and_(table.project == project, table.latest, table.directive.is_not(None))
    query = select(table.item, table.directive, table.id).where(here)
    found = connection.execute(query) if items is None else rows_with(connection, query, table.item, items)
    return {row.item: Directive(row.directive) for row in sorted(found, key=lambda row: row.id)}


def _change(
    connection: Connection,
    project: int,
    wanted: Sequence[tuple[int, Directive | None, Directive | None]],
    *,
    name: str,
    who: str,
) -> int:
    """Record changes (item, directive, former directive) under one row of the audit, but for those that change nothing;
    returns how many are left."""
    news = [row for row in wanted if row[1] != row[2]]
    if not news:
        return 0
    table, now = schema.directives, time.time()
    items = [item for item, _, _ in news]
    change = connection.execute(
        insert(schema.audit).values(
            project=project, at=now, who=who, name=name, new=_named(connection, items), new_source="dashboard"
        )
    ).inserted_primary_key[0]  # type: ignore[index]
    for part in chunks(items):
        connection.execute(
            update(table)
            .where(table.c.project == project, table.c.item.in_(part), table.c.latest)
            .values(latest=False)
        )
    for some in chunks(news):
        connection.execute(insert(table), [_row(project, change, *each) for each in some])
    sentence = f"{len(items):,} {name}" if name != UNDONE else f"{name}: {len(items):,}"
    wake_worker(connection, project, "IMAGES_DIRECTED", {"sentence": sentence})
    return len(news)


def _row(
    project: int, change: int, item: int, directive: Directive | None, former: Directive | None
) -> Mapping[str, Any]:
    return {
        "project": project,
        "item": item,
        "change": change,
        "directive": directive.value if directive else None,
        "former": former.value if former else None,
        "latest": True,
    }


def _named(connection: Connection, items: Sequence[int]) -> str:
    """Which images, for the audit: their tasks, where they are few."""
    table = schema.items.c
    tasks = connection.scalars(
        select(table.task).where(table.id.in_(items[: TASKS_NAMED + 1])).order_by(table.id)
    ).all()
    listed = numbered("task", tasks, TASKS_NAMED)
    return listed if len(items) <= TASKS_NAMED else f"{number_of(len(items), 'image')}: {listed}"


def _read(kept: str | None) -> Directive | None:
    return Directive(kept) if kept else None

"""The tasks of the pool project, as they become items, change and leave."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    insert,
    select,
    union,
    update,
)

from cdsel_backend.store import schema
from cdsel_backend.store.counts import add_counts, counting
from cdsel_backend.store.database import chunks, reading, rows_with, writing
from cdsel_backend.store.pool_items import PART, PoolItems

UNREAD = {
    "content_hash": None,
    "problem": None,
    "attempts": 0,
    "due_at": 0.0,
    "vector": None,
    "measures": None,
    "note": None,
}
_RETRIES = 1000.0  # seconds since the epoch: before any time at which an image is tried again
DUE_ANEW = case((schema.items.c.due_at < _RETRIES, schema.items.c.due_at + 1), else_=1.0)
"""When an image is to be read that takes the place of another: at once, and at another time than that was."""


@dataclass(frozen=True)
class PoolTask:
    """A task of the pool project: its id, its data, and the value of its image field ("" if it has none).

    `created_at` is when Label Studio made it, as it writes that; "": it does not say.
    """

    task: int
    data: Mapping[str, Any]
    image: str
    created_at: str = ""


class PoolTasks(PoolItems):
    """The items of the pool, and the tasks that they are made of."""

    def sync_pool(self, project: int, tasks: Sequence[PoolTask]) -> bool:
        """Make the items what the pool project holds now; returns whether anything changed.

        The image of a task is read again where its address changed; a change of its other data leaves the vector.
        Tasks are taken in part by part: whoever waits for the database to write need not wait for a whole pool.
        """
        self.set_aside(project, tasks)
        moved = self.change_pool(project, tasks)
        table, present = schema.items, {task.task for task in tasks}
        with reading(self.engine) as connection:
            here = connection.execute(
                select(table.c.id, table.c.task).where(table.c.project == project, ~table.c.gone)
            )
            gone = [item for item, task in here if task not in present]
        return self.withdraw(project, gone) or moved

    def set_aside(self, project: int, tasks: Sequence[PoolTask]) -> list[int]:
        """Note that items are gone whose task's number has another task now; returns them.

        Label Studio on SQLite gives the number of the task that was deleted last to the next, and one whose database
        was restored from a backup gives every later number again. When a task was created tells two of the same number
        apart. The old item keeps its labels, under a number below 0 that no task has. The same image under the same
        number is the same item, whenever its task was made.
        """
        table, replaced = schema.items, []
        for start in range(0, len(tasks), PART):
            listed = {task.task: task for task in tasks[start : start + PART]}
            query = select(table.c.id, table.c.task, table.c.image, table.c.stamp, table.c.gone).where(
                table.c.project == project, table.c.source.is_(None)
            )
            with reading(self.engine) as connection:
                known = list(rows_with(connection, query, table.c.task, listed))
            ids = [
                row.id
                for row in known
                if is_another(row, listed[row.task].image, listed[row.task].created_at)
            ]
            if not ids:
                continue
            with writing(self.engine) as connection:
                with counting(connection, ids):
                    for part in chunks(ids):
                        connection.execute(
                            update(table)
                            .where(table.c.id.in_(part), table.c.task > 0)
                            .values(task=-table.c.id, gone=True, due_at=None)
                        )
                pool_moved(connection, project)
            replaced += ids
        return replaced

    def change_pool(self, project: int, tasks: Sequence[PoolTask]) -> bool:
        """Take in tasks that are new or changed, and leave the others alone; returns whether any was."""
        moved = False
        for start in range(0, len(tasks), PART):
            part = {task.task: task for task in tasks[start : start + PART]}
            known = self.items_by_task(project, part)
            new = [task for task in part.values() if task.task not in known]
            changed = [
                task
                for task in part.values()
                if task.task in known
                and (
                    known[task.task].gone
                    or known[task.task].data != task.data
                    or known[task.task].image != task.image
                )
            ]
            self._note_creation(project, [task for task in part.values() if task.task in known])
            if new or changed:
                moved = True
                self._take_in(project, new, changed)
        return moved

    def _take_in(self, project: int, new: Sequence[PoolTask], changed: Sequence[PoolTask]) -> None:
        table = schema.items
        with writing(self.engine) as connection:
            # Read again: another may have been at it since the look.
            query = select(table.c.id, table.c.task, table.c.image, table.c.vector, table.c.due_at).where(
                table.c.project == project
            )
            numbers = [task.task for task in (*new, *changed)]
            known = {row.task: row for row in rows_with(connection, query, table.c.task, numbers)}
            fresh = [
                {
                    "project": project,
                    "task": task.task,
                    "data": dict(task.data),
                    "image": task.image,
                    "stamp": task.created_at or None,
                }
                for task in new
                if task.task not in known
            ]
            for rows in chunks(fresh):
                connection.execute(insert(table), rows)
            add_counts(connection, project, (0, 0, len(fresh)))
            with counting(connection, [row.id for row in known.values()]):
                for task in (*changed, *(task for task in new if task.task in known)):
                    row = known[task.task]
                    values = {"data": dict(task.data), "image": task.image, "gone": False}
                    if row.image != task.image:
                        values |= UNREAD
                    elif row.vector is None and row.due_at is None:
                        values["due_at"] = 0.0  # it had left the pool before it was read
                    connection.execute(update(table).where(table.c.id == row.id).values(values))
            if fresh:
                _come_back(connection, project, shown={task.image for task in new})
            pool_moved(connection, project)

    def _note_creation(self, project: int, tasks: Sequence[PoolTask]) -> None:
        """Keep when the tasks of known items were created, where that was not kept or is another time."""
        table = schema.items
        made = {task.task: task.created_at for task in tasks if task.created_at}
        query = select(table.c.task, table.c.stamp).where(table.c.project == project)
        with reading(self.engine) as connection:
            known = {row.task: row.stamp for row in rows_with(connection, query, table.c.task, made)}
        changed = [{"number": task, "at": made[task]} for task, at in known.items() if at != made[task]]
        if changed:
            here = (table.c.project == project) & (table.c.task == bindparam("number"))
            with writing(self.engine) as connection:
                connection.execute(update(table).where(here).values(stamp=bindparam("at")), changed)

    def withdraw(self, project: int, ids: Sequence[int]) -> bool:
        """Note that items left the pool; returns whether there were any."""
        for start in range(0, len(ids), PART):
            part = ids[start : start + PART]
            with writing(self.engine) as connection:
                with counting(connection, part):
                    for some in chunks(part):
                        connection.execute(
                            update(schema.items)
                            .where(schema.items.c.id.in_(some))
                            .values(gone=True, due_at=None)
                        )
                _come_back(connection, project, left=set(part))
                pool_moved(connection, project)
        return bool(ids)


def is_another(row: Any, image: object, created_at: str) -> bool:
    """Whether a task, by its image and when it was created, is another than the one that an item's row was made of."""
    if row.image == image:
        return False
    if row.stamp and created_at:
        return bool(row.stamp != created_at)
    return bool(row.gone)  # known before the time was kept


def _come_back(
    connection: Connection, project: int, *, left: Collection[int] = (), shown: Collection[str] = ()
) -> None:
    """Let items that left the pool take the place of those that show the same image now, as after a new import.

    Only items with a label, or with a task in the queue, which would be lost with them, and only the place of items
    that have neither. Those are looked at that have just `left`, and those whose image is `shown` by a new task.
    """
    table, labels, selections = schema.items, schema.labels.c, schema.selections.c
    of_worth = union(
        select(labels.item).where(labels.project == project),
        select(selections.item).where(selections.project == project, selections.withdrawn_at.is_(None)),
    )
    here = (table.c.project == project) & table.c.source.is_(None) & (table.c.image != "")
    # Without their data: they may be many, and each part of an import looks through them.
    kept = select(table.c.id, table.c.image, table.c.content_hash, table.c.vector)
    lost = {
        row.image: row
        for row in connection.execute(kept.where(here, table.c.gone, table.c.id.in_(of_worth)))
        if row.id in left or row.image in shown
    }
    of_item = update(table).where(table.c.id == bindparam("item"))
    for part in chunks(sorted(lost)):
        new = select(table).where(here, ~table.c.gone, table.c.image.in_(part), table.c.id.not_in(of_worth))
        for other in connection.execute(new.order_by(table.c.id)).all():
            row = lost.pop(other.image, None)
            if row is None or (row.content_hash and other.content_hash not in (None, row.content_hash)):
                continue  # it has its place, or another picture stands at the address now
            with counting(connection, [row.id, other.id]):
                connection.execute(
                    of_item.values(task=-table.c.id, gone=True, due_at=None), {"item": other.id}
                )
                connection.execute(
                    of_item.values(
                        task=other.task,
                        data=other.data,
                        stamp=other.stamp,
                        gone=False,
                        due_at=0.0 if row.vector is None else None,
                    ),
                    {"item": row.id},
                )


def pool_moved(connection: Connection, project: int) -> None:
    """Count a change of a project's pool."""
    table = schema.projects
    connection.execute(
        update(table).where(table.c.id == project).values(pool_version=table.c.pool_version + 1)
    )

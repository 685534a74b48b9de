"""The rounds with their images, and the tasks that these are in the queues."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.arrays import TaskArrays
from cdsel_backend.store.database import Database, chunks, reading, records_with, writing
from cdsel_backend.store.records import Copy, QueueTask, Round, Selection
from cdsel_backend.store.rows import columns


@dataclass(frozen=True)
class Selected:
    """An image that a round chose: item id, rank over all rounds from 1, gain, and why."""

    item: int
    rank: int
    gain: float
    sentence: str
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class Adopted(Selected):
    """An image that was found in a queue and not in the books: its round, its task, whose queue, and what it shows
    (`Shown.parts`; None: not known)."""

    round: int
    queue_task: int
    annotator: str
    shown: Sequence[str] | None = None


NO_TASK: Mapping[str, Any] = {"queue_task": None, "annotator": "", "predicted_by": None, "shown": None}
"""The columns of a selection that is in no queue."""


class Queue(Database):
    """The rounds with their images, and the tasks that these are in the queues."""

    def add_round(
        self,
        project: int,
        number: int,
        selected: Sequence[Selected],
        *,
        strategy: str,
        seed: int,
        model_version: str | None,
    ) -> None:
        """Record a round and its images at once, before any of them is pushed.

        Raises:
            sqlalchemy.exc.IntegrityError: the round exists, or an image was selected before; nothing is kept.
        """
        with writing(self.engine) as connection:
            connection.execute(
                insert(schema.rounds).values(
                    project=project,
                    number=number,
                    strategy=strategy,
                    seed=seed,
                    model_version=model_version,
                    created_at=time.time(),
                )
            )
            _insert_selected(connection, project, number, selected)

    def choose_again(
        self,
        project: int,
        number: int,
        items: Collection[int],
        selected: Sequence[Selected],
        *,
        strategy: str,
        model_version: str | None,
    ) -> None:
        """Put other images in the place of `items` of a round, at once; none of those may be in a queue.

        Raises:
            sqlalchemy.exc.IntegrityError: an image was selected before; nothing is changed.
        """
        rows, rounds = schema.selections, schema.rounds
        here = and_(rows.c.project == project, rows.c.round == number, rows.c.queue_task.is_(None))
        with writing(self.engine) as connection:
            for part in chunks(sorted(items)):
                connection.execute(delete(rows).where(here, rows.c.item.in_(part)))
            connection.execute(
                update(rounds)
                .where(rounds.c.project == project, rounds.c.number == number)
                .values(strategy=strategy, model_version=model_version)
            )
            _insert_selected(connection, project, number, selected)

    def adopt(
        self,
        project: int,
        selected: Sequence[Adopted],
        recorded: Mapping[int, Mapping[str, Any]],
        copies: Sequence[Mapping[str, Any]],
        *,
        strategy: str,
    ) -> None:
        """Record tasks that were found in the queues, at once.

        Args:
            project: our id.
            selected: images that no round is known to have selected; rounds that are not there are made.
            recorded: item id -> `queue_task`, `annotator`, `rank` and `shown` of images that were selected.
            copies: further tasks: `item`, `annotator`, `rank`, `queue_task` and `shown` each.
            strategy: what a round that is made says of itself.
        """
        first, rounds = schema.selections, schema.rounds
        with writing(self.engine) as connection:
            known = set(connection.scalars(select(rounds.c.number).where(rounds.c.project == project)))
            made = {"strategy": strategy, "seed": 0, "created_at": time.time()}
            for number in sorted({selection.round for selection in selected} - known):
                connection.execute(insert(rounds).values(project=project, number=number, **made))
            for item, values in recorded.items():
                connection.execute(
                    update(first).where(first.c.project == project, first.c.item == item).values(**values)
                )
            for part in chunks(selected):
                connection.execute(
                    insert(first), [{"project": project, **asdict(selection)} for selection in part]
                )
            for part in chunks(copies):
                connection.execute(insert(schema.copies), [{"project": project, **row} for row in part])

    def rounds(self, project: int) -> list[Round]:
        """The rounds so far, oldest first."""
        return self._of_project(Round, schema.rounds, project, "number")

    def selections(self, project: int) -> list[Selection]:
        """Every image that was ever selected, in rank order."""
        return self._of_project(Selection, schema.selections, project, "rank")

    def selections_of(self, project: int, items: Collection[int]) -> list[Selection]:
        """The selections of some items, in rank order; an item that was never selected has none."""
        table = schema.selections
        query = columns(Selection, table).where(table.c.project == project)
        with reading(self.engine) as connection:
            found = records_with(connection, Selection, query, table.c.item, items)
        return sorted(found, key=lambda row: row.rank)

    def tasks_numbered(self, project: int, numbers: Collection[int]) -> list[QueueTask]:
        """The tasks in the queues that have these numbers there, in any order; several queues may have the same."""
        found: list[QueueTask] = []
        with reading(self.engine) as connection:
            for record, table in ((Selection, schema.selections), (Copy, schema.copies)):
                here = and_(table.c.project == project, table.c.withdrawn_at.is_(None))
                query = columns(record, table).where(here)
                found += records_with(connection, record, query, table.c.queue_task, numbers)
        return found

    def queue_tasks(self, project: int) -> TaskArrays:
        """Every image that was ever selected, in rank order, and every copy in the order of theirs, as arrays."""
        with reading(self.engine) as connection:
            return TaskArrays.read(connection, project)

    def represented(self, project: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The items (n,) that chance alone selected, and for each how many it represents (`Selection.represents`)."""
        table = schema.selections.c
        chance = [table.reason[name].as_boolean() for name in ("drawn_at_random", "by_chance")]
        query = select(table.item, func.coalesce(table.reason["odds"].as_float(), 1.0))
        with reading(self.engine) as connection:
            rows = connection.execute(query.where(table.project == project, or_(*chance))).all()
        items, odds = zip(*rows, strict=True) if rows else ((), ())
        return np.array(items, dtype=np.int64), 1 / np.array(odds, dtype=np.float64)

    def mark_selections(self, project: int, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Set columns of selections: item id -> `queue_task`, `annotator`, `rank`, `predicted_by` or `shown`."""
        table = schema.selections
        with writing(self.engine) as connection:
            for item, columns in values.items():
                connection.execute(
                    update(table).where(table.c.project == project, table.c.item == item).values(**columns)
                )

    def take_out(self, project: int, items: Collection[int]) -> None:
        """Note that items are in no queue any more, but selected still."""
        first, further = schema.selections, schema.copies
        with writing(self.engine) as connection:
            for part in chunks(sorted(items)):
                connection.execute(
                    delete(further).where(
                        further.c.project == project,
                        further.c.item.in_(part),
                        further.c.withdrawn_at.is_(None),
                    )
                )
                connection.execute(
                    update(first)
                    .where(first.c.project == project, first.c.item.in_(part), first.c.withdrawn_at.is_(None))
                    .values(**NO_TASK)
                )

    def withdraw_tasks(self, project: int, tasks: Collection[tuple[int, int]], at: float | None) -> None:
        """Note when tasks of the queues, by item and task, were found deleted in Label Studio; None: they are back."""
        with writing(self.engine) as connection:
            for table in (schema.selections, schema.copies):
                for item, task in tasks:
                    connection.execute(
                        update(table)
                        .where(table.c.project == project, table.c.item == item, table.c.queue_task == task)
                        .values(withdrawn_at=at)
                    )

    def copies(self, project: int) -> list[Copy]:
        """Further tasks of images that are in a queue already, in rank order."""
        return self._of_project(Copy, schema.copies, project, "rank", "item", "annotator")

    def copies_of(self, project: int, item: int) -> list[Copy]:
        """The copies of one item, in rank order."""
        table = schema.copies
        query = columns(Copy, table).where(table.c.project == project, table.c.item == item)
        return self._records(Copy, query.order_by(table.c.rank, table.c.annotator))

    def add_copies(self, project: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record further tasks that are in a queue now: `item`, `annotator`, `rank`, `queue_task` and `shown` each."""
        table = schema.copies
        with writing(self.engine) as connection:
            for row in rows:  # in place of one that was deleted there
                same = (table.c[name] == row[name] for name in ("item", "annotator"))
                connection.execute(
                    delete(table).where(table.c.project == project, *same, table.c.withdrawn_at.is_not(None))
                )
            if rows:
                connection.execute(insert(table), [{"project": project, **row} for row in rows])

    def mark_copies(self, project: int, values: Mapping[tuple[int, str], Mapping[str, Any]]) -> None:
        """Set columns of copies: (item id, annotator) -> `predicted_by` or `shown`."""
        table = schema.copies
        with writing(self.engine) as connection:
            for (item, annotator), columns in values.items():
                connection.execute(
                    update(table)
                    .where(table.c.project == project, table.c.item == item, table.c.annotator == annotator)
                    .values(**columns)
                )

    def mark_tasks(self, project: int, values: Iterable[tuple[QueueTask, Mapping[str, Any]]]) -> None:
        """Set columns of tasks of the queues, be they selections or copies: `predicted_by` or `shown`."""
        rows = list(values)
        first = {row.item: columns for row, columns in rows if isinstance(row, Selection)}
        self.mark_selections(project, first)
        further = {(row.item, row.annotator): columns for row, columns in rows if isinstance(row, Copy)}
        self.mark_copies(project, further)


def _insert_selected(connection: Connection, project: int, number: int, selected: Sequence[Selected]) -> None:
    for part in chunks(selected):
        connection.execute(
            insert(schema.selections),
            [
                {
                    "project": project,
                    "round": number,
                    "item": selection.item,
                    "rank": selection.rank,
                    "gain": selection.gain,
                    "sentence": selection.sentence,
                    "reason": dict(selection.reason),
                }
                for selection in part
            ],
        )

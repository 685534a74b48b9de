"""The rounds with their images, who gets them, and the labels that came back."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, reading, writing
from cdsel_backend.store.records import Annotation, Annotator, Copy, Round, Selection, columns, records


@dataclass(frozen=True)
class Selected:
    """An image that a round chose: item id, rank over all rounds from 1, gain, and why."""

    item: int
    rank: int
    gain: float
    sentence: str
    reason: Mapping[str, Any]


class Queue(Database):
    """The rounds with their images, who gets them, and the labels that came back."""

    def replace_labels(
        self,
        project: int,
        source: int,
        rows: Sequence[Mapping[str, Any]],
        *,
        items: Collection[int] | None = None,
    ) -> bool:
        """Make the labels of one Label Studio project what it holds now; returns whether anything changed.

        With `items`, only the labels of these: the rows are all that there are of them.
        """
        table = schema.labels
        where = and_(table.c.project == project, table.c.source == source)
        wanted = {row["annotation"]: {"project": project, "source": source, **row} for row in rows}
        asked = [where] if items is None else [table.c.item.in_(part) for part in chunks(sorted(items))]
        with writing(self.engine) as connection:
            known = {
                row.annotation: dict(row._mapping)
                for one in asked
                for row in connection.execute(select(table).where(where, one))
            }
            stale = [key for key, row in known.items() if wanted.get(key) != row]
            fresh = [row for key, row in wanted.items() if known.get(key) != row]
            for keys in chunks(stale):
                connection.execute(delete(table).where(where, table.c.annotation.in_(keys)))
            for part in chunks(fresh):
                connection.execute(insert(table), part)
        return bool(stale or fresh)

    def labels(self, project: int) -> list[Annotation]:
        """Every annotation of the project, in order of their ids."""
        table = schema.labels
        with reading(self.engine) as connection:
            query = columns(Annotation, table).where(table.c.project == project).order_by(table.c.annotation)
            return records(connection, Annotation, query)

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

    def rounds(self, project: int) -> list[Round]:
        """The rounds so far, oldest first."""
        table = schema.rounds
        with reading(self.engine) as connection:
            query = columns(Round, table).where(table.c.project == project).order_by(table.c.number)
            return records(connection, Round, query)

    def selections(self, project: int) -> list[Selection]:
        """Every image that was ever selected, in rank order."""
        table = schema.selections
        with reading(self.engine) as connection:
            query = columns(Selection, table).where(table.c.project == project).order_by(table.c.rank)
            return records(connection, Selection, query)

    def mark_selections(self, project: int, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Set columns of selections: item id -> `queue_task`, `annotator`, `rank` or `predicted_by`."""
        table = schema.selections
        with writing(self.engine) as connection:
            for item, columns in values.items():
                connection.execute(
                    update(table).where(table.c.project == project, table.c.item == item).values(**columns)
                )

    def annotators(self, project: int) -> list[Annotator]:
        """Every account that the setting `annotators` named once."""
        table = schema.annotators
        with reading(self.engine) as connection:
            query = columns(Annotator, table).where(table.c.project == project).order_by(table.c.email)
            return records(connection, Annotator, query)

    def set_annotators(self, project: int, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set columns of annotators: e-mail -> `user` or `queue_project`; who is new is added."""
        table = schema.annotators
        with writing(self.engine) as connection:
            for email, columns in values.items():
                here = and_(table.c.project == project, table.c.email == email)
                known = connection.execute(update(table).where(here).values(**columns))
                if not known.rowcount:
                    connection.execute(insert(table).values(project=project, email=email, **columns))

    def forget_queue(self, project: int, annotator: str, *, sources: Collection[int]) -> None:
        """Forget a queue that is gone, and its tasks, but for those whose answer is final.

        An image with a task in another queue is in that one now; any other is selected and in no queue again.

        Args:
            project: our id.
            annotator: whose queue; "": everyone's.
            sources: the projects of Label Studio that are left. An answer from any other cannot change any more.
        """
        first, further, answers = schema.selections, schema.copies, schema.labels.c
        final = select(answers.item).where(answers.project == project, answers.source.not_in(sorted(sources)))
        no_task: dict[str, object] = {"queue_task": None, "annotator": "", "predicted_by": None}
        with writing(self.engine) as connection:

            def tasks(table: Table) -> ColumnElement[bool]:
                return and_(
                    table.c.project == project, table.c.annotator == annotator, table.c.item.not_in(final)
                )

            connection.execute(delete(further).where(tasks(further)))
            lost = connection.scalars(select(first.c.item).where(tasks(first))).all()
            connection.execute(update(first).where(tasks(first)).values(**no_task))
            for item in lost:
                here = and_(further.c.project == project, further.c.item == item)
                copy = connection.execute(select(further).where(here).order_by(further.c.rank)).first()
                if copy is not None:
                    connection.execute(delete(further).where(here, further.c.annotator == copy.annotator))
                    connection.execute(
                        update(first)
                        .where(first.c.project == project, first.c.item == item)
                        .values({name: copy._mapping[name] for name in (*no_task, "rank")})
                    )
            connection.execute(
                update(schema.annotators)
                .where(schema.annotators.c.project == project, schema.annotators.c.email == annotator)
                .values(queue_project=None)
                if annotator
                else update(schema.projects).where(schema.projects.c.id == project).values(queue_project=None)
            )

    def copies(self, project: int) -> list[Copy]:
        """Further tasks of images that are in a queue already, in rank order."""
        table = schema.copies
        with reading(self.engine) as connection:
            query = (
                columns(Copy, table)
                .where(table.c.project == project)
                .order_by(table.c.rank, table.c.item, table.c.annotator)
            )
            return records(connection, Copy, query)

    def add_copies(self, project: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record further tasks that are in a queue now: `item`, `annotator`, `rank` and `queue_task` each."""
        if rows:
            with writing(self.engine) as connection:
                connection.execute(insert(schema.copies), [{"project": project, **row} for row in rows])

    def mark_copies(self, project: int, values: Mapping[tuple[int, str], Mapping[str, Any]]) -> None:
        """Set columns of copies: (item id, annotator) -> `predicted_by`."""
        table = schema.copies
        with writing(self.engine) as connection:
            for (item, annotator), columns in values.items():
                connection.execute(
                    update(table)
                    .where(table.c.project == project, table.c.item == item, table.c.annotator == annotator)
                    .values(**columns)
                )


def _insert_selected(connection: Connection, project: int, number: int, selected: Sequence[Selected]) -> None:
    for part in chunks(selected):
        connection.execute(
            insert(schema.selections),
            [
                {
                    "project": project,
                    "round": number,
                    "item": one.item,
                    "rank": one.rank,
                    "gain": one.gain,
                    "sentence": one.sentence,
                    "reason": dict(one.reason),
                }
                for one in part
            ],
        )

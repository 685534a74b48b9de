"""The accounts that the setting `annotators` names or named, and their queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, writing
from cdsel_backend.store.queue import NO_TASK
from cdsel_backend.store.records import Annotator


class Annotators(Database):
    """Whose queue is which project of Label Studio."""

    def annotators(self, project: int) -> list[Annotator]:
        """Every account that the setting `annotators` named once."""
        return self._of_project(Annotator, schema.annotators, project, "email")

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
        with writing(self.engine) as connection:

            def tasks(table: Table) -> ColumnElement[bool]:
                return and_(
                    table.c.project == project,
                    table.c.annotator == annotator,
                    table.c.item.not_in(final),
                    table.c.withdrawn_at.is_(None),
                )

            connection.execute(delete(further).where(tasks(further)))
            lost = connection.scalars(select(first.c.item).where(tasks(first))).all()
            connection.execute(update(first).where(tasks(first)).values(**NO_TASK))
            for item in lost:
                _let_copy_be_first(connection, project, item)
            connection.execute(
                update(schema.annotators)
                .where(schema.annotators.c.project == project, schema.annotators.c.email == annotator)
                .values(queue_project=None)
                if annotator
                else update(schema.projects).where(schema.projects.c.id == project).values(queue_project=None)
            )


def _let_copy_be_first(connection: Connection, project: int, item: int) -> None:
    """Make the first copy of an item, if it has one, the task of its selection."""
    first, further = schema.selections, schema.copies
    here = and_(further.c.project == project, further.c.item == item, further.c.withdrawn_at.is_(None))
    copy = connection.execute(select(further).where(here).order_by(further.c.rank)).first()
    if copy is not None:
        connection.execute(delete(further).where(here, further.c.annotator == copy.annotator))
        connection.execute(
            update(first)
            .where(first.c.project == project, first.c.item == item)
            .values({name: copy._mapping[name] for name in (*NO_TASK, "rank")})
        )

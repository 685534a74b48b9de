"""The annotations that came back, and what each says of its image."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.arrays import LOWEST, AnnotationArrays, Answers, columns_of, exact
from cdsel_backend.store.database import Database, chunks, reading, records_with, writing
from cdsel_backend.store.records import Annotation
from cdsel_backend.store.rows import columns


class Labels(Database):
    """The annotations that came back."""

    def replace_labels(
        self,
        project: int,
        source: int,
        rows: Sequence[Mapping[str, Any]],
        *,
        items: Collection[int] | None = None,
        deleted: Collection[tuple[int, int]] = (),
    ) -> bool:
        """Make the labels of one Label Studio project what it holds now; returns whether anything changed.

        With `items`, only the labels of these: the rows are all that there are of them. Those of tasks that were
        `deleted` there, by item and task, stay, under a number below 0: Label Studio on SQLite gives the numbers of
        what was deleted to what comes next. So do those of another project, such as a queue that was deleted, whose
        number an annotation of this one has now.
        """
        table = schema.labels
        where = and_(table.c.project == project, table.c.source == source)
        unsaid = {"task": None, "question": None, "seconds": None, "ignored": None, "ground_truth": False}
        wanted = {row["annotation"]: {"project": project, "source": source, **unsaid, **row} for row in rows}
        asked = [where] if items is None else [table.c.item.in_(part) for part in chunks(sorted(items))]
        with writing(self.engine) as connection:
            known = {
                row.annotation: dict(row._mapping)
                for asked_key in asked
                for row in connection.execute(select(table).where(where, asked_key))
            }
            kept = {key for key, row in known.items() if (row["item"], row["task"]) in deleted}
            stale = [
                key for key, row in known.items() if wanted.get(key) != row and (key not in kept or key > 0)
            ]
            fresh = [row for key, row in wanted.items() if known.get(key) != row]
            lowest = connection.scalar(select(func.min(table.c.annotation)).where(table.c.project == project))
            free = itertools.count(min(0, lowest or 0) - 1, -1)
            fresh += [{**known[key], "annotation": next(free)} for key in sorted(kept & set(stale))]
            for keys in chunks(stale):
                connection.execute(delete(table).where(where, table.c.annotation.in_(keys)))
            for keys in chunks([row["annotation"] for row in fresh]):
                taken = and_(
                    table.c.project == project, table.c.source != source, table.c.annotation.in_(keys)
                )
                for key in connection.scalars(select(table.c.annotation).where(taken)).all():
                    other = and_(table.c.project == project, table.c.annotation == key)
                    connection.execute(update(table).where(other).values(annotation=next(free)))
            for part in chunks(fresh):
                connection.execute(insert(table), part)
        return bool(stale or fresh)

    def labels(self, project: int) -> list[Annotation]:
        """Every annotation of the project, in order of their ids."""
        return self._of_project(Annotation, schema.labels, project, "annotation")

    def labels_of(self, project: int, items: Collection[int]) -> list[Annotation]:
        """The annotations of some items, those of an item in order of their ids."""
        with reading(self.engine) as connection:
            return _of_items(connection, project, items)

    def changed_at(self, project: int) -> dict[tuple[int, int], str]:
        """Label Studio project and id of every annotation -> when it was changed last, as Label Studio writes times."""
        table = schema.labels.c
        here = and_(table.project == project, table.annotation > LOWEST)
        with reading(self.engine) as connection:
            source, annotation, changed = columns_of(
                connection, table.source, table.annotation, table.updated_at, where=here
            )
        return dict(zip(zip(source, annotation, strict=True), changed, strict=True))

    def answers(self, project: int) -> Answers:
        """Every annotation of the project as arrays, and as records those of items on which several may differ."""
        with reading(self.engine) as connection:
            arrays = AnnotationArrays.read(connection, project)
            return Answers(arrays, _of_items(connection, project, arrays.contested.tolist()))

    def times(self, project: int) -> Iterable[tuple[str, float]]:
        """Who made each annotation whose time Label Studio measured, and in how many seconds."""
        table = schema.labels.c
        here = and_(table.project == project, table.annotation > LOWEST, table.seconds > 0)
        with reading(self.engine) as connection:
            who, seconds = columns_of(connection, table.annotator, exact(table.seconds), where=here)
        return zip(who, map(float, seconds), strict=True)

    def annotation_problems(self, project: int) -> list[tuple[int | None, str]]:
        """What is wrong with annotations, in order of their ids: the task of each, if it is known, and the problem."""
        table = schema.labels.c
        query = select(table.task, table.problem).where(table.project == project, table.problem.is_not(None))
        with reading(self.engine) as connection:
            return [tuple(row) for row in connection.execute(query.order_by(table.annotation)).all()]


def _of_items(connection: Connection, project: int, items: Collection[int]) -> list[Annotation]:
    table = schema.labels
    query = columns(Annotation, table).where(table.c.project == project)
    found = records_with(connection, Annotation, query, table.c.item, items)
    # Asked for this order, SQLite goes through all annotations of the project in it instead of looking the items up.
    return sorted(found, key=lambda row: row.annotation)

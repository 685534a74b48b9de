"""The annotations that came back, and what each says of its image."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, delete, func, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, writing
from cdsel_backend.store.records import Annotation


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

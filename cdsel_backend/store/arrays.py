"""The annotations and the queues of a project as arrays: 50,000 records take a second to make, and pages show few.

A database gives a column as one JSON array in a third of the time of its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, ColumnElement, Connection, and_, case, func, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from cdsel_backend.store import schema
from cdsel_backend.store.records import Annotation

LOWEST = -(2**31)  # below every number of an annotation


@dataclass(frozen=True, eq=False)
class Coded:
    """n texts, of which few differ: `codes` (n,) are indices into `texts`, -1 where there is none."""

    codes: NDArray[np.int64]
    texts: Sequence[str]

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Coded:
        """Texts with indices by where each came first."""
        texts = [text for text in dict.fromkeys(values) if text is not None]
        index: dict[str | None, int] = {None: -1} | {text: code for code, text in enumerate(texts)}
        return cls(np.fromiter(map(index.__getitem__, values), dtype=np.int64, count=len(values)), texts)

    def text(self, row: int) -> str | None:
        """The text of a row."""
        code = int(self.codes[row])
        return None if code < 0 else self.texts[code]

    def __getitem__(self, rows: NDArray[Any]) -> Coded:
        """Some of them."""
        return Coded(self.codes[rows], self.texts)


@dataclass(frozen=True, eq=False)
class AnnotationArrays:
    """Every annotation of a project (n,); see `Annotation` for what a column holds.

    `question`, `ignored`, `problem` and `ground_truth`: whether there is one.
    """

    item: NDArray[np.int64]
    label: Coded
    annotator: Coded
    question: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    problem: NDArray[np.bool_]
    ground_truth: NDArray[np.bool_]

    @classmethod
    def read(cls, connection: Connection, project: int) -> AnnotationArrays:
        """Read those of a project."""
        table = schema.labels.c
        flags = (
            table.question.is_not(None),
            table.ignored.is_not(None),
            table.problem.is_not(None),
            table.ground_truth,
        )
        # With a bound of the numbers SQLite reads along the primary key, in which the rows lie.
        item, label, annotator, given = columns_of(
            connection,
            *(table.item, table.label, table.annotator, _bits(flags)),
            where=and_(table.project == project, table.annotation > LOWEST),
        )
        bits = np.array(given, dtype=np.int8)
        return cls(_ids(item), Coded.of(label), Coded.of(annotator), *_flags(bits, len(flags)))

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,): whether an annotation gives a label."""
        return self.label.codes >= 0

    @property
    def contested(self) -> NDArray[np.int64]:
        """Items (m,) whose label has to be decided: several of their annotations give one, or one that is marked as
        ground truth gives a class that is not learned.
        """
        items, counts = np.unique(self.item[self.labelled], return_counts=True)
        undecidable = self.ground_truth & ~self.labelled & ~self.question & self.ignored
        return np.union1d(items[counts > 1], self.item[undecidable])


@dataclass(frozen=True, eq=False)
class Answers:
    """The annotations of a project, read at one moment: all of them as arrays, and as records those of the items whose
    label the arrays alone do not tell (`AnnotationArrays.contested`).
    """

    arrays: AnnotationArrays
    contested: Sequence[Annotation]


@dataclass(frozen=True, eq=False)
class TaskArrays:
    """Every task (n,) that is, was or is to be in a queue.

    The first `first` rows are the first tasks of their items, in rank order; the rest are copies, in rank order again.
    A copy has `round` 0, and a task that is in no queue has `task` 0. `live` tells whether a task is in a queue,
    `withdrawn` whether it was found deleted there.
    """

    first: int
    item: NDArray[np.int64]
    rank: NDArray[np.int64]
    round: NDArray[np.int64]
    task: NDArray[np.int64]
    annotator: Coded
    live: NDArray[np.bool_]
    withdrawn: NDArray[np.bool_]

    @classmethod
    def read(cls, connection: Connection, project: int) -> TaskArrays:
        """Read those of a project."""
        first, copies = schema.selections.c, schema.copies.c
        parts = [
            columns_of(
                connection,
                *(table.item, table.rank, round_, func.coalesce(table.queue_task, 0), table.annotator),
                _bits((table.queue_task.is_not(None), table.withdrawn_at.is_not(None))),
                where=table.project == project,
            )
            for table, round_ in ((first, first.round), (copies, literal(0)))
        ]
        selected = len(parts[0][0])
        item, rank, round_, task, annotator, given = (own + more for own, more in zip(*parts, strict=True))
        pushed, withdrawn = _flags(np.array(given, dtype=np.int8), 2)
        order = np.lexsort((_ids(item), _ids(rank), np.arange(len(item)) >= selected))
        return cls(
            first=selected,
            item=_ids(item)[order],
            rank=_ids(rank)[order],
            round=_ids(round_)[order],
            task=_ids(task)[order],
            annotator=Coded.of(annotator)[order],
            live=(pushed & ~withdrawn)[order],
            withdrawn=withdrawn[order],
        )

    def selected(self, items: Collection[int]) -> NDArray[np.bool_]:
        """(first,): which first tasks are of some items."""
        return among(self.item[: self.first], items)


def ids_of(items: Collection[int]) -> NDArray[np.int64]:
    """A set of items as an array, in its order."""
    return np.fromiter(items, dtype=np.int64, count=len(items))


def _ids(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _bits(flags: Sequence[ColumnElement[bool]]) -> ColumnElement[int]:
    """Flags as one number."""
    return sum((case((flag, 1 << bit), else_=0) for bit, flag in enumerate(flags)), literal(0))


def _flags(bits: NDArray[np.int8], count: int) -> list[NDArray[np.bool_]]:
    """The flags that `_bits` made one number of."""
    return [(bits >> bit) & 1 > 0 for bit in range(count)]


def among(ids: NDArray[np.int64], items: Collection[int]) -> NDArray[np.bool_]:
    """(n,): whether an id is one of some items."""
    return np.isin(ids, ids_of(items))


class listed(FunctionElement[Any]):  # noqa: N801 - a function of SQL
    """The values of a column as a JSON array."""

    type = JSON()
    inherit_cache = True


@compiles(listed, "sqlite")
def _list_in_sqlite(element: listed, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **options)})"


@compiles(listed, "postgresql")
def _list_in_postgresql(element: listed, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_agg({compiler.process(element.clauses, **options)})"


class exact(FunctionElement[Any]):  # noqa: N801 - a function of SQL
    """A number with all its digits: in JSON SQLite writes 15 of them. There it is text."""

    inherit_cache = True


@compiles(exact, "sqlite")
def _quote_in_sqlite(element: exact, compiler: SQLCompiler, **options: Any) -> str:
    return f"quote({compiler.process(element.clauses, **options)})"


@compiles(exact, "postgresql")
def _plain_in_postgresql(element: exact, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


def columns_of(
    connection: Connection, *columns: ColumnElement[Any], where: ColumnElement[bool]
) -> list[list[Any]]:
    """Columns of the rows of a table, in any order, but the same for all."""
    return [column or [] for column in connection.execute(select(*map(listed, columns)).where(where)).one()]

"""The items of the pool and their vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, func, insert, or_, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, chunks, reading, writing
from cdsel_backend.store.records import Item, columns, records


@dataclass(frozen=True)
class PoolTask:
    """A task of the pool project: its id, its data, and the value of its image field ("" if it has none)."""

    task: int
    data: Mapping[str, Any]
    image: str


class PoolItems(Database):
    """The items of the pool and their vectors."""

    def sync_pool(self, project: int, tasks: Sequence[PoolTask]) -> bool:
        """Make the items what the pool project holds now; returns whether anything changed.

        The image of a task is read again where its address changed; a change of its other data leaves the vector.
        """
        table = schema.items
        with writing(self.engine) as connection:
            known = {
                row.task: row for row in connection.execute(select(table).where(table.c.project == project))
            }
            unread = {"content_hash": None, "problem": None, "attempts": 0, "retry_at": 0.0}
            new, changed = [], []
            for task in tasks:
                row = known.get(task.task)
                if row is None:
                    new.append(
                        {"project": project, "task": task.task, "data": dict(task.data), "image": task.image}
                    )
                elif row.gone or row.data != task.data or row.image != task.image:
                    changed.append((row, task))
            present = {task.task for task in tasks}
            gone = [row.id for task, row in known.items() if task not in present and not row.gone]
            for rows in chunks(new):
                connection.execute(insert(table), rows)
            for row, task in changed:
                connection.execute(
                    update(table)
                    .where(table.c.id == row.id)
                    .values(
                        data=dict(task.data),
                        image=task.image,
                        gone=False,
                        **(unread if row.image != task.image else {}),
                    )
                )
            for ids in chunks(gone):
                connection.execute(update(table).where(table.c.id.in_(ids)).values(gone=True))
            moved = bool(new or changed or gone)
            if moved:
                version = schema.projects.c.pool_version
                connection.execute(
                    update(schema.projects)
                    .where(schema.projects.c.id == project)
                    .values(pool_version=version + 1)
                )
        return moved

    def items(self, project: int) -> list[Item]:
        """Every item that ever was in the pool, also those gone since, in order of their ids."""
        table = schema.items
        with reading(self.engine) as connection:
            query = columns(Item, table).where(table.c.project == project).order_by(table.c.id)
            return records(connection, Item, query)

    def items_by_id(self, ids: Collection[int]) -> dict[int, Item]:
        """Some items, by their ids."""
        table = schema.items
        with reading(self.engine) as connection:
            return {
                row.id: row
                for part in chunks(sorted(ids))
                for row in records(connection, Item, columns(Item, table).where(table.c.id.in_(part)))
            }

    def items_by_task(self, project: int, tasks: Collection[int]) -> dict[int, Item]:
        """Some items, by their tasks in the pool project."""
        table = schema.items
        with reading(self.engine) as connection:
            return {
                row.task: row
                for part in chunks(sorted(tasks))
                for row in records(
                    connection,
                    Item,
                    columns(Item, table).where(table.c.project == project, table.c.task.in_(part)),
                )
            }

    def unusable(self, project: int, *, limit: int | None = None) -> list[Item]:
        """Items of the pool whose image cannot be used, with the reason as `problem`."""
        table = schema.items
        with reading(self.engine) as connection:
            return records(
                connection,
                Item,
                columns(Item, table)
                .where(table.c.project == project, ~table.c.gone, table.c.problem.is_not(None))
                .order_by(table.c.id)
                .limit(limit),
            )

    def without_vector(self, project: int, backbone: str, *, limit: int, now: float) -> list[Item]:
        """Items whose image is to be read and embedded, those never tried before first."""
        items, vectors = schema.items, schema.vectors
        with reading(self.engine) as connection:
            return records(
                connection,
                Item,
                columns(Item, items)
                .outerjoin(
                    vectors,
                    and_(vectors.c.content_hash == items.c.content_hash, vectors.c.backbone == backbone),
                )
                .where(
                    items.c.project == project,
                    ~items.c.gone,
                    vectors.c.content_hash.is_(None),
                    or_(items.c.problem.is_(None), items.c.retry_at <= now),
                )
                .order_by(items.c.attempts, items.c.id)
                .limit(limit),
            )

    def with_vector(self, project: int, backbone: str, ids: Collection[int]) -> set[int]:
        """Those of some items that are in the pool and have a vector of this backbone."""
        items, vectors = schema.items, schema.vectors
        with reading(self.engine) as connection:
            return {
                item
                for part in chunks(sorted(ids))
                for item in connection.scalars(
                    select(items.c.id)
                    .join(vectors, vectors.c.content_hash == items.c.content_hash)
                    .where(
                        items.c.project == project,
                        vectors.c.backbone == backbone,
                        ~items.c.gone,
                        items.c.id.in_(part),
                    )
                )
            }

    def embedding_progress(self, project: int, backbone: str) -> tuple[int, int, int]:
        """How many items have a vector, cannot be used, and exist."""
        items, vectors = schema.items, schema.vectors
        here = and_(items.c.project == project, ~items.c.gone)
        with reading(self.engine) as connection:
            total = connection.scalar(select(func.count()).select_from(items).where(here)) or 0
            unusable = (
                connection.scalar(
                    select(func.count()).select_from(items).where(here, items.c.problem.is_not(None))
                )
                or 0
            )
            embedded = (
                connection.scalar(
                    select(func.count())
                    .select_from(items)
                    .join(vectors, vectors.c.content_hash == items.c.content_hash)
                    .where(here, vectors.c.backbone == backbone)
                )
                or 0
            )
        return embedded, unusable, total

    def add_vectors(
        self, backbone: str, embedded: Sequence[tuple[int, str, NDArray[np.floating[Any]]]]
    ) -> None:
        """Keep the vectors of items: (item id, content hash, vector (d,)), stored as float16."""
        if not embedded:
            return
        table = schema.vectors
        with writing(self.engine) as connection:
            hashes = {content_hash for _, content_hash, _ in embedded}
            known = set(
                connection.scalars(
                    select(table.c.content_hash).where(
                        table.c.backbone == backbone, table.c.content_hash.in_(hashes)
                    )
                )
            )
            rows = {
                content_hash: {
                    "content_hash": content_hash,
                    "backbone": backbone,
                    "vector": np.asarray(vector, dtype="<f2").tobytes(),
                }
                for _, content_hash, vector in embedded
                if content_hash not in known
            }
            if rows:
                connection.execute(insert(table), list(rows.values()))
            for item, content_hash, _ in embedded:
                connection.execute(
                    update(schema.items)
                    .where(schema.items.c.id == item)
                    .values(content_hash=content_hash, problem=None)
                )

    def note_unusable(self, faults: Sequence[tuple[int, str, float]]) -> None:
        """Keep why images cannot be used: (item id, words, when to try again in seconds since the epoch)."""
        table = schema.items
        with writing(self.engine) as connection:
            for item, words, retry_at in faults:
                connection.execute(
                    update(table)
                    .where(table.c.id == item)
                    .values(problem=words, retry_at=retry_at, attempts=table.c.attempts + 1)
                )

    def vectors(self, project: int, backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The embedded pool: item ids (n,) ascending, and their vectors (n, d)."""
        items, vectors = schema.items, schema.vectors
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(items.c.id, vectors.c.vector)
                .join(vectors, vectors.c.content_hash == items.c.content_hash)
                .where(items.c.project == project, vectors.c.backbone == backbone, ~items.c.gone)
                .order_by(items.c.id)
            ).all()
        return _arrays(rows)

    def vectors_of(
        self, project: int, backbone: str, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `vectors`, of those of some items (any order, repeated or not) that have one and are in the pool."""
        items, vectors = schema.items, schema.vectors
        with reading(self.engine) as connection:
            rows = [
                row
                for part in chunks(np.unique(ids).tolist())
                for row in connection.execute(
                    select(items.c.id, vectors.c.vector)
                    .join(vectors, vectors.c.content_hash == items.c.content_hash)
                    .where(
                        items.c.project == project,
                        vectors.c.backbone == backbone,
                        ~items.c.gone,
                        items.c.id.in_(part),
                    )
                    .order_by(items.c.id)
                )
            ]
        return _arrays(rows)

    def iter_vectors(
        self, project: int, backbone: str, *, chunk: int = 4096, every: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The embedded pool in parts, as `vectors` gives it whole: for what need not hold it all in memory.

        With `every`, only items whose id it divides: an even sample.
        """
        items, vectors = schema.items, schema.vectors
        last = -1
        while True:
            with reading(self.engine) as connection:
                rows = connection.execute(
                    select(items.c.id, vectors.c.vector)
                    .join(vectors, vectors.c.content_hash == items.c.content_hash)
                    .where(
                        items.c.project == project,
                        vectors.c.backbone == backbone,
                        ~items.c.gone,
                        items.c.id > last,
                        items.c.id % every == 0,
                    )
                    .order_by(items.c.id)
                    .limit(chunk)
                ).all()
            if not rows:
                return
            yield _arrays(rows)
            last = rows[-1].id


def _arrays(rows: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids (n,) and vectors (n, d) of rows; (0, 0) where there is none."""
    ids = np.fromiter((row.id for row in rows), dtype=np.int64, count=len(rows))
    flat = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2")
    return ids, flat.reshape(len(rows), -1 if len(rows) else 0).astype(np.float32)

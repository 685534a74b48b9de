"""The vectors of items: which item has one and where it lies, what is still to embed, and how far that is.

An item's `vector` is the position of its vector in the store of vectors, by the backbone that its project has; `due_at`
is when its image is to be read (0: at once), none where there is nothing to do. Both are indexed, and a project counts
its items, so that a look at a pool of any size costs the same. Where an image is replaced that is due already, it is
due at another time (`DUE_ANEW`): so whoever is at the former one sees that it was replaced.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Integer,
    String,
    and_,
    bindparam,
    case,
    select,
    tuple_,
    update,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.types import TypeEngine

from cdsel_backend.store import schema
from cdsel_backend.store.arrays import columns_of
from cdsel_backend.store.bulk import Bulk
from cdsel_backend.store.counts import counting, recount
from cdsel_backend.store.database import Database, chunks, reading, rows_with, writing
from cdsel_backend.store.records import DueItem, ReadImage
from cdsel_backend.store.rows import columns

HASHES = 20_000  # content hashes looked up at once
STREAMED = 4096  # vectors read at once

_READ: Mapping[str, TypeEngine[Any]] = {
    "item": Integer(),
    "at": Integer(),
    "digest": String(),
    "measures": JSON(),
    "note": AnyText(),
}


class Progress(NamedTuple):
    """How many items of a pool have a vector, how many cannot be used, and how many there are."""

    embedded: int
    unusable: int
    items: int


class Embeddings(Database):
    """The vectors of items."""

    def without_vector(
        self, project: int, *, limit: int, now: float, after: DueItem | None = None
    ) -> list[DueItem]:
        """At most `limit` items whose image is to be read and embedded, those that are due longest first.

        Args:
            project: our id.
            limit: how many at most.
            now: seconds since the epoch: what is due later is not returned.
            after: the last item of the call before, to go on from; None: from the first on.
        """
        items = schema.items
        due = [items.c.project == project, items.c.due_at <= now]
        if after is not None:
            due.append(tuple_(items.c.due_at, items.c.id) > (after.due_at, after.id))
        query = columns(DueItem, items).where(*due).order_by(items.c.due_at, items.c.id).limit(limit)
        return self._records(DueItem, query)

    def read_again(self, project: int, now: float) -> None:
        """Have the images that wait for another try read at the next look."""
        items = schema.items
        self._execute(
            update(items).where(items.c.project == project, items.c.due_at > now).values(due_at=now)
        )

    def with_vector(self, project: int, backbone: str, ids: Collection[int]) -> set[int]:
        """Those of some items that are in the pool and have a vector of this backbone."""
        return set(self.positions(project, backbone, ids)[0].tolist())

    def not_embedded(self, project: int) -> NDArray[np.int64]:
        """Items of the pool (n,) that have no vector, ascending: those that wait, and those that cannot be used."""
        items = schema.items.c
        progress = self.embedding_progress(project)
        if progress.embedded == progress.items:
            return np.zeros(0, dtype=np.int64)
        query = select(items.id).where(items.project == project, items.vector.is_(None), ~items.gone)
        with reading(self.engine) as connection:
            return np.fromiter(connection.execute(query.order_by(items.id)).scalars(), dtype=np.int64)

    def embedding_progress(self, project: int) -> Progress:
        """How far the images of a pool are embedded: counters that cost the same whatever the pool."""
        table = schema.projects.c
        counts = select(table.embedded_count, table.unusable_count, table.item_count)
        with reading(self.engine) as connection:
            return Progress(*connection.execute(counts.where(table.id == project)).one())

    def start_backbone(self, project: int, backbone: str) -> None:
        """Make a backbone the project's: what it has a vector of has it at once, the rest is due."""
        items, own = schema.items, schema.items.c.project == project
        with writing(self.engine) as connection:
            # From here on the old positions are of no use; what is unusable keeps the time of its next try.
            connection.execute(
                update(items).where(own, items.c.vector.is_not(None)).values(vector=None, due_at=0.0)
            )
            connection.execute(update(items).where(own, items.c.gone).values(due_at=None))
            connection.execute(
                update(schema.projects).where(schema.projects.c.id == project).values(backbone=backbone)
            )
            recount(connection, project)
        if self.vectors_kept.count(backbone):
            self._find_vectors(project, backbone)

    def _find_vectors(self, project: int, backbone: str) -> None:
        items, last = schema.items, 0
        while True:
            with reading(self.engine) as connection:
                rows = connection.execute(
                    select(items.c.id, items.c.content_hash)
                    .where(items.c.project == project, items.c.id > last, items.c.content_hash.is_not(None))
                    .order_by(items.c.id)
                    .limit(HASHES)
                ).all()
            if not rows:
                return
            last = rows[-1].id
            positions = self.vectors_kept.find(backbone, [row.content_hash for row in rows]).tolist()
            found = [(row.id, at) for row, at in zip(rows, positions, strict=True) if at >= 0]
            with writing(self.engine) as connection, counting(connection, [item for item, _ in found]):
                _place(connection, backbone, found)

    def add_vectors(
        self, backbone: str, embedded: Sequence[tuple[int, str, NDArray[np.floating[Any]]]]
    ) -> None:
        """Keep the vectors of items: (item id, content hash, vector (d,))."""
        if not embedded:
            return
        ids = [item for item, _, _ in embedded]
        hashes = [content_hash for _, content_hash, _ in embedded]
        # First the vectors, which are safe once this returns, then the items that say where theirs is.
        positions = self.vectors_kept.append(backbone, hashes, np.stack([vector for *_, vector in embedded]))
        with writing(self.engine) as connection, counting(connection, ids):
            connection.execute(
                update(schema.items)
                .where(schema.items.c.id == bindparam("item"))
                .values(content_hash=bindparam("digest"), problem=None),
                [{"item": item, "digest": digest} for item, digest in zip(ids, hashes, strict=True)],
            )
            _place(connection, backbone, zip(ids, positions.tolist(), strict=True))

    def keep_read(
        self, backbone: str, read: Sequence[ReadImage], *, due_at: Mapping[int, float] = MappingProxyType({})
    ) -> dict[int, str]:
        """Keep what reading images brought; returns the content hashes of the items that have a vector now, by item.

        `due_at`: item -> when its image was due, as it was read. Where that is another time now, the item has another
        image, or left the pool: nothing is kept of it.
        """
        if not read:
            return {}
        new = [(image.content_hash, image.vector) for image in read if image.vector is not None]
        if new:  # first the vectors, as above
            hashes, vectors = zip(*new, strict=True)
            self.vectors_kept.append(backbone, hashes, np.stack(vectors))
        positions = self.vectors_kept.find(backbone, [image.content_hash for image in read]).tolist()
        rows = [
            (item, at, digest, json.dumps(measures), schema.storable(note))
            for (item, digest, _, measures, note), at in zip(read, positions, strict=True)
        ]
        items = schema.items
        own = items.c.project.in_(select(schema.projects.c.id).where(schema.projects.c.backbone == backbone))
        with writing(self.engine) as connection, counting(connection, [row[0] for row in rows]):
            changed = _changed(connection, due_at)
            rows = [row for row in rows if row[0] not in changed]
            bulk = Bulk(connection, _READ)
            given = bulk.columns
            # Of the others the vector is still to come; the next step learns that it is there.
            there = given["at"] >= 0
            of_item = update(items).where(items.c.id == given["item"])
            keep = of_item.values(
                measures=given["measures"],
                note=given["note"],
                content_hash=case((there, given["digest"]), else_=items.c.content_hash),
                problem=case((there, None), else_=items.c.problem),
                vector=case((and_(there, own), given["at"]), else_=items.c.vector),
                due_at=case((and_(there, own), None), else_=items.c.due_at),
            )
            bulk.execute(keep, rows)
        return {item: digest for item, at, digest, *_ in rows if at >= 0}

    def forget_vectors(self, backbone: str, damaged: NDArray[np.int64], count: int) -> int:
        """Have the items embedded again whose vector of their project's backbone is damaged, lies beyond `count`, or is
        that of another content, as where the database was restored and the vectors were not.

        Returns how many there are.
        """
        items, projects = schema.items, schema.projects
        with reading(self.engine) as connection:
            own = select(projects.c.id).where(projects.c.backbone == backbone)
            here = and_(items.c.project.in_(own), items.c.vector.is_not(None))
            lost = list(connection.scalars(select(items.c.id).where(here, items.c.vector >= count)))
            query = select(items.c.id).where(here)
            lost += [row.id for row in rows_with(connection, query, items.c.vector, damaged.tolist())]
        lost += self._misplaced(backbone, here)
        for part in chunks(sorted(set(lost))):
            with writing(self.engine) as connection, counting(connection, part):
                connection.execute(
                    update(items)
                    .where(items.c.id.in_(part))
                    .values(vector=None, content_hash=None, due_at=case((items.c.gone, None), else_=0.0))
                )
        return len(set(lost))

    def _misplaced(self, backbone: str, here: ColumnElement[bool]) -> Iterator[int]:
        """Ids of items, of those that are `here`, whose position holds no vector of their content."""
        items, last = schema.items.c, 0
        while True:
            query = select(items.id, items.content_hash, items.vector).where(here, items.id > last)
            known = query.where(items.content_hash.is_not(None)).order_by(items.id).limit(HASHES)
            with reading(self.engine) as connection:
                rows = connection.execute(known).all()
            if not rows:
                return
            last = rows[-1].id
            positions = self.vectors_kept.find(backbone, [row.content_hash for row in rows]).tolist()
            yield from (row.id for row, at in zip(rows, positions, strict=True) if at != row.vector)

    def note_unusable(
        self,
        faults: Sequence[tuple[int, str, float]],
        *,
        due_at: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Keep why images cannot be used: (item id, problem, when to try again in seconds since the epoch).

        Their vectors do not count until they were read again. `due_at`: see `keep_read`.
        """
        if not faults:
            return
        table = schema.items
        failed = update(table).where(table.c.id == bindparam("item"))
        failed = failed.values(
            problem=bindparam("why"), due_at=bindparam("again"), vector=None, attempts=table.c.attempts + 1
        )
        with writing(self.engine) as connection, counting(connection, [item for item, _, _ in faults]):
            changed = _changed(connection, due_at)
            rows = [
                {"item": item, "why": problem, "again": retry_at}
                for item, problem, retry_at in faults
                if item not in changed
            ]
            if rows:
                connection.execute(failed, rows)

    def vectors(self, project: int, backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The embedded pool: item ids (n,) ascending, and their vectors (n, d)."""
        ids, positions = self.positions(project, backbone)
        return ids, self.vectors_kept.rows(backbone, positions)

    def vectors_of(
        self, project: int, backbone: str, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The vectors of some items, as `vectors` returns them: each item once, ascending, without those that left the
        pool or have no vector."""
        found, positions = self.positions(project, backbone, np.unique(ids).tolist())
        return found, self.vectors_kept.rows(backbone, positions)

    def iter_vectors(
        self, project: int, backbone: str, *, every: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The embedded pool in parts of what `vectors` returns, for whoever need not hold all of it in memory.

        Args:
            project: our id.
            backbone: its fingerprint.
            every: only items whose id is a multiple of this: an even sample.
        """
        ids, positions = self.positions(project, backbone)
        if every > 1:
            ids, positions = ids[ids % every == 0], positions[ids % every == 0]
        for start in range(0, len(ids), STREAMED):
            part = slice(start, start + STREAMED)
            yield ids[part], self.vectors_kept.rows(backbone, positions[part])

    def positions(
        self, project: int, backbone: str, only: Collection[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items of the pool that have a vector of a backbone (n,), ascending, and its positions (n,)."""
        items = schema.items.c
        here = and_(items.project == project, ~items.gone)
        with reading(self.engine) as connection:
            own = connection.scalar(select(schema.projects.c.backbone).where(schema.projects.c.id == project))
            kept = items.vector if own == backbone else items.content_hash
            known, values = _by_item(connection, kept, and_(here, kept.is_not(None)), only)
        if own == backbone:
            positions = np.array(values, dtype=np.int64)
        else:
            positions = self.vectors_kept.find(backbone, values)
            known, positions = known[positions >= 0], positions[positions >= 0]
        order = np.argsort(known, kind="stable")
        return known[order], positions[order]


def _by_item(
    connection: Connection,
    column: ColumnElement[Any],
    where: ColumnElement[bool],
    only: Collection[int] | None,
) -> tuple[NDArray[np.int64], list[Any]]:
    """Items (n,) in any order, and a column of each; of some items only, where they are named."""
    item = schema.items.c.id
    if only is None:
        ids, values = columns_of(connection, item, column, where=where)
    else:
        found = [tuple(row) for row in rows_with(connection, select(item, column).where(where), item, only)]
        ids, values = [item for item, _ in found], [value for _, value in found]
    return np.array(ids, dtype=np.int64), values


def _changed(connection: Connection, due_at: Mapping[int, float]) -> set[int]:
    """The items whose image is not due at the given time (item -> seconds since the epoch) any more.

    The rows are locked, so that the others stay due at theirs until the transaction ends.
    """
    items = schema.items.c
    query = select(items.id, items.due_at).order_by(items.id).with_for_update()
    known = {row.id: row.due_at for row in rows_with(connection, query, items.id, due_at)}
    return {item for item, at in due_at.items() if known.get(item) != at}


def _place(connection: Connection, backbone: str, found: Iterable[tuple[int, int]]) -> None:
    """Record where the vectors of items (id, position) lie, as far as the backbone is that of their project."""
    items, projects = schema.items, schema.projects
    rows = [{"item": item, "at": at} for item, at in found]
    if not rows:
        return
    own = select(projects.c.id).where(projects.c.backbone == backbone)
    connection.execute(
        update(items)
        .where(items.c.id == bindparam("item"), items.c.project.in_(own))
        .values(vector=bindparam("at"), due_at=None),
        rows,
    )

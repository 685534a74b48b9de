"""What the rest of the house may ask of the state. Every method is one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cdsel_backend.store import schema
from cdsel_backend.store.database import open_database, reading, writing

CHUNK = 500  # rows of one statement: below every database's limit of bound values


def _chunks(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


@dataclass(frozen=True)
class PoolTask:
    """A task of the pool project: its id, its data, and the value of its image field ("" if it has none)."""

    task: int
    data: Mapping[str, Any]
    image: str


@dataclass(frozen=True)
class Selected:
    """An image that a round chose: item id, rank over all rounds from 1, gain, and why."""

    item: int
    rank: int
    gain: float
    sentence: str
    reason: Mapping[str, Any]


class Store:
    """The state of every project, in one database."""

    def __init__(self, url: str) -> None:
        self.engine = open_database(url)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    # projects

    def connect_project(
        self,
        studio_url: str,
        pool_project: int,
        *,
        layers: Mapping[str, Mapping[str, Any]] | None = None,
        problems: Mapping[str, Sequence[str]] | None = None,
        **values: Any,
    ) -> int:
        """Record that Label Studio connected a project; returns our id of it.

        The layers of settings and the problems named replace those of the same name, and leave the others alone.
        """
        table = schema.projects
        here = and_(table.c.studio_url == studio_url, table.c.pool_project == pool_project)
        with reading(self.engine) as connection:
            found = connection.scalar(select(table.c.id).where(here))
        if found is None:
            # Somebody else may have been quicker: then theirs is brought up to date below.
            with suppress(IntegrityError), writing(self.engine) as connection:
                connection.execute(insert(table).values(studio_url=studio_url, pool_project=pool_project))
        with writing(self.engine) as connection:
            row = connection.execute(select(table.c.id, table.c.layers, table.c.problems).where(here)).one()
            wrong = {**row.problems, **(problems or {})}
            connection.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(
                    layers={**row.layers, **(layers or {})},
                    problems={origin: list(words) for origin, words in wrong.items() if words},
                    **values,
                )
            )
        return int(row.id)

    def projects(self) -> list[Row[Any]]:
        """All connected projects."""
        with reading(self.engine) as connection:
            return list(connection.execute(select(schema.projects).order_by(schema.projects.c.id)))

    def project(self, project: int) -> Row[Any]:
        """One project, by our id."""
        with reading(self.engine) as connection:
            return connection.execute(select(schema.projects).where(schema.projects.c.id == project)).one()

    def project_of(self, source: int) -> Row[Any] | None:
        """The project whose pool, or one of whose queues, is this project of Label Studio."""
        table, own = schema.projects.c, schema.annotators.c
        personal = select(own.project).where(own.queue_project == source)
        with reading(self.engine) as connection:
            return connection.execute(
                select(schema.projects)
                .where(
                    or_(table.pool_project == source, table.queue_project == source, table.id.in_(personal))
                )
                .order_by(table.id.desc())
            ).first()

    def update_project(self, project: int, **values: Any) -> None:
        """Change columns of one project."""
        with writing(self.engine) as connection:
            connection.execute(
                update(schema.projects).where(schema.projects.c.id == project).values(**values)
            )

    def note_problems(self, project: int, origin: str, sentences: Sequence[str]) -> None:
        """Replace what is wrong according to one origin; an empty list says that it is right again."""
        with writing(self.engine) as connection:
            table = schema.projects
            problems = dict(
                connection.scalars(select(table.c.problems).where(table.c.id == project)).one() or {}
            )
            if sentences:
                problems[origin] = list(sentences)
            elif problems.pop(origin, None) is None:
                return
            connection.execute(update(table).where(table.c.id == project).values(problems=problems))

    # the pool

    def sync_pool(self, project: int, tasks: Sequence[PoolTask]) -> bool:
        """Make the items what the pool project holds now; returns whether anything changed.

        A task whose data changed gets its image read again.
        """
        table = schema.items
        with writing(self.engine) as connection:
            known = {
                row.task: row for row in connection.execute(select(table).where(table.c.project == project))
            }
            new, changed = [], []
            for task in tasks:
                row = known.get(task.task)
                if row is None:
                    new.append(
                        {"project": project, "task": task.task, "data": dict(task.data), "image": task.image}
                    )
                elif row.gone or row.data != task.data:
                    changed.append((row.id, task))
            present = {task.task for task in tasks}
            gone = [row.id for task, row in known.items() if task not in present and not row.gone]
            for rows in _chunks(new):
                connection.execute(insert(table), rows)
            for item, task in changed:
                connection.execute(
                    update(table)
                    .where(table.c.id == item)
                    .values(
                        data=dict(task.data),
                        image=task.image,
                        content_hash=None,
                        problem=None,
                        attempts=0,
                        retry_at=0.0,
                        gone=False,
                    )
                )
            for ids in _chunks(gone):
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

    def items(self, project: int) -> list[Row[Any]]:
        """Every item that ever was in the pool, also those gone since, in order of their ids."""
        table = schema.items
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(table.c.project == project).order_by(table.c.id))
            )

    def without_vector(self, project: int, backbone: str, *, limit: int, now: float) -> list[Row[Any]]:
        """Items whose image is to be read and embedded, those never tried before first."""
        items, vectors = schema.items, schema.vectors
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(items)
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
                    .limit(limit)
                )
            )

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
        if not rows:
            return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float32)
        ids = np.fromiter((row.id for row in rows), dtype=np.int64, count=len(rows))
        flat = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2")
        return ids, flat.reshape(len(rows), -1).astype(np.float32)

    # labels

    def replace_labels(self, project: int, source: int, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Make the labels of one Label Studio project what it holds now; returns whether anything changed."""
        table = schema.labels
        where = and_(table.c.project == project, table.c.source == source)
        wanted = {row["annotation"]: {"project": project, "source": source, **row} for row in rows}
        with writing(self.engine) as connection:
            known = {
                row.annotation: dict(row._mapping) for row in connection.execute(select(table).where(where))
            }
            stale = [key for key, row in known.items() if wanted.get(key) != row]
            fresh = [row for key, row in wanted.items() if known.get(key) != row]
            for keys in _chunks(stale):
                connection.execute(delete(table).where(where, table.c.annotation.in_(keys)))
            for part in _chunks(fresh):
                connection.execute(insert(table), part)
        return bool(stale or fresh)

    def labels(self, project: int) -> list[Row[Any]]:
        """Every annotation of the project, in order of their ids."""
        table = schema.labels
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table).where(table.c.project == project).order_by(table.c.annotation)
                )
            )

    # the queue

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
            for part in _chunks(selected):
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

    def rounds(self, project: int) -> list[Row[Any]]:
        """The rounds so far, oldest first."""
        table = schema.rounds
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(table.c.project == project).order_by(table.c.number))
            )

    def selections(self, project: int) -> list[Row[Any]]:
        """Every image that was ever selected, in rank order."""
        table = schema.selections
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(table.c.project == project).order_by(table.c.rank))
            )

    def copies(self, project: int) -> list[Row[Any]]:
        """Further tasks of images that are in a queue already, in rank order."""
        table = schema.copies
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table)
                    .where(table.c.project == project)
                    .order_by(table.c.rank, table.c.item, table.c.annotator)
                )
            )

    def annotators(self, project: int) -> list[Row[Any]]:
        """Every account that the setting `annotators` named once."""
        table = schema.annotators
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(table.c.project == project).order_by(table.c.email))
            )

    def set_annotators(self, project: int, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set columns of annotators: e-mail -> `user` or `queue_project`; who is new is added."""
        table = schema.annotators
        with writing(self.engine) as connection:
            for email, columns in values.items():
                here = and_(table.c.project == project, table.c.email == email)
                known = connection.execute(update(table).where(here).values(**columns))
                if not known.rowcount:
                    connection.execute(insert(table).values(project=project, email=email, **columns))

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

    def mark_selections(self, project: int, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Set columns of selections: item id -> `queue_task`, `annotator`, `rank` or `predicted_by`."""
        table = schema.selections
        with writing(self.engine) as connection:
            for item, columns in values.items():
                connection.execute(
                    update(table).where(table.c.project == project, table.c.item == item).values(**columns)
                )

    # models

    def add_training(self, project: int, *, champion: str | None = None, **values: Any) -> int:
        """Record a training that ran and, when it is promoted, the champion, at once."""
        table = schema.trainings
        with writing(self.engine) as connection:
            last = connection.scalar(select(func.max(table.c.number)).where(table.c.project == project)) or 0
            connection.execute(
                insert(table).values(project=project, number=last + 1, created_at=time.time(), **values)
            )
            if champion is not None:
                connection.execute(
                    update(schema.projects).where(schema.projects.c.id == project).values(champion=champion)
                )
            return int(last) + 1

    def set_champion(self, project: int, version: str, *, who: str) -> None:
        """Let a version serve that somebody chose, and say so in the audit, at once."""
        table = schema.projects
        with writing(self.engine) as connection:
            old = connection.scalar(select(table.c.champion).where(table.c.id == project))
            connection.execute(update(table).where(table.c.id == project).values(champion=version))
            connection.execute(
                insert(schema.audit).values(
                    project=project,
                    at=time.time(),
                    who=who,
                    name="champion",
                    old=old,
                    old_source="model versions" if old else None,
                    new=version,
                    new_source="model versions",
                )
            )

    def trainings(self, project: int) -> list[Row[Any]]:
        """Every training that ran, oldest first."""
        table = schema.trainings
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(table.c.project == project).order_by(table.c.number))
            )

    # events

    def add_event(self, source: int | None, action: str, payload: Mapping[str, Any]) -> int:
        """Keep what Label Studio sent; returns its number."""
        with writing(self.engine) as connection:
            done = connection.execute(
                insert(schema.events).values(
                    source=source, action=action, payload=dict(payload), received_at=time.time()
                )
            )
            return int(done.inserted_primary_key[0])  # type: ignore[index]

    def open_events(self, sources: Collection[int]) -> list[Row[Any]]:
        """Events of these Label Studio projects that nobody looked at yet, oldest first, without payload."""
        table = schema.events.c
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table.id, table.source, table.action, table.received_at)
                    .where(table.handled_at.is_(None), table.source.in_(list(sources)))
                    .order_by(table.id)
                )
            )

    def newest_event(self) -> int:
        """The number of the newest event, 0 before the first: it grows when there is something to look at."""
        with reading(self.engine) as connection:
            return connection.scalar(select(func.max(schema.events.c.id))) or 0

    def handle_events(self, ids: Sequence[int]) -> None:
        """Record that these events were looked at."""
        with writing(self.engine) as connection:
            for part in _chunks(ids):
                connection.execute(
                    update(schema.events).where(schema.events.c.id.in_(part)).values(handled_at=time.time())
                )

    # leases and facts

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; false while another holds it."""
        table, now = schema.leases, time.time()
        with writing(self.engine) as connection:
            taken = connection.execute(
                update(table)
                .where(table.c.name == name, or_(table.c.holder == holder, table.c.expires_at < now))
                .values(holder=holder, expires_at=now + seconds)
            )
            if taken.rowcount:
                return True
        try:
            with writing(self.engine) as connection:
                connection.execute(insert(table).values(name=name, holder=holder, expires_at=now + seconds))
        except IntegrityError:
            return False
        return True

    def release(self, name: str, holder: str) -> None:
        """Give a lease back."""
        with writing(self.engine) as connection:
            connection.execute(
                delete(schema.leases).where(schema.leases.c.name == name, schema.leases.c.holder == holder)
            )

    def set_fact(self, name: str, value: object) -> None:
        """Keep a small fact of the whole server, as JSON."""
        table = schema.facts
        with writing(self.engine) as connection:
            known = connection.execute(update(table).where(table.c.name == name).values(value=value))
            if not known.rowcount:
                connection.execute(insert(table).values(name=name, value=value))

    def fact(self, name: str) -> Any:
        """A small fact, or none."""
        table = schema.facts
        with reading(self.engine) as connection:
            return connection.scalar(select(table.c.value).where(table.c.name == name))

    # what the dashboard asks for

    def change_layer(
        self,
        project: int,
        change: Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
    ) -> None:
        """Change the layers of a project's settings, and say so in the audit, at once.

        `change` gets the layers as they stand and returns them as they should be, with the audit's rows (who, name,
        old, old_source, new, new_source). The worker is woken.
        """
        table, now = schema.projects, time.time()
        with writing(self.engine) as connection:
            row = connection.execute(
                select(table.c.layers, table.c.pool_project).where(table.c.id == project)
            ).one()
            layers, rows = change(row.layers)
            if not rows:
                return
            connection.execute(update(table).where(table.c.id == project).values(layers=dict(layers)))
            connection.execute(insert(schema.audit), [{"project": project, "at": now, **one} for one in rows])
            # Handled at once: it wakes the worker, and nothing in Label Studio needs to be read for it.
            connection.execute(
                insert(schema.events).values(
                    source=row.pool_project,
                    action="SETTINGS_CHANGED",
                    payload={"settings": [one["name"] for one in rows]},
                    received_at=now,
                    handled_at=now,
                )
            )

    def add_request(self, project: int, action: str, *, who: str) -> None:
        """Ask the worker for a step, and say so in the audit, at once."""
        now = time.time()
        with writing(self.engine) as connection:
            pool = connection.scalar(
                select(schema.projects.c.pool_project).where(schema.projects.c.id == project)
            )
            connection.execute(
                insert(schema.events).values(
                    source=pool, action=action, payload={"who": who}, received_at=now
                )
            )
            connection.execute(
                insert(schema.audit).values(project=project, at=now, who=who, name=action.lower())
            )

    def audit(self, project: int, *, name: str | None = None, limit: int | None = None) -> list[Row[Any]]:
        """What was changed on the dashboard, newest first; of one setting, if named."""
        table = schema.audit
        where = (
            table.c.project == project
            if name is None
            else and_(table.c.project == project, table.c.name == name)
        )
        with reading(self.engine) as connection:
            return list(
                connection.execute(select(table).where(where).order_by(table.c.id.desc()).limit(limit))
            )

    def events(self, sources: Collection[int], *, limit: int | None = None) -> list[Row[Any]]:
        """What happened in these Label Studio projects, newest first."""
        table = schema.events
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table)
                    .where(table.c.source.in_(list(sources)))
                    .order_by(table.c.id.desc())
                    .limit(limit)
                )
            )

    def unusable(self, project: int, *, limit: int | None = None) -> list[Row[Any]]:
        """Items of the pool whose image cannot be used, with the reason as `problem`."""
        table = schema.items
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(table)
                    .where(table.c.project == project, ~table.c.gone, table.c.problem.is_not(None))
                    .order_by(table.c.id)
                    .limit(limit)
                )
            )

    def items_by_id(self, ids: Collection[int]) -> dict[int, Row[Any]]:
        """Some items, by their ids."""
        table = schema.items
        with reading(self.engine) as connection:
            return {
                row.id: row
                for part in _chunks(sorted(ids))
                for row in connection.execute(select(table).where(table.c.id.in_(part)))
            }

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
            flat = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2")
            yield np.array([row.id for row in rows]), flat.reshape(len(rows), -1).astype(np.float32)
            last = rows[-1].id

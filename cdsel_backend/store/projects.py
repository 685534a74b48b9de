"""The connected projects and their settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Column, ScalarSelect, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cdsel_backend.store import schema
from cdsel_backend.store.database import lock_project, reading, writing
from cdsel_backend.store.journal import wake_worker
from cdsel_backend.store.numbers import is_number
from cdsel_backend.store.problems import Problems, note_times
from cdsel_backend.store.records import Project
from cdsel_backend.store.rows import columns

REMOVED = "removed"  # before the address of the Label Studio of a project that was taken from the dashboard


def _highest(column: Column[int]) -> ScalarSelect[int | None]:
    """The highest value of a column in the rows of a project: the end of an index, however many rows there are."""
    return select(func.max(column)).where(column.table.c.project == bindparam("project")).scalar_subquery()


# Made once: every idle pass asks it, and to put it together costs more than the answer.
_NEWEST = select(
    _highest(schema.labels.c.annotation),
    _highest(schema.selections.c.rank),
    _highest(schema.trainings.c.number),
    _highest(schema.audit.c.id),
)


class Projects(Problems):
    """The connected projects and their settings."""

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
            # Whole from the first moment: a worker may look at it at once. Somebody else may have been quicker: then
            # theirs is brought up to date below.
            first = {
                "studio_url": studio_url,
                "pool_project": pool_project,
                "layers": dict(layers or {}),
                **values,
            }
            with suppress(IntegrityError), writing(self.engine) as connection:
                connection.execute(insert(table).values(**first))
        with writing(self.engine) as connection:
            lock_project(connection, connection.scalars(select(table.c.id).where(here)).one())
            row = connection.execute(select(table.c.id, table.c.layers, table.c.problems).where(here)).one()
            wrong = {**row.problems, **(problems or {})}
            wrong = {origin: list(listed) for origin, listed in wrong.items() if listed}
            connection.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(
                    layers={**row.layers, **(layers or {})},
                    problems=wrong,
                    **values,
                )
            )
            note_times(connection, row.id, wrong)
        return int(row.id)

    def projects(self, *, removed: bool = False) -> list[Project]:
        """All connected projects, without those removed from the dashboard; with `removed`, those alone."""
        table = schema.projects
        here = table.c.studio_url.startswith(REMOVED)
        query = columns(Project, table).where(here if removed else ~here).order_by(table.c.id)
        return self._records(Project, query)

    def remove_project(self, project: int) -> None:
        """Take a project from the dashboard and from the worker; what is known of it, and every vector, stays kept.

        Connected again in Label Studio, it begins anew.
        """
        table = schema.projects
        self._execute(
            update(table)
            .where(table.c.id == project, ~table.c.studio_url.startswith(REMOVED))
            .values(studio_url=f"{REMOVED} {time.time():.0f} " + table.c.studio_url)
        )

    def move_project(self, project: int, studio_url: str) -> None:
        """Note that the Label Studio of a project is at another address; all of it is to be listed anew there."""
        values = {"studio_url": studio_url, "pool_synced_at": 0.0, "queue_synced_at": 0.0}
        self._execute(update(schema.projects).where(schema.projects.c.id == project).values(**values))

    def project(self, project: int) -> Project:
        """One project, by our id."""
        query = columns(Project, schema.projects).where(schema.projects.c.id == project)
        return self._records(Project, query)[0]

    def projects_of(self, source: int) -> list[Project]:
        """The connected projects whose pool, or one of whose queues, has this number in its Label Studio, newest first.

        Books may know several Label Studios. Those removed from the dashboard are left out.
        """
        if not is_number(source):
            return []
        table, own = schema.projects.c, schema.annotators.c
        personal = select(own.project).where(own.queue_project == source)
        here = or_(table.pool_project == source, table.queue_project == source, table.id.in_(personal))
        query = columns(Project, schema.projects).where(here, ~table.studio_url.startswith(REMOVED))
        return self._records(Project, query.order_by(table.id.desc()))

    def project_of(self, source: int, studio_url: str = "") -> Project | None:
        """The newest of `projects_of` at this address of Label Studio; "": at any."""
        found = self.projects_of(source)
        return next((row for row in found if studio_url in ("", row.studio_url)), None)

    def newest(self, project: int) -> tuple[int | None, ...]:
        """The highest numbers of a project's annotations, selected images, trainings and rows of the audit."""
        with reading(self.engine) as connection:
            return tuple(connection.execute(_NEWEST, {"project": project}).one())

    def update_project(self, project: int, **values: Any) -> None:
        """Change columns of one project."""
        self._execute(update(schema.projects).where(schema.projects.c.id == project).values(**values))

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
            lock_project(connection, project)
            layers, rows = change(
                connection.execute(select(table.c.layers).where(table.c.id == project)).scalar_one()
            )
            if not rows:
                return
            connection.execute(update(table).where(table.c.id == project).values(layers=dict(layers)))
            connection.execute(insert(schema.audit), [{"project": project, "at": now, **row} for row in rows])
            wake_worker(connection, project, "SETTINGS_CHANGED", {"settings": [row["name"] for row in rows]})

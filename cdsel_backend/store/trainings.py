"""The trainings that ran, and which model serves."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, and_, cast, func, insert, or_, select, update
from sqlalchemy import Text as AnyText

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, lock_project, writing
from cdsel_backend.store.records import Json, Outcome, Training


class Trainings(Database):
    """The trainings that ran, and which model serves."""

    def add_training(
        self,
        project: int,
        *,
        champion: str | None = None,
        instead_of: str | None = None,
        outcome: Outcome,
        labels: Mapping[str, str],
        **values: Any,
    ) -> int | None:
        """Record a training that ran and, when it is promoted, the champion, at once; returns its number.

        A champion takes the place of `instead_of` only (None: of none). None, and nothing is recorded, where another
        serves by now: somebody chose it meanwhile.
        """
        table = schema.trainings
        with writing(self.engine) as connection:
            if champion is not None and not _replace(connection, project, champion, instead_of):
                return None
            last = connection.scalar(select(func.max(table.c.number)).where(table.c.project == project)) or 0
            connection.execute(
                insert(table).values(
                    project=project,
                    number=last + 1,
                    created_at=time.time(),
                    outcome=outcome.to_text(),
                    labels=dict(labels),
                    label_count=len(labels),
                    **values,
                )
            )
            return int(last) + 1

    def trainings(self, project: int) -> list[Training]:
        """Every training that ran, oldest first."""
        return self._of_project(Training, schema.trainings, project, "number")

    def training_labels(self, project: int, number: int) -> dict[str, str]:
        """The labels that a training saw, item id -> label; none of an earlier one whose version is not kept."""
        table = schema.trainings.c
        return dict(
            self._scalar(select(table.labels).where(table.project == project, table.number == number)) or {}
        )

    def drop_training_labels(self, project: int, kept: Collection[str]) -> None:
        """Drop what trainings saw whose version is not `kept`, but for the newest: together they hold every label
        as often as there are trainings.
        """
        table = schema.trainings
        newest = select(func.max(table.c.number)).where(table.c.project == project).scalar_subquery()
        self._execute(
            update(table)
            .where(
                table.c.project == project,
                table.c.number < newest,
                or_(table.c.version.is_(None), table.c.version.not_in(kept)),
                cast(table.c.labels, AnyText) != "{}",
            )
            .values(labels={})
        )

    def note_insight(self, project: int, number: int, insight: Json | None) -> None:
        """Add what was found of labels and pool after a training to its metrics; None: nothing could be."""
        table = schema.trainings
        here = and_(table.c.project == project, table.c.number == number)
        with writing(self.engine) as connection:
            metrics = connection.scalar(select(table.c.metrics).where(here))
            if metrics is not None:
                connection.execute(update(table).where(here).values(metrics={**metrics, "insight": insight}))

    def replace_champion(self, project: int, version: str | None, *, instead_of: str | None) -> bool:
        """Let another version serve, or none; false, and nothing is changed, where somebody chose one meanwhile."""
        with writing(self.engine) as connection:
            return _replace(connection, project, version, instead_of)

    def set_champion(self, project: int, version: str, *, who: str) -> None:
        """Let a version serve that somebody chose, and say so in the audit, at once."""
        table = schema.projects
        with writing(self.engine) as connection:
            lock_project(connection, project)
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


def _replace(connection: Connection, project: int, version: str | None, instead_of: str | None) -> bool:
    """Let a version serve where `instead_of` still does (None: none); returns whether it does."""
    table = schema.projects
    compared = and_(table.c.id == project, table.c.champion.is_not_distinct_from(instead_of))
    return bool(connection.execute(update(table).where(compared).values(champion=version)).rowcount)

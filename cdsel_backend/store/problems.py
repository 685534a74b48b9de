"""What is wrong with a project: by whom it was found, since when, and whether its admin dismissed it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, lock_project, reading, writing
from cdsel_backend.store.facts import keep_fact, read_fact
from cdsel_backend.store.records import Json, Project

# Origins of problems: the pool project is not in Label Studio any more; this backend was removed from it there.
POOL_GONE = "pool project"
DISCONNECTED = "connection"

MOST_TASKS = 10_000  # that are kept of one problem


class NamedTask(NamedTuple):
    """A task that a problem is about: its project in Label Studio, its number there, and that of the pool."""

    project: int
    task: int
    pool_task: int | None = None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    origin: str
    """Who found it, and takes it back when it is gone: a step, or a source of settings."""
    message: str
    since: float | None
    """When it was found, in seconds since the epoch; None: before that was kept."""
    dismissed: str | None = None
    """Who dismissed it. It comes back when it was gone and is found anew."""


class Problems(Database):
    """What is wrong with projects."""

    def note_problems(
        self, project: int, origin: str, sentences: Sequence[str], tasks: Sequence[NamedTask] = ()
    ) -> None:
        """Replace what is wrong according to one origin; an empty list says that it is right again.

        `tasks`: all those that it is about, where the sentences name the first.
        """
        table = schema.projects
        with writing(self.engine) as connection:
            lock_project(connection, project)
            known = _tasks(connection, project)
            named = {name: rows for name, rows in known.items() if name != origin}
            named |= {origin: [list(task) for task in tasks[:MOST_TASKS]]} if sentences and tasks else {}
            if named != known:
                keep_fact(connection, _name_of_tasks(project), named)
            problems = dict(_problems(connection, project))
            if sentences:
                problems[origin] = list(sentences)
            elif problems.pop(origin, None) is None:
                return
            connection.execute(update(table).where(table.c.id == project).values(problems=problems))
            note_times(connection, project, problems)

    def update_problems(self, known: Project, origin: str, sentences: Sequence[str]) -> None:
        """Call `note_problems`, unless the row of the project, as it was read, says the same already.

        Most passes find what the last one found, and should not wait until the database lets them write.
        """
        if list(sentences) != known.problems.get(origin, []):
            self.note_problems(known.id, origin, sentences)

    def problems(self, project: int) -> list[Problem]:
        """Everything that is wrong with a project, dismissed or not."""
        with reading(self.engine) as connection:
            found = _problems(connection, project)
            times = _times(connection, project)
        return [
            Problem(origin, sentence, *(times.get(origin, {}).get(sentence) or (None, None)))
            for origin, sentences in found.items()
            for sentence in sentences
        ]

    def problem_tasks(self, project: int) -> dict[str, list[NamedTask]]:
        """All tasks that problems are about, by who found these."""
        with reading(self.engine) as connection:
            found = _tasks(connection, project)
        return {origin: [NamedTask(*task) for task in tasks] for origin, tasks in found.items()}

    def dismiss_problem(self, project: int, origin: str, message: str, *, who: str) -> bool:
        """Hide a problem until it is found anew; returns whether there is such a problem."""
        with writing(self.engine) as connection:
            lock_project(connection, project)
            found = _problems(connection, project).get(origin, ())
            # Forms change blanks.
            same = [sentence for sentence in found if sentence.split() == message.split()]
            if not same:
                return False
            times = {name: dict(known) for name, known in _times(connection, project).items()}
            since = times.setdefault(origin, {}).get(same[0], (None, None))[0]
            times[origin][same[0]] = since, who
            keep_fact(connection, _name(project), times)
        return True


Times = Mapping[str, Mapping[str, tuple[float | None, str | None]]]
"""Origin -> message -> when it was found, and who dismissed it."""


def note_times(connection: Connection, project: int, problems: Mapping[str, Sequence[str]]) -> None:
    """Keep since when each problem is there; what is gone is forgotten, its dismissal as well."""
    known, now = _times(connection, project), time.time()
    times = {
        origin: {sentence: known.get(origin, {}).get(sentence, (now, None)) for sentence in sentences}
        for origin, sentences in problems.items()
    }
    if times != known:
        keep_fact(connection, _name(project), times)


def _problems(connection: Connection, project: int) -> Mapping[str, Sequence[str]]:
    """Origin -> messages, as the row of a project has them."""
    query = select(schema.projects.c.problems).where(schema.projects.c.id == project)
    return connection.scalars(query).one() or {}


def _name(project: int) -> str:
    return f"problems of {project}"


def _name_of_tasks(project: int) -> str:
    return f"tasks of problems of {project}"


def _times(connection: Connection, project: int) -> Times:
    kept: Json = read_fact(connection, _name(project)) or {}
    return {
        origin: {sentence: (found[0], found[1]) for sentence, found in known.items()}
        for origin, known in kept.items()
    }


def _tasks(connection: Connection, project: int) -> dict[str, list[list[Any]]]:
    return read_fact(connection, _name_of_tasks(project)) or {}

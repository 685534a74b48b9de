"""Training processes that died: every worker knows of them, so that none tries at once what killed another's.

What a process was started for is its task: a digest of the labels and of who asked. After a death the same task waits
10 s, doubling up to an hour; another task (new labels, somebody asked again) starts at once.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from cdsel_backend.pauses import growing_pause
from cdsel_backend.store import Store

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 3600.0  # seconds


@dataclass(frozen=True)
class Death:
    """How often a project's training died in a row, of what task, when that is tried again, and if a signal did it."""

    task: str
    times: int
    again_at: float
    """Seconds since the epoch."""
    killed: bool

    def waits(self, task: str) -> bool:
        """Whether a task is to wait; never for longer than the longest pause, wherever the clock was set."""
        left = self.again_at - time.time()
        return self.task == task and 0 < left <= LONGEST_PAUSE


def last_death(store: Store, project: int) -> Death | None:
    """The last death of a training process of the project; None where a training has come to its end since."""
    found = store.fact(_fact(project))
    return Death(**found) if found else None


def note_death(store: Store, project: int, task: str, *, killed: bool, first_pause: float) -> float:
    """Keep that a process with this task died; returns the seconds until the task is tried again."""
    before = last_death(store, project)
    if before is not None and before.task == task:
        times, killed = before.times + 1, killed or before.killed
    else:
        times = 1
    pause = growing_pause(times, first_pause, LONGEST_PAUSE)
    store.set_fact(_fact(project), asdict(Death(task, times, time.time() + pause, killed)))
    return pause


def forget_death(store: Store, project: int) -> None:
    """Forget the deaths of a project's trainings, because one came to its end."""
    if store.fact(_fact(project)) is not None:
        store.set_fact(_fact(project), None)


def _fact(project: int) -> str:
    return f"death of the training of project {project}"

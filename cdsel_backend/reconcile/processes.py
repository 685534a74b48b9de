"""Training processes: one a project, apart from the worker, so that a training may die alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from cdsel_backend.store import Store

LEASE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 3600.0  # before the same labels are tried again after a death, doubling


@dataclass(frozen=True)
class _Death:
    """How often a project's training died in a row, of what task, when that is tried again, and if a signal did it."""

    times: int
    task: object
    again_at: float
    killed: bool


class Trainings:
    """The training processes of one worker.

    What a process was started for is its `task`, any value that can be compared. After a death the same task waits
    10 s, doubling up to an hour; another task (new labels, somebody asked again) starts at once.
    """

    def __init__(self, first_pause: float = FIRST_PAUSE) -> None:
        self.holder = uuid.uuid4().hex
        self._first_pause = first_pause
        self._running: dict[int, tuple[BaseProcess, object]] = {}
        self._deaths: dict[int, _Death] = {}

    def running(self, project: int) -> bool:
        """Whether a training of this project was started and its end not yet looked at."""
        return project in self._running

    def any_ended(self) -> bool:
        """Whether a process has ended whose end nobody has looked at."""
        return any(not process.is_alive() for process, _ in self._running.values())

    def may_start(self, project: int, task: object) -> bool:
        """Whether this task has not died of late."""
        death = self._deaths.get(project)
        return death is None or death.task != task or time.time() >= death.again_at

    def killed(self, project: int, task: object) -> bool:
        """Whether a signal ended a process that had this task, as when memory runs out."""
        death = self._deaths.get(project)
        return death is not None and death.task == task and death.killed

    def start(self, project: int, task: object, target: Callable[..., None], *arguments: Any) -> None:
        """Run `target(parent's process id, *arguments)` in a process of its own."""
        # Spawned, not forked: torch and open database connections do not survive a fork.
        process = multiprocessing.get_context("spawn").Process(target=target, args=(os.getpid(), *arguments))
        process.start()
        self._running[project] = process, task

    def process_id(self, project: int) -> int | None:
        """The process that trains for this project."""
        return self._running[project][0].pid if project in self._running else None

    def take_end(self, project: int) -> tuple[int, float] | None:
        """The exit status of a process that has ended, and the seconds until its task is tried again; told once.

        A negative status is the number of the signal that ended it. 0 means that the training came to its end.
        """
        process, task = self._running.get(project, (None, None))
        if process is None or process.is_alive():
            return None
        process.join()
        del self._running[project]
        status = int(process.exitcode or 0)
        if status == 0:
            self._deaths.pop(project, None)
            return 0, 0.0
        death = self._deaths.get(project)
        times = death.times + 1 if death is not None and death.task == task else 1
        killed = status < 0 or self.killed(project, task)
        pause = min(LONGEST_PAUSE, self._first_pause * 2.0 ** min(times - 1, 20))
        self._deaths[project] = _Death(times, task, time.time() + pause, killed)
        return status, pause

    def stop(self) -> None:
        """End every process."""
        for process, _ in self._running.values():
            process.kill()  # any training may be killed at any instruction
            process.join()
        self._running.clear()


@contextmanager
def renewing(store: Store, name: str, holder: str) -> Iterator[None]:
    """Keep a lease for as long as the work takes."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            store.lease(name, holder, LEASE_SECONDS)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

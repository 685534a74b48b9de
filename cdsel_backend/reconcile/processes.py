"""Training processes: one a project, apart from the worker, so that a training may die alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend.reconcile.deaths import FIRST_PAUSE
from cdsel_backend.store import Store
from cdsel_backend.store.leases import LEASE_SECONDS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """How a training process ended, and what it was started for."""

    task: str
    status: int
    """0: the training came to its end; negative: the number of the signal that ended the process."""


class TrainingProcesses:
    """The training processes of one worker. What those of other workers do is known by their leases."""

    def __init__(self, first_pause: float = FIRST_PAUSE) -> None:
        self.holder = uuid.uuid4().hex
        self.first_pause = first_pause
        """Seconds before a task is tried again after its first death."""
        self._running: dict[int, tuple[BaseProcess, str]] = {}

    def running(self, project: int) -> bool:
        """Whether a training of this project was started here and its end not yet looked at."""
        return project in self._running

    def any_ended(self) -> bool:
        """Whether a process has ended whose end nobody has looked at."""
        return any(not process.is_alive() for process, _ in list(self._running.values()))

    def start(self, project: int, task: str, target: Callable[..., None], *arguments: Any) -> None:
        """Run `target(parent's process id, *arguments)` in a process of its own."""
        # Spawned, not forked: torch and open database connections do not survive a fork.
        process = multiprocessing.get_context("spawn").Process(target=target, args=(os.getpid(), *arguments))
        process.start()
        self._running[project] = process, task

    def process_id(self, project: int) -> int | None:
        """The process that trains for this project."""
        return self._running[project][0].pid if project in self._running else None

    def take_end(self, project: int) -> End | None:
        """The end of a process that has ended, given once."""
        process, task = self._running.get(project, (None, ""))
        if process is None or process.is_alive():
            return None
        process.join()
        del self._running[project]
        return End(task, int(process.exitcode or 0))

    def stop(self) -> list[int]:
        """End every process; returns the projects that they trained for."""
        ended = list(self._running)
        for process, _ in self._running.values():
            process.kill()  # any training may be killed at any instruction
            process.join()
        self._running.clear()
        return ended


@contextmanager
def renewing(store: Store, name: str, holder: str) -> Iterator[None]:
    """Keep a lease for as long as the work takes; whoever works under a lost one is stopped by the store."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            try:
                if not store.renew_lease(name, holder):
                    log.warning("the lease %s was lost: another worker is at it", name)
                    return
            except SQLAlchemyError as fault:  # the next beat may be luckier
                log.warning("the lease %s could not be renewed: %s", name, fault)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

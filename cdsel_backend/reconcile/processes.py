"""Training processes, apart from the worker, so that a training may die alone; one waits for the next training."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from cdsel_backend.reconcile.deaths import FIRST_PAUSE
from cdsel_backend.signals import leave_to_parent
from cdsel_backend.store.leases import new_holder

log = logging.getLogger(__name__)

Target = Callable[..., None]
MAX_KEPT_BYTES = 2 << 30  # a process that took more memory than this does not wait for another training


@dataclass(frozen=True)
class End:
    """How a process ended, and what it was started for."""

    target: Target
    task: str
    status: int
    """0: the training came to its end; negative: the number of the signal that ended the process."""


class TrainingProcesses:
    """The training processes of one worker. What those of other workers do is known by their leases.

    A process that has come to the end of a training waits for the next one: starting Python and importing what a
    training needs takes longer than most trainings.
    """

    def __init__(self, first_pause: float = FIRST_PAUSE) -> None:
        self.holder = new_holder()
        self.first_pause = first_pause
        """Seconds before a task is tried again after its first death."""
        self._running: dict[int, tuple[_Trainer, Target, str]] = {}
        self._idle: _Trainer | None = None
        self._lock = threading.RLock()  # each project's turn has a thread of its own

    def running(self, project: int) -> bool:
        """Whether a training of this project was started here and its end not yet looked at."""
        return project in self._running

    def has_ended(self, project: int) -> bool:
        """Whether a training of this project has ended whose end nobody has looked at."""
        with self._lock:
            return project in self._running and self._running[project][0].ended

    def any_ended(self) -> bool:
        """Whether a training has ended whose end nobody has looked at."""
        with self._lock:
            return any(trainer.ended for trainer, *_ in self._running.values())

    def keep_warm(self, target: Target) -> None:
        """Have a process ready that has imported what `target` needs; it costs its start and its memory."""
        with self._lock:
            if self._idle is None or not self._idle.process.is_alive():
                self._idle = _Trainer(target)

    def start(self, project: int, task: str, target: Target, *arguments: Any) -> None:
        """Run `target(parent's process id, *arguments)` in a process of its own."""
        with self._lock:
            self.keep_warm(target)
            trainer, self._idle = self._idle, None
            assert trainer is not None
            trainer.start(target, arguments)
            self._running[project] = trainer, target, task

    def process_id(self, project: int) -> int | None:
        """The process that trains for this project."""
        return self._running[project][0].process.pid if project in self._running else None

    def take_end(self, project: int) -> End | None:
        """The end of a training that has ended, given once."""
        with self._lock:
            if project not in self._running or not self._running[project][0].ended:
                return None
            trainer, target, task = self._running[project]
            del self._running[project]
            status = trainer.take_status()
            if self._idle is None and trainer.process.is_alive():
                self._idle = trainer
            else:
                trainer.connection.close()
            return End(target, task, status)

    def stop(self) -> list[int]:
        """End every process; returns the projects that they trained for."""
        with self._lock:
            ended = list(self._running)
            for trainer in (*(trainer for trainer, *_ in self._running.values()), self._idle):
                if trainer is not None:
                    trainer.process.kill()  # any training may be killed at any instruction
                    trainer.process.join()
            self._running.clear()
            self._idle = None
        return ended


class _Trainer:
    """A process that runs one task after another."""

    def __init__(self, target: Target) -> None:
        # Spawned, not forked: torch and open database connections do not survive a fork.
        spawn = multiprocessing.get_context("spawn")
        self.connection, far = spawn.Pipe()
        self.process: BaseProcess = spawn.Process(target=_serve, args=(os.getpid(), far, target))
        self.process.start()
        # It ends with whoever keeps this object, and before multiprocessing waits for it at the end of this process.
        Finalize(self, self.process.kill, exitpriority=1)
        far.close()

    def start(self, target: Target, arguments: tuple[Any, ...]) -> None:
        """Begin a task. Where the process has died meanwhile, that is how the task ends."""
        with suppress(OSError):
            self.connection.send((target, arguments))

    @property
    def ended(self) -> bool:
        """Whether the task, or the process, has come to its end."""
        return self.connection.poll() or not self.process.is_alive()

    def take_status(self) -> int:
        """The status of the task, or of the process where that ended first."""
        if self.connection.poll():
            with suppress(EOFError, OSError):
                return int(self.connection.recv())
        self.process.join()
        return int(self.process.exitcode or 1)


def _serve(parent: int, connection: Connection, _: Target) -> None:
    """Run by a process: do one task after another, until nobody can send one.

    `_` is not called: by unpickling it the process imports what its tasks need, before the first one comes.
    """
    # Ctrl-C, the end of a service (systemd) and of a terminal reach every process at once, but the worker decides: a
    # training that ends before it looks killed, and is tried again without a fine-tune.
    leave_to_parent("SIGINT", "SIGTERM", "SIGHUP")
    while True:
        try:
            target, arguments = connection.recv()
        except (EOFError, OSError):
            return
        status = 0
        try:
            target(parent, *arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        try:
            connection.send(status)
        except OSError:
            return
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MAX_KEPT_BYTES:
            return  # after a fine-tune, say

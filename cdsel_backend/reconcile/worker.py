"""The worker process: goes round the projects, one lease each, until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid

from sqlalchemy.exc import SQLAlchemyError
from threadpoolctl import threadpool_limits

from cdsel_backend.labelstudio.client import (
    LabelStudio,
    LabelStudioError,
    LabelStudioUnreachable,
    TokenRefused,
)
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig
from cdsel_backend.pool.network import BackboneError
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.processes import TrainingProcesses, renewing
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import LeaseLost, Store
from cdsel_backend.store.journal import STUDIO_FACT
from cdsel_backend.store.leases import project_lease, training_lease
from cdsel_backend.store.pulses import BEAT_SECONDS
from cdsel_backend.store.records import Project
from cdsel_backend.training import ModelFormatError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between looks for new events while idle
LONGEST_REST = 5.0  # between rounds of the projects while idle
LONGEST_PAUSE = 60.0  # between tries at a project that fails


class Worker:
    """Reconciles every project, one bounded step at a time."""

    def __init__(self, server: ServerSettings) -> None:
        self.server = server
        self.store = Store(server.database_url, server.vectors_folder)
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.contexts: dict[str, Context] = {}
        self.trainings = TrainingProcesses()
        self.newest_event = 0
        self.moves = 0  # steps begun or ended: what the pulse shows
        self.failures: dict[int, tuple[int, float]] = {}  # project -> times in a row, not before

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        beating = threading.Thread(target=self._beat, args=(stop,), name="pulse", daemon=True)
        beating.start()
        # The matrices of a head are small: more BLAS threads than one cost time, much of it where cores are shared.
        with threadpool_limits(1, user_api="blas"):
            try:
                while not stop.is_set():
                    if not self._round(stop):
                        self._rest(stop)
            finally:
                for project in self.trainings.stop():
                    self.store.release_lease(training_lease(project), self.trainings.holder)
                self.store.end_pulse(self.holder)

    def _beat(self, stop: threading.Event) -> None:
        """Show that this process lives, and whether it gets on, for /health and /metrics."""
        seen = -1
        while True:
            try:
                self.store.beat(self.holder, moved=self.moves != seen)
                seen = self.moves
            except SQLAlchemyError as fault:  # the next beat may be luckier
                log.warning("the worker's pulse could not be written: %s", fault)
            if stop.wait(BEAT_SECONDS):
                return

    def _round(self, stop: threading.Event) -> bool:
        """Give every project its turn; returns whether any had something to do."""
        # A project of another Label Studio stands still: our token is not for it.
        projects = [one for one in self.store.projects() if one.studio_url == self.server.label_studio_url]
        if not projects:
            self._probe()
        busy = False
        self.moves += 1
        for project in projects:
            self.moves += 1
            busy |= not stop.is_set() and self._turn(project)
        return busy

    def _turn(self, project: Project) -> bool:
        if time.monotonic() < self.failures.get(project.id, (0, 0.0))[1]:
            return False
        name = project_lease(project.id)
        if not self.store.take_lease(name, self.holder):
            return False
        try:
            with renewing(self.store, name, self.holder):
                busy = reconcile(self._context(project.studio_url).under(name, self.holder), project.id)
        except LeaseLost as fault:
            log.warning("project %s: %s", project.pool_project, fault)
            return False
        except (LabelStudioUnreachable, TokenRefused) as fault:
            self._note_studio(str(fault))
            self._fail(project, str(fault))
            return False
        except (LabelStudioError, UnsupportedLabelConfig, BackboneError, ModelFormatError) as fault:
            self._fail(project, str(fault))
            return False
        except Exception as fault:
            log.exception("project %s: a step failed", project.pool_project)
            self._fail(project, f"a step failed ({type(fault).__name__}: {fault}); the log has the details")
            return False
        finally:
            self.store.release_lease(name, self.holder)
        self._note_studio(None)
        if self.failures.pop(project.id, None):
            self.store.note_problems(project.id, "worker", [])
        return busy

    def _fail(self, project: Project, words: str) -> None:
        times = self.failures.get(project.id, (0, 0.0))[0] + 1
        pause = min(LONGEST_PAUSE, 2.0 ** (times - 1))
        self.failures[project.id] = times, time.monotonic() + pause
        log.warning("project %s: %s (next try in %.0f s)", project.pool_project, words, pause)
        self.store.note_problems(project.id, "worker", [words])

    def _context(self, studio_url: str) -> Context:
        if studio_url not in self.contexts:
            studio = LabelStudio(
                studio_url, self.server.label_studio_api_key, image_hosts=self.server.image_hosts
            )
            self.contexts[studio_url] = Context(self.store, self.server, studio, trainings=self.trainings)
        return self.contexts[studio_url]

    def _probe(self) -> None:
        """Without a project to work on, see that Label Studio answers, so that /health can say so."""
        if not self.server.label_studio_url:
            return
        try:
            self._context(self.server.label_studio_url).studio.version()
        except LabelStudioError as fault:
            self._note_studio(str(fault))
        else:
            self._note_studio(None)

    def _note_studio(self, problem: str | None) -> None:
        fact = {"reachable": problem is None, "problem": problem}
        if self.store.fact(STUDIO_FACT) != fact:
            (log.warning if problem else log.info)("Label Studio: %s", problem or "reachable")
            self.store.set_fact(STUDIO_FACT, fact)

    def _rest(self, stop: threading.Event) -> None:
        """Sleep until something may be due: a poll, an event, a new project."""
        until = time.monotonic() + min(self.server.poll_seconds, LONGEST_REST)
        seen = self.newest_event
        while time.monotonic() < until and self.newest_event == seen and not stop.wait(LOOK_SECONDS):
            if self.trainings.any_ended():
                return
            self.newest_event = self.store.newest_event()

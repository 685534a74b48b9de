"""The worker process: goes round the projects, one lease each, until it is told to stop.

Each turn of a project has a thread of its own. The worker waits for it, but not for ever: one that hangs, on a host, a
storage, a hub or Label Studio itself, goes on by itself while the other projects have theirs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from threadpoolctl import threadpool_limits

from cdsel_backend.labelstudio.client import (
    LabelStudioError,
    LabelStudioUnreachable,
    NotFound,
    TokenRefused,
    studio_at,
)
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig
from cdsel_backend.logs import about
from cdsel_backend.pauses import growing_pause
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.project.identity import AnotherProject, known_project
from cdsel_backend.project.sentences.problems import connected_elsewhere, pool_gone, taking_long
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.processes import TrainingProcesses
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import LeaseLost, Store
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.facts import STUDIO_FACT
from cdsel_backend.store.faults import sentence, trace
from cdsel_backend.store.leases import explaining_lease, new_holder, project_lease, renewing, training_lease
from cdsel_backend.store.problems import POOL_GONE
from cdsel_backend.store.pulses import BEAT_SECONDS
from cdsel_backend.store.records import Project
from cdsel_backend.training import ModelFormatError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between looks for new events while idle
LONGEST_REST = 5.0  # between rounds of the projects while idle
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between tries at a project that fails
TURN_SECONDS = 3.0  # that the others wait for a turn: a little more than a step of embedding takes
SLOW_SECONDS = 120.0  # in one turn before the overview says so
MOST_TURNS = 32  # that go on at once
END_SECONDS = 10.0  # for the turns under way when the worker ends; all of them may be killed
STANDS_STILL_AFTER = 3  # tries in a row: what is over by then nobody needs to hear of
DATABASE_PAUSE = 5.0  # before a database that failed is asked again


class Turn(threading.Thread):
    """One turn of a project, while it goes on."""

    def __init__(self, project: Project, take: Callable[[Project], bool]) -> None:
        super().__init__(name=f"project-{project.pool_project}", daemon=True)
        self.project = project
        self.began = time.monotonic()
        self.busy = False
        """Whether there was something to do."""
        self.shown = False
        """Whether the overview says that it takes long."""
        self._take = take

    def run(self) -> None:
        """Take it; whatever is raised costs this turn only."""
        try:
            with about(self.project.pool_project):
                self.busy = self._take(self.project)
        except Exception as fault:
            log.error("project %s: %s", self.project.pool_project, sentence(fault), exc_info=trace(fault))


class Worker:
    """Reconciles every project, one bounded step at a time."""

    def __init__(self, server: ServerSettings) -> None:
        self.server = server
        self.store = Store.open(server)
        self.holder = new_holder()
        self.contexts: dict[str, Context] = {}
        self.trainings = TrainingProcesses()
        self.newest_event = 0
        self.moves = 0  # steps begun or ended: what the pulse shows
        self.failures: dict[int, tuple[int, float]] = {}  # project -> times in a row, not before
        self._opening = threading.Lock()
        self.stop = threading.Event()  # that of `run`
        self.turns: dict[int, Turn] = {}  # project -> its turn that has not ended yet

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        self.stop = stop
        beating = threading.Thread(target=self._beat, args=(stop,), name="pulse", daemon=True)
        beating.start()
        # The matrices of a head are small: more BLAS threads than one cost time, much of it where cores are shared.
        with threadpool_limits(1, user_api="blas"):
            try:
                while not stop.is_set():
                    try:
                        if not self._round(stop):
                            self._rest(stop)
                    except SQLAlchemyError as fault:  # all of it is in the database: nothing can be done now
                        log.error("%s", sentence(fault))
                        stop.wait(DATABASE_PAUSE)
            finally:
                with suppress(SQLAlchemyError):  # the leases and the pulse end by themselves
                    self._end()

    def _end(self) -> None:
        """Leave nothing behind that others would wait for."""
        ends = time.monotonic() + END_SECONDS
        for turn in self.turns.values():
            turn.join(max(0.0, ends - time.monotonic()))
            self.store.release_lease(project_lease(turn.project.id), self.holder)
        self.turns = {number: turn for number, turn in self.turns.items() if turn.is_alive()}
        for context in self.contexts.values():
            context.stop_embedding()
        for project in self.trainings.stop():
            for name in (training_lease(project), explaining_lease(project)):
                self.store.release_lease(name, self.trainings.holder)
        self.store.end_pulse(self.holder)

    def _beat(self, stop: threading.Event) -> None:
        """Show that this process lives, and whether it gets on, for /health and /metrics."""
        seen = -1
        while True:
            try:
                self.store.beat(self.holder, moved=self.moves != seen)
                seen = self.moves
            except SQLAlchemyError as fault:  # the next beat may be luckier
                log.warning("the worker's pulse could not be written: %s", sentence(fault))
            if stop.wait(BEAT_SECONDS):
                return

    def _round(self, stop: threading.Event) -> bool:
        """Give every project its turn; returns whether any had something to do."""
        if self._renew_token():
            self.failures.clear()
        projects = []
        for known in self.store.projects():
            if known.studio_url == self.server.label_studio_url:
                projects.append(known)
            else:  # our token is not for it
                self._stand_still(known, [": ".join(connected_elsewhere(known.studio_url))])
        if not projects:
            self._probe()
        busy = False
        if not self.turns:
            self.moves += 1
        for project in projects:
            if stop.is_set():
                break
            busy |= self._give_turn(project)
        return busy

    def _give_turn(self, project: Project) -> bool:
        """Begin a project's turn and wait a little for its end; returns whether one ended that had something to do."""
        turn = self.turns.get(project.id)
        if turn is None:
            if len(self.turns) >= MOST_TURNS:
                return False
            turn = self.turns[project.id] = Turn(project, self._turn)
            self.moves += 1
            turn.start()
            turn.join(TURN_SECONDS)
        if turn.is_alive():
            self._watch(turn)
            return False
        del self.turns[project.id]
        self.moves += 1
        return turn.busy

    def _watch(self, turn: Turn) -> None:
        """Name a turn that takes long, once, as a problem of its project."""
        if turn.shown or time.monotonic() - turn.began < SLOW_SECONDS:
            return
        turn.shown = True
        context = self.contexts.get(turn.project.studio_url)
        step = context.steps.get(turn.project.id, "") if context else ""
        sentence = taking_long(step, SLOW_SECONDS)
        log.warning("project %s: %s", turn.project.pool_project, sentence)
        self.store.note_problems(turn.project.id, "slow", [sentence])

    def _turn(self, project: Project) -> bool:
        if time.monotonic() < self.failures.get(project.id, (0, 0.0))[1]:
            return False
        name = project_lease(project.id)
        if not self.store.take_lease(name, self.holder):
            return False
        self.store.update_problems(project, "slow", [])  # of a turn that has ended, or died with its worker
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
            gone = self._gone(project) if isinstance(fault, NotFound) else None
            self._fail(project, str(fault), gone=gone)
            return False
        except Exception as fault:
            log.error(
                "project %s: a step failed: %s", project.pool_project, sentence(fault), exc_info=trace(fault)
            )
            self._fail(project, f"a step failed: {sentence(fault)}")
            return False
        finally:
            self.store.release_lease(name, self.holder)
        self._note_studio(None)
        # Also what a worker said that has ended since.
        if self.failures.pop(project.id, None) or {"worker", POOL_GONE} & project.problems.keys():
            self.store.note_problems(project.id, "worker", [])
            self.store.note_problems(project.id, POOL_GONE, [])
        return busy

    def _gone(self, project: Project) -> str | None:
        """The sentence that the pool project is gone; None where Label Studio does not answer, or still has it."""
        try:
            known_project(self.store, self._context(project.studio_url).studio, project.pool_project)
        except AnotherProject as fault:
            return str(fault)
        except LabelStudioError as fault:
            return pool_gone(project.pool_project) if isinstance(fault, NotFound) else None
        return None

    def _fail(self, project: Project, sentence: str, *, gone: str | None = None) -> None:
        times = self.failures.get(project.id, (0, 0.0))[0] + 1
        pause = growing_pause(times, FIRST_PAUSE, LONGEST_PAUSE)
        self.failures[project.id] = times, time.monotonic() + pause
        log.warning("project %s: %s (next try in %.0f s)", project.pool_project, sentence, pause)
        self.store.note_problems(project.id, POOL_GONE, [gone] if gone else [])
        if gone or times >= STANDS_STILL_AFTER:
            self._stand_still(project, [] if gone else [sentence])
        else:
            self.store.note_problems(project.id, "worker", [sentence])

    def _stand_still(self, project: Project, problems: list[str]) -> None:
        """Note why a project stands still, and show that it does, unless a training of it goes on."""
        known = self.store.project(project.id)
        self.store.update_problems(known, "worker", problems)
        activity = Activity(Step.STANDS_STILL)
        if known.activity != activity and not self.store.training_runs(project.id):
            self.store.update_project(project.id, activity=activity.to_json())

    def _context(self, studio_url: str) -> Context:
        with self._opening:
            if studio_url not in self.contexts:
                self.contexts[studio_url] = Context(
                    self.store,
                    self.server,
                    studio_at(self.server, studio_url),
                    trainings=self.trainings,
                    stopping=self.stop,
                )
            return self.contexts[studio_url]

    def _renew_token(self) -> bool:
        """Take the token that its file holds now; returns whether it is another one: nobody need start us again."""
        token = self.server.token_now()
        if token == self.server.label_studio_api_key:
            return False
        with self._opening:
            self.server = self.server.model_copy(update={"label_studio_api_key": token})
            for url, context in self.contexts.items():
                context.server = self.server
                try:
                    context.studio = studio_at(self.server, url)
                except LabelStudioError as fault:  # what is there is no token, as while it is being written
                    log.warning("Label Studio: %s", fault)
        return True

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
            if self.trainings.any_ended() or not all(turn.is_alive() for turn in self.turns.values()):
                return
            self.newest_event = self.store.newest_event()

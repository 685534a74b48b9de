"""Whether this backend does its work: the database, the disk, and the pulse of the workers.

A database that hangs, or a disk, answers nothing and fails at nothing. They are asked in a thread of its own, so that
whoever asks /health has an answer within the second that Label Studio gives, and so that no thread of the web server
waits for them for long.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.store.facts import STUDIO_FACT
from cdsel_backend.store.faults import sentence
from cdsel_backend.store.pulses import Pulse

MIN_FREE_BYTES = 200_000_000  # of the data folder's disk: a model version and a part of the vectors
ANSWER_SECONDS = 0.8  # in which /health answers: Label Studio waits for one
HANGS_AFTER = 3.0  # seconds without an answer of the database, after which no request waits for it
LOOK_SECONDS = 5.0  # between looks that requests other than /health cause


@dataclass(frozen=True)
class Found:
    """The problems, as sentences, and the facts that /health answers besides; {} where the database does not answer."""

    problems: Sequence[str]
    facts: dict[str, Any]


class Health:
    """The looks of one web server, one at a time."""

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self._server = server
        self._store = store
        self._changed = threading.Condition()  # guards what follows
        self._found = Found([], {})
        self._began = -LOOK_SECONDS  # of the last look
        self._looking = False

    def look(self) -> Found:
        """Return what a look finds that begins after this call; or, after `ANSWER_SECONDS`, that the database hangs."""
        asked = time.monotonic()
        while True:
            self._begin()
            with self._changed:
                left = asked + ANSWER_SECONDS - time.monotonic()
                if not self._changed.wait_for(lambda: not self._looking, left):
                    return Found([self._hanging()], {})
                if self._began >= asked:
                    return self._found

    def refusal(self) -> str | None:
        """Why a request need not wait for the database, as a sentence; None where it answers, as far as is known."""
        if time.monotonic() - self._began > LOOK_SECONDS:
            self._begin()
        with self._changed:
            return self._hanging() if self._looking and self._waited > HANGS_AFTER else None

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._began

    def _hanging(self) -> str:
        return (
            f"The database, or the data folder's disk, has not answered for {self._waited:.0f} s: see that what "
            "CDSEL_DATABASE_URL and CDSEL_DATA_DIR name is not overloaded or stopped; the work goes on once it does."
        )

    def _begin(self) -> None:
        with self._changed:
            if self._looking:
                return
            self._looking, self._began = True, time.monotonic()
        threading.Thread(target=self._look, name="health", daemon=True).start()

    def _look(self) -> None:
        found = Found(["The look at the database failed: the log says why."], {})
        try:
            found = _find(self._server, self._store)
        finally:
            with self._changed:
                self._found, self._looking = found, False
                self._changed.notify_all()


def _find(server: ServerSettings, store: Store) -> Found:
    problems = find_problems(server, store)
    try:
        instance, start = store.instance(), store.start()
        studio = store.fact(STUDIO_FACT) or {"reachable": None, "problem": None}
    except SQLAlchemyError:
        return Found(problems, {})  # it is one of the problems
    return Found(problems, {"instance": instance, "start": start, "label_studio": studio})


def find_problems(server: ServerSettings, store: Store) -> list[str]:
    """What keeps this backend from its work, as sentences; none where all is well, or no worker has started yet."""
    problems = []
    try:
        free = shutil.disk_usage(server.data_dir).free
        if free < MIN_FREE_BYTES:
            problems.append(
                f"The disk of the data folder has {free / 1e6:.0f} MB left and needs {MIN_FREE_BYTES / 1e6:.0f}: "
                "make room, or move CDSEL_DATA_DIR to a larger one."
            )
    except OSError as fault:
        problems.append(f"The data folder cannot be looked at ({fault}): see that CDSEL_DATA_DIR is there.")
    try:
        pulses = store.pulses()
        if _all_dead(pulses):  # or all alive, and none can write that it is
            store.try_to_write()
        problems += pulse_problems(pulses)
    except SQLAlchemyError as fault:
        message = sentence(fault)
        problems.append(f"{message[0].upper()}{message[1:]}.")
    return problems


def pulse_problems(pulses: Sequence[Pulse]) -> list[str]:
    """What is wrong with the workers, as sentences."""
    if _all_dead(pulses):
        minutes = min(pulse.silent_seconds for pulse in pulses) / 60
        return [
            f"No worker has been alive for {minutes:.0f} minutes: start `cdsel serve` or `cdsel worker` again."
        ]
    return [
        f"The worker {pulse.holder} has been at one step for {pulse.step_seconds / 60:.0f} minutes: its log says at "
        "which; ending the process loses nothing."
        for pulse in pulses
        if pulse.stuck
    ]


def _all_dead(pulses: Sequence[Pulse]) -> bool:
    return bool(pulses) and all(pulse.dead for pulse in pulses)

"""One life of the worker that `kills.py` starts: it dies at one of its named points, or comes to the end of the run.

A point lies before and after each commit of a transaction that writes, each request to Label Studio and each
computation on vectors, and before each file that is written, renamed or removed in the data folder. Its name says at
which step of the loop it lies and what is done there, such as "push: after POST /api/projects/N/import".

The worker is the product's. Not its own are: the backbone, the process that trains, which is this one, so that its
points are among those that kill, chunks of eight images, the time of day, which goes on with the points, so that a run
is the same on any machine, and what happens where the worker would rest: somebody labels.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import httpx
from inside import AtOnce, EightPixels
from sqlalchemy import Connection

import cdsel_backend.pool.backbones as backbones
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import LabelSpace, parse_label_space
from cdsel_backend.labelstudio.queue_projects import queue_projects
from cdsel_backend.reconcile import confounders, embedding, loop, rounds, training
from cdsel_backend.reconcile import worker as working
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State

CONFIG = (Path(__file__).parents[2] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
STEPS = {step.__name__ for step in loop.STEPS} | {
    *(
        "_turn",
        "holds",
        "sync_pool",
        "list_tasks",
        "ensure_webhooks",
        "sync_queues",
        "open_queues",
        "adopt",
        "train",
    ),
}
COMPUTATIONS = (
    (EightPixels, "embed_prepared"),
    (confounders, "detect"),
    (training, "train_model"),
    (rounds, "next_round"),
)
FILES = {
    "open": "write",
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "make",
    "shutil.rmtree": "remove",
}
NUMBERS = re.compile(r"-[a-z0-9_]{8}(?=/|$)|\b[0-9a-f]{16,}\b|\d+")
MOST_POINTS = 500  # before the first that may end a life; half of the lives may end within their first look
LIKELY = 0.1  # that a life ends at a point that was tried as often as others
LABEL_EVERY = 15  # points: somebody also labels while a step goes on
MOST_RESTS = 10_000  # in a row, of 0.02 s and more each, without anything being done
STUCK = 3  # the status of a life that never came to its end


@dataclass(frozen=True)
class Order:
    """What a life is to do."""

    folder: Path
    url: str
    token: str
    budget: int
    begins_at: float
    """Seconds since the epoch, by the life's clock: the leases of the life before it have ended."""
    seed: int
    tried: dict[str, int] | None
    """Point -> how often a life ended there; None: none ends this life."""


def truth(space: LabelSpace, item: int) -> str:
    """What every annotator says of an item of the pool, by its task."""
    return str(space.classes[item % len(space.classes)])


def live(order: Order, far: Pipe) -> None:
    """Work until a point ends this process, or the budget is labelled and trained on.

    Sends the name of the point that ends it, None at the end of the run, and the seconds of CPU that it took.
    """
    backbones.load_backbone = lambda *given, **options: EightPixels()  # type: ignore[assignment,return-value]
    embedding.MOST_IMAGES = 8
    # Nothing depends on how busy the machine is.
    working.TURN_SECONDS, working.BEAT_SECONDS, embedding.COMMIT_SECONDS = 600.0, 600.0, 600.0
    server = ServerSettings(
        data_dir=order.folder, label_studio_url=order.url, label_studio_api_key=order.token, device="cpu"
    )
    annotator = Annotator(LabelStudio(order.url, order.token), order.seed)
    worker = Worker(server, order, annotator)
    points = Points(order, far, annotator)
    points.instrument()
    time.time = points.clock  # type: ignore[assignment]
    stop = threading.Event()
    worker.run(stop)
    far.send((None, time.process_time()))
    sys.stdout.flush()
    os._exit(0)


class Annotator:
    """Labels what comes next in the queues, now and then once more."""

    def __init__(self, studio: LabelStudio, seed: int) -> None:
        self._studio = studio
        self._random = Random(seed)
        self._space = parse_label_space(CONFIG)
        self._labelled: list[tuple[int, int]] = []
        self._queues: list[int] = []
        self.pool = 0
        self.unheard = False
        """Whether something was labelled of which no webhook came yet."""

    def label(self) -> bool:
        """Label the next task of any queue; returns whether there was one."""
        self._queues = self._queues or list(queue_projects(self._studio, self.pool).values())
        for queue in self._queues:
            task = self._studio.next_task(queue)
            if task is not None:
                again = self._labelled and self._random.random() < 0.15
                number, item = (
                    self._random.choice(self._labelled) if again else (task["id"], task["data"]["cdsel_item"])
                )
                self._studio.submit(number, self._space.result_for(truth(self._space, item)))
                self._labelled.append((number, item))
                self.unheard = True
                return True
        return False


class Worker(working.Worker):
    """The worker; where it would rest, somebody labels, and at the end of the run it ends."""

    def __init__(self, server: ServerSettings, order: Order, annotator: Annotator) -> None:
        super().__init__(server)
        self.trainings = AtOnce(self)
        self._order, self._annotator, self._rests = order, annotator, 0
        self._project = self.store.projects()[0]
        annotator.pool = self._project.pool_project

    def _rest(self, stop: threading.Event) -> None:
        state = State(self.store, self._project.id)
        labelled = [self._annotator.label() for _ in range(2)]
        if any(labelled) or self._annotator.unheard:
            self._annotator.unheard = False
            for queue in state.queues.values():
                self.store.add_event(queue, "ANNOTATION_CREATED", {})
            self._rests = 0
        elif len(state.labels) < self._order.budget or state.open or state.waiting:
            self._wait()
        elif state.changed_labels:
            self.store.add_event(self._project.pool_project, "START_TRAINING", {})
            self._wait()
        else:
            stop.set()

    def _wait(self) -> None:
        self._rests += 1
        if self._rests > MOST_RESTS:
            os._exit(STUCK)
        time.sleep(0.02)


class Points:
    """The points of a life: each is passed, or ends it."""

    def __init__(self, order: Order, far: Pipe, annotator: Annotator) -> None:
        self._passed = 0
        self._random = Random(order.seed)
        self._first = int(MOST_POINTS * self._random.random() ** 3)
        self._order, self._far, self._annotator = order, far, annotator
        self._points = Counter(order.tried or {})
        self._steps: Counter[str] = Counter()
        for name, times in self._points.items():
            self._steps[name.partition(":")[0]] += times
        self._folder = f"{order.folder}/"
        self._guard = threading.Lock()
        self._aside = threading.local()

    def reach(self, what: str) -> None:
        """Pass a point, or end here."""
        step = step_of(sys._getframe())
        if step is None or getattr(self._aside, "on", False):
            return
        name = f"{step}: {what}"
        with self._guard:
            self._passed += 1
            dies = self._order.tried is not None and self._passed > self._first
            if dies and self._random.random() < self._likely(name, step):
                self._far.send((name, time.process_time()))
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            labels = self._passed % LABEL_EVERY == 0
        if labels:
            with self.aside():
                self._annotator.label()

    @contextmanager
    def aside(self) -> Any:
        """What is done within is not the worker's."""
        self._aside.on = True
        try:
            yield
        finally:
            self._aside.on = False

    def _likely(self, name: str, step: str) -> float:
        """How likely a life ends at a point: the less was tried there and at its step, the more."""
        point = (1 + _mean(self._points)) / (1 + self._points[name])
        return LIKELY * point * ((1 + _mean(self._steps)) / (1 + self._steps[step])) ** 2

    def clock(self) -> float:
        """The time of day: a point takes a tenth of a second."""
        return self._order.begins_at + 0.1 * self._passed

    def instrument(self) -> None:
        """Put points into the product, for as long as this process lives."""
        self._around(Connection, "_commit_impl", self._commit)
        self._around(httpx.Client, "send", self._request)
        for module, name in COMPUTATIONS:
            self._around(module, name, lambda *_, name=name: name)
        sys.addaudithook(self._file)

    def _around(self, owner: Any, name: str, named: Callable[..., str | None]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*given: Any, **options: Any) -> Any:
            what = named(*given)
            if what is None:
                return original(*given, **options)
            self.reach(f"before {what}")
            done = original(*given, **options)
            self.reach(f"after {what}")
            return done

        setattr(owner, name, wrapped)

    def _commit(self, connection: Connection) -> str | None:
        if not connection.get_execution_options().get("cdsel_write"):
            return None  # it only read
        return f"the commit of {method_of(sys._getframe())}"

    def _request(self, _: httpx.Client, request: httpx.Request) -> str:
        return f"{request.method} {NUMBERS.sub('N', request.url.path.rstrip('/'))}"

    def _file(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in FILES or not isinstance(given[0], (str, os.PathLike)):
            return
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = os.fspath(given[0])
        if isinstance(path, str) and path.startswith(self._folder):
            self.reach(f"before {FILES[event]} {NUMBERS.sub('N', path.removeprefix(self._folder))}")


def _mean(counts: Counter[str]) -> float:
    return counts.total() / max(1, len(counts))


def step_of(frame: FrameType | None) -> str | None:
    """The step that this thread is at, if any."""
    while frame is not None:
        if frame.f_code.co_name in STEPS and "cdsel_backend" in frame.f_code.co_filename:
            return frame.f_code.co_name.strip("_")
        frame = frame.f_back
    return None


def method_of(frame: FrameType | None) -> str:
    """The method of the store whose transaction is at its end."""
    found = ""
    while frame is not None:
        if "/store/" in frame.f_code.co_filename:
            found = frame.f_code.co_name
        elif found and not any(name in frame.f_code.co_filename for name in ("contextlib", "sqlalchemy")):
            break
        frame = frame.f_back
    return found

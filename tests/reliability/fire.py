"""The backend under fire: the real worker's turns on a played Label Studio, and what must hold whatever happens.

`House` is one backend with its data folder; it can crash at any request, be restored from a backup or lose its folder.
Only two things of it are not the product's own: the backbone, which is eight pixels of the image, and the process of
its own that a training has, which is this process, at a moment that the test chooses.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import LABEL_CONFIG
from fake_studio import TOKEN, FakeStudio
from inside import HereTrainings

from cdsel_backend.labelstudio.connection import Connection
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.reconcile.worker import Worker
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.leases import project_lease

SPACE = parse_label_space(LABEL_CONFIG)
CLASSES = SPACE.classes
BAD_IMAGE = "data:image/png;base64,bm90IGFuIGltYWdl"
ANNOTATORS = {1: "ann@example.org", 2: "bob@example.org"}
POLL_SECONDS = 30
MOST_TURNS = 200  # until a project comes to rest; it needs a few dozen
LOST, DOUBLE, OVERRUN, OTHER = "lost labels", "duplicates", "overruns", "other"


class Crash(BaseException):
    """The process dies here."""


class Clock:
    """The time of day, which can be set; what waits for an answer does not feel it."""

    def __init__(self) -> None:
        self._real, self.offset = time.time, 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._real() + self.offset


class Wire:
    """What happens to the requests to Label Studio: a list of faults, one for each request to come.

    A fault is a status, "cut" or "lost" (`FakeStudio.fault`), "slow" (the answer takes a minute and a half by the
    clock), "crash before", "crash after", or a function that is called first.
    """

    def __init__(self, studio: FakeStudio, clock: Clock) -> None:
        self.faults: list[Any] = []
        self.tried: Counter[str] = Counter()
        self._clock = clock
        studio.fault = self._next
        self._crash_after = False
        self.send = Connection.request

    def _next(self, method: str, path: str) -> Any:
        fault = self.faults.pop(0) if self.faults else None
        if callable(fault):
            self.tried["settings changed within a step"] += 1
            fault()
            return None
        if fault == "crash after":
            self._crash_after = True
        elif fault == "slow":
            self.tried["slow answer"] += 1
            self._clock.offset += 90
        elif fault is not None:
            self.tried[NAMES[fault]] += 1
            return fault
        return None

    def request(self, connection: Connection, *arguments: Any, **options: Any) -> Any:
        """Send a request as `Connection.request` does, unless the process dies before or after it."""
        if self.faults and self.faults[0] == "crash before":
            self.faults.pop(0)
            self.tried["crash before a request"] += 1
            raise Crash
        try:
            return self.send(connection, *arguments, **options)
        finally:
            if self._crash_after:
                self._crash_after = False
                self.tried["crash after a request"] += 1
                raise Crash


NAMES = {
    500: "500",
    429: "429",
    503: "503",
    "cut": "connection ended before the request was heard",
    "lost": "connection ended before the answer (time-out)",
}


@dataclass
class House:
    """One backend on its data folder."""

    studio: FakeStudio
    folder: Path
    clock: Clock
    pool: int = 0
    project: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def open(self) -> None:
        """Start the worker and the web server."""
        server = ServerSettings(
            data_dir=self.folder,
            label_studio_url=self.studio.url,
            label_studio_api_key=TOKEN,
            poll_seconds=POLL_SECONDS,
            device="cpu",
        )
        self.worker = Worker(server)
        self.worker.trainings = self.trainings = HereTrainings()
        self.store = self.worker.store
        self.client = create_app(server, self.store).test_client()
        self.project = self.store.connect_project(
            self.studio.url,
            self.pool,
            backend_url="http://127.0.0.1:9",
            layers={"extra parameters": self.settings},
        )

    def close(self) -> None:
        """Give the connections back."""
        self.store.close()

    def crash(self, *, lease_stays: bool) -> None:
        """Start anew after the process died; its lease may still be held."""
        if lease_stays:
            self.store.take_lease(project_lease(self.project), "the dead one")
        self.close()
        self.open()

    def replace_folder(self, backup: Path | None) -> None:
        """Restore the data folder from a copy; None: it is lost."""
        self.close()
        shutil.rmtree(self.folder)
        if backup is None:
            self.folder.mkdir()
        else:
            shutil.copytree(backup, self.folder)
        self.open()

    def copy_folder(self, to: Path) -> None:
        """Copy the data folder, as a backup of a stopped backend does."""
        self.close()
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        self.open()

    def change(self, **settings: Any) -> None:
        """Type settings in Label Studio."""
        self.settings |= settings
        self.store.connect_project(self.studio.url, self.pool, layers={"extra parameters": self.settings})

    def turn(self) -> bool:
        """Give the project a turn, as the worker does; returns whether something was done."""
        self.worker.failures.clear()
        busy = self.worker._turn(self.store.project(self.project))
        words = self.store.project(self.project).problems.get("worker", [])
        assert not any(one.startswith("a step failed") for one in words), words
        return busy

    def hear(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> int:
        """Get a webhook; returns the status of the answer, once the event is written."""
        answer = self.client.post("/webhook", json=payload, headers=headers or {})
        self.client.application.extensions["cdsel"].inbox.add(None, "WRITTEN", {}, wait=60)
        return int(answer.status_code)

    def state(self) -> State:
        """The books as they stand."""
        return State(self.store, self.project)

    def settle(self) -> None:
        """Let nothing be wrong any more, and take turns until nothing is due."""
        quiet = 0
        for _ in range(MOST_TURNS):
            self.trainings.finish(self.worker)
            before = self.state().project
            busy = self.turn()
            quiet = (
                0
                if busy or self.trainings.started or self.state().project.problems.get("worker")
                else quiet + 1
            )
            if quiet == 3:
                return
            if not busy:
                self.clock.offset += POLL_SECONDS * 11
        raise AssertionError(f"it never comes to rest: {before.activity} {before.problems}")


@dataclass
class Checks:
    """What must hold, looked at from Label Studio's side; `broken` keeps what did not: of which kind, and how."""

    house: House
    budgets: list[int]
    """The budgets that were in force since the last turn began."""
    broken: list[tuple[str, str]] = field(default_factory=list)

    def hold(self, kind: str, holds: object, words: str) -> None:
        """Note that something does not hold."""
        if not holds:
            self.broken.append((kind, words))

    def imported(self, project: int, tasks: list[dict[str, Any]]) -> None:
        """After each import into a queue: the budget, each image once, ranks that rise, a reason each."""
        if project == self.house.pool:
            return
        studio, state = self.house.studio, self.house.state()
        queued = [task for queue in self.queues() for task in studio.of(queue)]
        present = [task for task in queued if "cdsel_item" in task["data"]]
        items = {task["data"]["cdsel_item"] for task in present}
        known = self.house.store.items_by_id(state.labels)
        used = len(items | {row.task for row in known.values()})
        first = {task["data"]["cdsel_item"] for task in tasks if not task["data"].get("cdsel_copy")}
        self.hold(OVERRUN, not first or used <= max(self.budgets), f"{used} images of {max(self.budgets)}")
        new = {task["id"] for task in tasks}
        before = {
            task["data"]["cdsel_item"]
            for task in present
            if task["id"] not in new and not task["data"].get("cdsel_copy")
        }
        self.hold(DOUBLE, not first & before, f"{first & before} entered a queue again")
        counted = Counter(task["data"]["cdsel_item"] for task in present if task["project"] == project)
        most = 2 if state.settings.overlap else 1
        self.hold(DOUBLE, max(counted.values()) <= most, f"{counted.most_common(2)} in one queue")
        ranks = [task["data"]["cdsel_rank"] for task in tasks]
        self.hold(OTHER, ranks == sorted(ranks), f"the ranks are {ranks}")
        self.hold(OTHER, all(task["data"]["cdsel_reason"] for task in tasks), "a task without a reason")

    def queues(self) -> list[int]:
        """The queue projects that Label Studio has."""
        return [number for number in list(self.house.studio.projects) if number != self.house.pool]

    def readings(self) -> dict[int, dict[int, tuple[str, str]]]:
        """What Label Studio holds: task of the pool -> user -> when, and the label; of tasks that are ours."""
        found: dict[int, dict[int, tuple[str, str]]] = {}
        studio = self.house.studio
        for task, annotation in studio.annotations([self.house.pool, *self.queues()]):
            own = task["id"] if task["project"] == self.house.pool else task["data"].get("cdsel_item")
            if own is None or annotation["was_cancelled"] or own not in studio.tasks:
                continue
            label = annotation["result"][0]["value"]["choices"][0]
            by_user = found.setdefault(own, {})
            by_user[annotation["completed_by"]] = max(
                by_user.get(annotation["completed_by"], ("", "")), (annotation["updated_at"], label)
            )
        return found

    def at_rest(self, uncertain: Collection[int], kept: Callable[[int], Collection[str]]) -> None:
        """At rest: every label is in the books, what is open is open on both sides, and nobody waits for images.

        Args:
            uncertain: tasks of the pool of which labels may or may not have been seen before they were deleted.
            kept: a task of the pool -> every label that was ever given.
        """
        state, studio = self.house.state(), self.house.studio
        self.hold(OTHER, "worker" not in state.project.problems, str(state.project.problems))
        task_of = {row.id: row.task for row in state.items}
        books = {task_of[item]: label for item, label in state.labels.items()}
        held = self.readings()
        for task, by_user in held.items():
            labels = Counter(label for _, label in by_user.values())
            due = {label for label, count in labels.items() if count == max(labels.values())}
            words = f"task {task} is {by_user}, and in the books {books.get(task)}"
            self.hold(LOST, task in uncertain or books.get(task) in due, words)
        for task, label in books.items():
            self.hold(OTHER, label in kept(task), f"task {task} was never called {label}")
            left = task in held or task in uncertain or task not in studio.tasks
            self.hold(OTHER, left, f"task {task} keeps a label that was deleted")
        self._open(state, task_of, held)
        self._never_empty(state)
        self._trained(state)

    def _open(self, state: State, task_of: dict[int, int], held: dict[int, Any]) -> None:
        """What is open in the books is open in Label Studio, and the other way round."""
        studio = self.house.studio
        tasks = [task for queue in self.queues() for task in studio.of(queue) if "cdsel_item" in task["data"]]
        ours = {task_of[item] for item in state.open}
        theirs = {task["data"]["cdsel_item"] for task in tasks if not task["annotations"]}
        answered = {task["data"]["cdsel_item"] for task in tasks if task["annotations"]}
        self.hold(OTHER, ours <= theirs, f"open in the books alone: {ours - theirs}")
        labelled = {task_of[item] for item in state.labels.keys() | state.skipped}
        alone = theirs - answered - held.keys() - labelled - ours
        self.hold(OTHER, not alone, f"open in Label Studio alone: {alone}")
        # What was deleted from the pool is not known any more once the books are lost.
        strangers = {task["id"] for task in tasks if task["data"]["cdsel_item"] in studio.tasks}
        strangers -= {row.queue_task for row in state.tasks}
        self.hold(OTHER, not strangers, f"tasks that are not in the books: {strangers}")

    def _never_empty(self, state: State) -> None:
        """While budget is left and images are there, the queue of whoever may get more is not empty."""
        chosen = {row.item for row in state.selections} | state.labels.keys() | state.skipped
        free = [row for row in state.items if not row.gone and row.problem is None and row.id not in chosen]
        if state.settings.paused or not free or not state.left:
            return
        for name, places in state.places.items():
            if places > 0:
                words = f"the queue of {name or 'all'} is empty, and {len(free)} images are free"
                self.hold(OTHER, state.placed[name] & state.open, words)

    def _trained(self, state: State) -> None:
        """Asked to train, it trains on every label of an image that can be used."""
        self.house.store.add_event(self.house.pool, "START_TRAINING", {})
        self.house.settle()
        state = self.house.state()
        usable = {row.id for row in state.items if row.content_hash is not None and not row.gone}
        due = {item: label for item, label in state.labels.items() if item in usable}
        if due:
            seen = {item: label for item, label in state.trained_labels.items() if item in usable}
            self.hold(LOST, seen == due, f"the training saw {seen} of {due}")

"""A demo that runs: waiting for the backend, measuring its model, telling what happened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from cdsel_backend.demo.backend import LocalBackend
from cdsel_backend.demo.images import LabelledImages
from cdsel_backend.demo.measure import measure_champion, measure_plain, random_labels
from cdsel_backend.demo.sample import GROUP_COLUMN, IMAGE_COLUMN, LABEL_COLUMN
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.phrases import number_of
from cdsel_backend.store.activity import Step
from cdsel_backend.store.records import Json

LOOK_SECONDS = 0.5
STALL_SECONDS = 300.0  # without any change in the backend's status, the demo gives up
SETTLE_SECONDS = 20.0  # how long a finished round may stay without a model before it counts as untrained
SAMPLE_SIZE = 600
ENDED = (Step.BUDGET_USED, Step.POOL_USED)  # the backend's last steps


class DemoFailed(RuntimeError):
    """The loop stands still or did not do what it should; the message says where to look."""


@dataclass(frozen=True)
class Options:
    """What a demo runs with."""

    auto: bool = False
    rounds: int = 3
    round_size: int = 20
    budget: int | None = None
    """None: as many as `rounds` rounds need, beside the simulated labels."""
    labels: int = 0
    """Labels that a script gives before the person goes on."""
    seed: int = 0
    metadata: Path | None = None
    """None: the sample pool."""
    images: Path | None = None
    image_column: str = IMAGE_COLUMN
    label: str = LABEL_COLUMN
    group: str | None = GROUP_COLUMN
    ignore: tuple[str, ...] = ()
    limit: int | None = None
    """A random subset of so many images; of the sample pool, so many are drawn."""
    json_out: Path | None = None
    data_dir: Path | None = None
    """A new folder that stays; None: a temporary one, removed at the end."""

    @property
    def total(self) -> int:
        """The budget in force."""
        return self.labels + self.rounds * self.round_size if self.budget is None else self.budget


@dataclass
class Demo:
    """A demo that runs: Label Studio and the backend are up and connected."""

    options: Options
    images: LabelledImages
    studio: LocalStudio
    backend: LocalBackend
    client: LabelStudio
    console: Console
    pool_project: int
    task_ids: list[int]
    rounds: list[Json] = field(default_factory=list)
    """The rounds that are done and measured."""
    confounders: dict[str, None] = field(default_factory=dict)
    """What was found to confound at any time: the groups stay the same from round to round."""
    started: float = field(default_factory=time.monotonic)
    _told: set[str] = field(default_factory=set)

    def status(self) -> Json:
        """The backend's view; new problems are printed once each."""
        status = self.backend.status(self.pool_project)
        self.confounders |= {found["variable"]: None for found in confounding(status)}
        for words in status.get("problems", []):
            if words not in self._told:
                self._told.add(words)
                self.console.print(f"note: {words}", style="yellow")
        return status

    def wait(self, ready: Callable[[Json], bool], what: str) -> Json:
        """Wait until the status is `ready`, with a progress bar of the backend's steps.

        Raises:
            DemoFailed: nothing changed for STALL_SECONDS.
            DidNotStart: the backend ended.
        """
        last, changed = None, time.monotonic()
        with progress_bar(self.console, what) as show:
            while True:
                status = self.status()
                if status and ready(status):
                    return status
                step = status.get("progress") or {"step": what, "done": 0, "total": 0}
                show(step["step"], step["done"], step["total"])
                if status != last:
                    last, changed = status, time.monotonic()
                elif time.monotonic() - changed > STALL_SECONDS:
                    raise DemoFailed(
                        f"nothing has moved for {STALL_SECONDS:.0f} s while waiting for: {what}. "
                        f"The backend says: {step['step']}; {'; '.join(status.get('problems', [])) or 'no problem'}.\n"
                        f"Last lines of its log:\n{self.backend.log_tail()}"
                    )
                self.backend.check()
                time.sleep(LOOK_SECONDS)

    def wait_for_round(self, number: int) -> Json | None:
        """Wait until a round lies in the queue; returns the status, or None when there is no such round."""
        room = self.options.total - (number - 1) * self.options.round_size
        size = min(self.options.round_size, room)

        def pushed(status: Json) -> bool:
            rows = status["rounds"]
            if len(rows) < number:
                return status["state"] in ENDED
            # A round is smaller than asked for only when the pool has no more to give.
            full = rows[number - 1]["pushed"] >= size
            return bool(full or status["state"] == Step.WAITING_FOR_LABELS)

        status = self.wait(pushed, f"choosing round {number}")
        return status if len(status["rounds"]) >= number else None

    def wait_for_open(self) -> Json:
        """Wait until an image is open in the queue, or no more will be; returns the status."""
        return self.wait(
            lambda status: bool(status["open"]) or status["state"] in ENDED, "choosing the next images"
        )

    def wait_for_labels(self, number: int) -> Json:
        """Wait until so many labels are known and a model is trained on them, if any comes of it."""
        settled: list[float] = []

        def known(status: Json) -> bool:
            if status["labelled"] < number:
                return False
            settled.append(time.monotonic())
            waits = status["waits"] and settled[-1] - settled[0] > LOOK_SECONDS
            return bool(waits and status["champion"]) or settled[-1] - settled[0] > 3 * SETTLE_SECONDS

        return self.wait(known, f"training on {number_of(number, 'simulated label')}")

    def wait_for_model(self, number: int) -> Json:
        """Wait until a round's labels are in and trained on; returns the status."""
        complete: list[float] = []

        def trained(status: Json) -> bool:
            rows = status["rounds"]
            if rows[number - 1]["labelled"] < rows[number - 1]["pushed"]:
                return False
            complete.append(time.monotonic())
            # With too few labels of a class there is no model: the next round comes without one, or the end.
            over = status["state"] in ENDED and complete[-1] - complete[0] > SETTLE_SECONDS
            return bool(rows[number - 1]["model_version"]) or len(rows) > number or over

        return self.wait(trained, f"training on round {number}")

    def close_round(self, number: int, status: Json) -> None:
        """Measure the model after a round, keep the result, and print it in one line."""
        status = self.status() or status  # once more: the champion may be newer than the round's row
        row = status["rounds"][number - 1]
        metrics: Json = {}
        if status["champion"]:
            metrics = measure_champion(
                self.backend,
                self.pool_project,
                self.images,
                self.task_ids,
                self.offered(status, number),
                self.confounders,
            )
        if not self.rounds and "measured_on" in metrics:
            self.console.print(f"accuracy is measured on {metrics['measured_on']}")
        self.rounds.append(
            {
                "round": number,
                "pushed": row["pushed"],
                "labelled": row["labelled"],
                "model_version": row["model_version"],
                "champion": status["champion"],
                "metrics": metrics,
                "held_out": row["metrics"],
                "seconds": round(time.monotonic() - self.started, 1),
            }
        )
        self.console.print(round_line(self.rounds[-1]))

    def offered(self, status: Json, up_to: int) -> set[int]:
        """The pool tasks that the rounds up to this one put into the queue."""
        return {
            int(task["data"]["cdsel_item"])
            for task in self.client.tasks(status["queue_project"])
            if task["data"].get("cdsel_round", 0) <= up_to
        }

    def compare(self, status: Json) -> Json:
        """What plain training makes of the same labels, and of as many random ones; printed in a line each.

        `same_labels` and `random_labels`, as `measure_plain` returns them.
        """
        with progress_bar(self.console, "comparing with plain training"):
            tasks, vectors = self.backend.vectors(self.pool_project)
            row_of = {task: row for row, task in enumerate(self.task_ids)}
            rows = np.array([row_of[task] for task in tasks], dtype=np.int64)
            same = np.isin(self.task_ids, list(self.offered(status, len(self.rounds))))
            number = int(same.sum())
            found = {
                "same_labels": measure_plain(vectors, rows, self.images, self.confounders, [same]),
                "random_labels": measure_plain(
                    vectors,
                    rows,
                    self.images,
                    self.confounders,
                    random_labels(self.images, rows, number, self.options.seed),
                ),
            }
        for which, plain in found.items():
            if plain is not None:
                words = number_of(number, "label" if which == "same_labels" else "random label")
                words = f"the same {words}" if which == "same_labels" else words
                mean = f", mean of {plain['draws']} draws" if plain["draws"] > 1 else ""
                self.console.print(f"plain training on {words}{mean}: {headlines(plain)}")
        return found

    def report(self, status: Json, plain: Json) -> Json:
        """What `--json` writes; `plain` is what `compare` found."""
        return {
            "label_studio_url": self.studio.url,
            "pool_project": self.pool_project,
            "queue_project": status["queue_project"],
            "budget": status["budget"],
            "labels_total": status["labelled"],
            "items": status["items"],
            "unusable": status["unusable"],
            "confounders": [
                {key: found[key] for key in ("variable", "verdict", "encoded", "associated")}
                for found in status["confounders"]
            ],
            "rounds": self.rounds,
            "plain_training": plain,
            "options": json.loads(json.dumps(asdict(self.options), default=str)),
        }


def round_line(row: Json) -> str:
    """One finished round in one line."""
    metrics = row["metrics"]
    own, champion = row["model_version"], row["champion"]
    if own is None:  # with --labels many rounds are labelled before the first training
        model = f"none of its own ({champion} serves)" if champion else "none yet: too few labels of a class"
    else:
        model = own if champion in (own, None) else f"{own} (not better: {champion} stays)"
    parts = [f"pushed {row['pushed']}", f"labelled {row['labelled']}", f"model {model}"]
    worst = f" ({metrics['worst_group']})" if metrics.get("worst_group") else ""
    return f"round {row['round']}: {', '.join(parts)}, {headlines(metrics)}{worst}"


def headlines(metrics: Json) -> str:
    """Accuracy and worst-group accuracy in words."""
    parts = []
    for key, name in (("accuracy", "accuracy"), ("worst_group_accuracy", "worst-group accuracy")):
        value = metrics.get(key)
        parts.append(f"{name} {'-' if value is None else f'{value:.3f}'}")
    return ", ".join(parts)


def confounding(status: Json) -> list[Json]:
    """The findings of a status that call their variable a confounder."""
    return [found for found in status.get("confounders", []) if found["acts"]]


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A line with a bar that goes when it is done; gives `show(words, done, total)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    if not console.is_terminal:  # in a log, a line for each step
        console.print(f"{what} ...")
        said = {what}

        def say(words: str, done: int, total: int) -> None:
            if words not in said:
                said.add(words)
                console.print(f"  {words}{f': {done} of {total}' if total else ''} ...")

        yield say
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(words: str, done: int, total: int) -> None:
            bar.update(task, description=words, completed=done, total=total or None)

        yield show

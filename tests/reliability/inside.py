"""What is not the product's own where faults are tried: the backbone, and the process that trains."""

from __future__ import annotations

import base64
import io
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.insight import explain
from cdsel_backend.reconcile.processes import End, Target, TrainingProcesses
from cdsel_backend.reconcile.training import train
from cdsel_backend.reconcile.training_process import FAILED, _main
from cdsel_backend.reconcile.worker import Worker
from cdsel_backend.store import LeaseLost
from cdsel_backend.store.leases import explaining_lease, training_lease


def picture(number: int) -> str:
    """A small image, another one for each number, as an address."""
    data = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((16, 32), Image.Resampling.NEAREST).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


class EightPixels:
    """A backbone: eight pixels of an image, three colours each."""

    fingerprint, batch, parallel = "e" * 32, 16, 1
    decoder = None
    problems = ()

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the pixels (4, 2, 3)."""
        return np.asarray(image.convert("RGB").resize((2, 4), Image.Resampling.NEAREST), dtype=np.uint8)

    def embed_prepared(self, pixels: np.ndarray) -> np.ndarray:
        """Return a vector (24,) of each."""
        return pixels.reshape(len(pixels), -1).astype(np.float32) / 128 - 1


class HereTrainings(TrainingProcesses):
    """Trainings that run in this process, when `finish` says so, and end as it says."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[int, tuple[Target, str, tuple[Any, ...]]] = {}
        self.ended: dict[int, End] = {}

    def keep_warm(self, target: object) -> None:
        """There is nothing to keep."""

    def start(self, project: int, task: str, target: Target, *arguments: Any) -> None:
        """Note that a training, or its explanation, is to run."""
        self.started[project] = target, task, arguments

    def running(self, project: int) -> bool:
        """Whether its end was not looked at yet."""
        return project in self.started or project in self.ended

    def any_ended(self) -> bool:
        """Whether the end of one waits to be looked at."""
        return bool(self.ended)

    def take_end(self, project: int) -> End | None:
        """The end of a training, once."""
        return self.ended.pop(project, None)

    def stop(self) -> list[int]:
        """End all of them."""
        stopped = list(self.started)
        self.started.clear()
        return stopped

    def finish(self, worker: Worker, fate: str = "whole") -> None:
        """Run what was started: "whole", or killed "before" or "after" its work."""
        for project, (target, task, arguments) in list(self.started.items()):
            del self.started[project]
            status = 0 if fate == "whole" else -9
            if fate != "before":
                server, _, number, holder, *others = arguments
                trains = target is _main
                lease = (training_lease if trains else explaining_lease)(number)
                killed, requests = others if trains else (False, ())
                work = partial(train, killed=killed) if trains else explain
                store = worker.store.under(lease, holder)
                context = Context(store, server, worker._context(server.label_studio_url).studio)
                context.looked[number] = frozenset(requests)
                try:
                    work(context, context.read_state(number))
                except LeaseLost:
                    status = FAILED
                else:
                    if fate == "whole":
                        store.release_lease(lease, holder)
            self.ended[project] = End(target, task, status)


class AtOnce(HereTrainings):
    """Trainings that run as soon as they are started."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def start(self, project: int, task: str, target: Target, *arguments: Any) -> None:
        """Run it."""
        super().start(project, task, target, *arguments)
        self.finish(self._worker)

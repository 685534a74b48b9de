"""Ray: the network on other machines. Images are read and decoded here, and vectors are kept here, as ever.

A worker is an actor with a GPU of its own; in a cluster without any, one with all the cores of a machine. What was on
its way when a worker was lost, or its GPU failed, is given to another, and a new worker is asked for in its place.
"""

from __future__ import annotations

import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import ready_timm
from cdsel_backend.pool.runtime import Pixels, Precision, Vectors, run_all
from cdsel_backend.pool.runtime_choice import make_runtime

log = logging.getLogger(__name__)

PATIENCE = 600.0  # seconds for a worker to be there, and for a batch
_CALLS = 2  # a worker: while one computes, the next one's pictures are on their way
_TRIES = 3  # workers that a batch is given to: what fails on all of them is the network's own fault
_BATCH_CPU, _BATCH_GPU = 32, 128


class RayWorker:
    """What runs on another machine: the network with the runtime that suits it there."""

    def __init__(self, encoder: bytes, key: str, precision: Precision) -> None:
        """Unpack the network; `key` and `precision`: see `runtime_choice.make_runtime`."""
        ready_timm()  # before pickle imports it
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._runtime = make_runtime(pickle.loads(encoder), device, key=key, precision=precision)

    def ready(self) -> str:
        """What runs the network here, for people."""
        return self._runtime.name

    def embed(self, pixels: Pixels) -> Vectors:
        """Vectors (m, dim) of prepared pictures (m, height, width, 3). Raises RuntimeError where its GPU fails."""
        vectors = run_all(self._runtime, np.array(pixels))  # Ray's own array may not be written to
        if self._runtime.problems:  # it has no core for itself: another worker is to take its place
            raise RuntimeError("; ".join(self._runtime.problems))
        return vectors


class RayRuntime:
    """A network on the workers of a Ray cluster (see `runtime.Runtime`)."""

    def __init__(self, encoder: nn.Module, address: str, *, key: str, precision: Precision = "auto") -> None:
        """Connect and start the workers; waits for the first.

        Args:
            encoder: see `runtime_choice.make_runtime`.
            address: of the cluster, such as "ray://host:10001"; "auto" for the one that this machine belongs to.
            key: see `runtime_choice.make_runtime`.
            precision: see `runtime_choice.make_runtime`.

        Raises:
            BackboneError: Ray is not installed, the cluster does not answer, or no worker starts.
        """
        self._ray = ray = _connected(address)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(machine.get("GPU", 0) for machine in machines))
        each = (
            [{"num_gpus": 1, "num_cpus": 0, "max_concurrency": _CALLS}] * gpus
            if gpus
            else [{"num_cpus": machine["CPU"]} for machine in machines if machine.get("CPU")]
        )
        actor = ray.remote(RayWorker)
        packed = ray.put(pickle.dumps(encoder.to("cpu")))
        self._start: Callable[[dict[str, Any]], Any] = lambda options: actor.options(**options).remote(
            packed, key, precision
        )
        self.batch = _BATCH_GPU if gpus else _BATCH_CPU
        self.parallel = _CALLS * max(1, len(each))
        self._address = address
        self._lock = threading.Lock()  # guards what follows
        self._options: dict[Any, dict[str, Any]] = {}  # workers that live, or are on their way
        self._coming: dict[Any, Any] = {}  # worker -> its answer that it is ready
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._how = ""
        self._lost: tuple[float, str] | None = None  # the last worker: when, and why
        for options in each:
            self._ask(options)
        try:
            self._free.put(self._worker())
        except RuntimeError as error:
            raise BackboneError(f"CDSEL_RAY_ADDRESS: {error}") from error

    @property
    def name(self) -> str:
        """See `runtime.Runtime`; counts the workers that are ready."""
        ready = len(self._options) - len(self._coming)
        return f"Ray at {self._address}, workers: {ready}, {self._how}"

    @property
    def problems(self) -> list[str]:
        """See `runtime.Runtime`: why a worker was lost a moment ago."""
        lost = self._lost
        return [lost[1]] if lost is not None and time.monotonic() - lost[0] < PATIENCE else []

    def __call__(self, pixels: Pixels) -> Vectors:
        """See `runtime.Runtime`. Raises RuntimeError where no worker is left, or several fail at the same pictures."""
        errors = self._ray.exceptions
        failed = 0
        while True:
            worker = self._worker()
            try:
                vectors: Vectors = self._ray.get(worker.embed.remote(pixels), timeout=PATIENCE)
            except errors.RayError as error:
                self._replace(worker, error)
                # Any other error is the loss of a worker, whatever that was at.
                failed += isinstance(error, errors.RayTaskError)
                if failed == _TRIES:
                    raise
                continue
            self._free.put(worker)
            return vectors

    def _ask(self, options: dict[str, Any]) -> None:
        worker = self._start(options)
        with self._lock:
            self._options[worker] = options
            self._coming[worker] = worker.ready.remote()

    def _replace(self, worker: Any, error: Exception) -> None:
        with self._lock:
            options = self._options.pop(worker, None)
        if options is not None:  # no other call has noticed
            reason = str(getattr(error, "cause", None) or error).partition("\n")[0]
            sentence = f"a Ray worker was lost, its images go to another: {reason}"
            self._lost = time.monotonic(), sentence
            log.warning("%s", sentence)
            self._ray.kill(worker)  # it may hang, or hold a GPU that fails
            self._ask(options)

    def _worker(self) -> Any:
        """A worker with a call to spare. Raises RuntimeError where there is none for `PATIENCE`."""
        end, why = time.monotonic() + PATIENCE, "the cluster has no room for one"
        while self._options and time.monotonic() < end:
            why = self._admit() or why
            try:
                worker = self._free.get(timeout=1.0)
            except queue.Empty:
                continue
            if worker in self._options:
                return worker
        raise RuntimeError(
            f"no worker of the Ray cluster at {self._address} starts: {why}; see that the cluster runs, and start "
            "`cdsel` again"
        )

    def _admit(self) -> str | None:
        """Let workers take calls that are ready by now; returns why one never will be."""
        with self._lock:
            coming = {answer: worker for worker, answer in self._coming.items()}
            ready, _ = self._ray.wait([*coming], num_returns=len(coming), timeout=0) if coming else ([], [])
            for answer in ready:
                worker = coming[answer]
                del self._coming[worker]
                try:
                    self._how = self._ray.get(answer)
                except self._ray.exceptions.RayError as error:
                    del self._options[worker]
                    log.warning("a Ray worker does not start: %s", error)
                    return str(error).strip().rpartition("\n")[2]
                for _ in range(_CALLS):
                    self._free.put(worker)
        return None


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise BackboneError("CDSEL_RAY_ADDRESS needs the extra: pip install 'cdsel-backend[ray]'") from None
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, and those of gRPC
        raise BackboneError(f"CDSEL_RAY_ADDRESS: no Ray cluster answers at {address}: {error}") from error
    return ray

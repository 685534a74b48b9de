"""The network on GPUs: bfloat16, channels_last, torch.compile where it pays, pinned memory, all GPUs of one machine.

Each GPU has its own way, so that a slow, an old or a full one costs nothing but itself. What a CPU can show is tested
on one: the sharing of devices, the retreat when memory runs out or a device fails, and that the vectors agree. What
only a GPU shows is tested where there is one, and was measured on one H100 and one H200, never on several GPUs
(`tests/benchmarks/gpus.py` checks all that a machine has).
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from cdsel_backend.pool.devices import DeviceFails, described, out_of_memory, reason_of
from cdsel_backend.pool.runtime import (
    CLOSE,
    Pixels,
    Runtime,
    TorchRuntime,
    Vectors,
    agreement,
    in_batches,
)

log = logging.getLogger(__name__)

CALLS = 2  # a device: while one call computes, the next one's pictures are on their way
_COMPARED = 4  # pictures: the first that a device embeds, which the CPU embeds as well


@dataclass(frozen=True)
class Way:
    """How a device runs a network.

    `half`: in bfloat16, by autocast: normalisations stay in float32. `compiled`: with torch.compile, where the last
    batch is filled up. `batch`: pictures in one pass.
    """

    device: torch.device
    half: bool = False
    compiled: bool = False
    batch: int = 64

    def __str__(self) -> str:
        return (
            f"{self.device} {'bfloat16' if self.half else 'float32'}{', compiled' if self.compiled else ''}"
        )


@dataclass(frozen=True)
class _Call:
    """What one call at a time uses.

    A stream of its own lets the copies of one call overlap the computing of another; it stays the same, since torch
    keeps memory that is free again for the stream that had it.
    """

    device: torch.device
    network: Callable[[torch.Tensor], torch.Tensor]
    stream: torch.cuda.Stream | None


class DeviceRuntime:
    """A network on one device or several; a call goes to whichever is free, so that a fast one has more of them.

    Where memory runs out, the batches of that device are halved. A device is given up where a single picture is too
    much for it, where it raises any other error, and where its vectors are not those of the CPU; what it was at goes
    to another. Where none is left, the CPU goes on.
    """

    def __init__(
        self,
        encoder: nn.Module,
        ways: Sequence[Way],
        *,
        fallback: Callable[[], Runtime] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        """Copy a network to each device.

        Args:
            encoder: see `runtime_choice.make_runtime`; it stays as it is, on the CPU.
            ways: the devices, and how they run it.
            fallback: makes the runtime that goes on where no device is left; None: DeviceFails is raised.
            problems: what was wrong before, see `runtime.Runtime`.
        """
        self.fallback = fallback
        self.problems = list(problems)
        self.parallel = 0
        self._encoder = encoder
        self._batch = 0
        self._cpu: Runtime | None = None  # the fallback, once it is needed
        self._comparing = threading.Lock()
        self._compared: set[torch.device] = set()
        self._lock = threading.Lock()  # guards what follows
        self._ways: dict[torch.device, Way] = {}
        self._free: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()  # None: no device is left
        for way in ways:
            self.add(way)
        if not self._ways:
            self._free.put(None)

    def add(self, way: Way) -> None:
        """Have one more device run the network, unless it cannot."""
        # One more than `_free` has: its pictures are gathered meanwhile, which takes as long as a small network.
        self.parallel += CALLS + 1
        self._batch = way.batch
        try:
            calls = _calls(self._encoder, way)
        except Exception as error:  # of torch, CUDA and Triton, which share no base
            self._give_up(way, reason_of(error))
            return
        with self._lock:
            self._ways[way.device] = way
        for call in calls:
            self._free.put(call)

    @property
    def batch(self) -> int:
        """See `runtime.Runtime`: that of the device which takes the most at once."""
        return max((way.batch for way in self.ways), default=self._batch)

    @property
    def ways(self) -> list[Way]:
        """The devices that are left, and how they run the network."""
        with self._lock:
            return list(self._ways.values())

    @property
    def name(self) -> str:
        """See `runtime.Runtime`."""
        if self._cpu is not None:
            return f"{self._cpu.name} ({'; '.join(self.problems)})"
        return f"torch {torch.__version__}, {'; '.join(map(str, self.ways))}"

    def __call__(self, pixels: Pixels) -> Vectors:
        """See `runtime.Runtime`. Raises DeviceFails where no device is left, and no fallback."""
        while (call := self._free.get()) is not None:
            way = self._ways.get(call.device)
            if way is None:  # given up meanwhile
                continue
            memory = False
            try:
                vectors = _run(call, way, pixels)
                reason = self._difference(call.device, pixels, vectors)
            except Exception as error:
                # Only its text is kept: the error holds what was on the device.
                reason, memory = reason_of(error), out_of_memory(error)
            if reason is not None:
                self._retreat(way, reason, memory)
            self._free.put(call)
            if reason is None:
                return vectors
        self._free.put(None)  # for whoever comes next
        return self._on_cpu(pixels)

    def _difference(self, device: torch.device, pixels: Pixels, vectors: Vectors) -> str | None:
        """What is wrong with vectors of a device; its first, and any not finite, are compared with those of the CPU."""
        if device in self._compared and np.isfinite(vectors).all():
            return None
        with self._comparing:  # nothing of a device is used before its first pictures were compared
            rows = np.flatnonzero(~np.isfinite(vectors).all(axis=1))[:_COMPARED]
            if not len(rows):
                rows = np.arange(min(_COMPARED, len(pixels)) if device not in self._compared else 0)
            if len(rows):
                due = TorchRuntime(self._encoder)(pixels[rows])
                cosine = agreement(vectors[rows], due)
                if cosine < CLOSE and np.isfinite(due).all():  # else the network's own fault
                    return f"its vectors are not those of the CPU (cosine {cosine:.4f})"
            self._compared.add(device)
        return None

    def _retreat(self, way: Way, reason: str, memory: bool) -> None:
        """After a device failed: halve its batches where its memory ran out, or give it up. Says so."""
        with self._lock:
            if self._ways.get(way.device) != way:
                return  # another thread has done it
            if memory and way.device.type == "cuda":
                with suppress(Exception):  # of another GPU, which fails altogether
                    torch.cuda.empty_cache()
            if memory and way.batch > 1:
                self._ways[way.device] = smaller = replace(way, batch=way.batch // 2)
                log.warning(
                    "%s ran out of memory; batches are now of %d images: %s",
                    described(way.device),
                    smaller.batch,
                    reason,
                )
                return
            del self._ways[way.device]
            self._give_up(way, f"it has too little memory for a single image: {reason}" if memory else reason)
            if not self._ways:
                self._free.put(None)

    def _give_up(self, way: Way, reason: str) -> None:
        sentence = (
            f"{described(way.device)} embeds no more: {reason}. See what `nvidia-smi` says of it, end what else uses "
            "it, and start the worker again"
        )
        self.problems.append(sentence)
        log.warning("%s", sentence)

    def _on_cpu(self, pixels: Pixels) -> Vectors:
        cpu = self._cpu
        if cpu is None:
            if self.fallback is None:
                raise DeviceFails("; ".join(self.problems))
            with self._comparing:
                if self._cpu is None:
                    made = self.fallback()
                    found = made(pixels)  # raises where the network itself is at fault
                    self.problems.append("No GPU is left that embeds: the CPU goes on, which takes longer")
                    log.warning("%s", self.problems[-1])
                    self._cpu, self._batch, self.parallel = made, made.batch, made.parallel
                    return found
                cpu = self._cpu
        return cpu(pixels)


def _calls(encoder: nn.Module, way: Way) -> list[_Call]:
    """Copy a network to a device, for as many calls as keep it busy."""
    device = way.device
    network = copy.deepcopy(encoder).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(network) if way.compiled else network
    if device.type != "cuda":
        return [_Call(device, run, None)] * CALLS
    torch.cuda.synchronize(device)  # the calls' streams do not wait for the copies of the weights
    return [_Call(device, run, torch.cuda.Stream(device)) for _ in range(CALLS)]  # type: ignore[no-untyped-call]


def _run(call: _Call, way: Way, pixels: Pixels) -> Vectors:
    """Vectors of any number of pictures, in batches for which a device has memory."""
    if way.compiled:  # for one size of a batch
        return in_batches(lambda part: _forward(call, way, part), pixels, way.batch)
    starts = range(0, len(pixels), way.batch)
    return np.concatenate([_forward(call, way, pixels[start : start + way.batch]) for start in starts])


@torch.inference_mode()
def _forward(call: _Call, way: Way, pixels: Pixels) -> Vectors:
    host = torch.from_numpy(np.ascontiguousarray(pixels))
    if call.stream is None:  # not every kind of device has autocast
        with torch.autocast(call.device.type, dtype=torch.bfloat16) if way.half else nullcontext():
            found: Vectors = call.network(host.to(call.device)).float().cpu().numpy()
        return found
    with (
        torch.cuda.device(call.device),
        torch.cuda.stream(call.stream),
        torch.autocast("cuda", dtype=torch.bfloat16, enabled=way.half),
    ):
        batch = _pinned(host, call.device).to(call.device, non_blocking=True)
        vectors: Vectors = call.network(batch).float().cpu().numpy()  # cpu() waits for this stream alone
    return vectors


def _pinned(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Pictures in memory that a GPU reads by itself; as they are where the machine gives no such memory."""
    try:
        return host.pin_memory()
    except RuntimeError:
        # What failed is left behind as the thread's last error, which the next kernel would report as its own.
        with suppress(Exception):
            torch.ones(1, device=device).add_(1)
        return host

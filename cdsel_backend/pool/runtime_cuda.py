"""CUDA: bfloat16, channels_last, torch.compile where it pays, pinned memory, all GPUs of one machine.

What a CPU can show is tested on one: the sharing of devices, the retreat when memory runs out, and that the vectors
agree. What only a GPU shows is tested where there is one, and was measured on one H100 and one H200, never on several
GPUs.
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cdsel_backend.pool.runtime import (
    CLOSE,
    Pixels,
    Precision,
    Runtime,
    Vectors,
    agreement,
    fastest,
    in_batches,
    run_all,
)

log = logging.getLogger(__name__)

_BATCHES = (64, 256)
_PAYS = 1.1  # a compiled network must be so many times as fast to be worth its minutes of compiling
_CALLS = 2  # a device: while one call computes, the next one's pictures are on their way


@dataclass(frozen=True)
class _Call:
    """What one call at a time uses.

    A stream of its own lets the copies of one call overlap the computing of another; it stays the same, since torch
    keeps memory that is free again for the stream that had it.
    """

    device: torch.device
    network: Callable[[torch.Tensor], torch.Tensor]
    stream: torch.cuda.Stream | None


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether a device has too little memory: torch's allocator has an error for it, CUDA's libraries have texts."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "alloc_failed" in text


class CudaRuntime:
    """A network on one GPU or several; batches go to whichever is free.

    Where memory runs out, batches are halved; where a single picture is too much, the CPU goes on.
    """

    def __init__(
        self,
        encoder: nn.Module,
        devices: Sequence[torch.device],
        *,
        fallback: Callable[[], Runtime],
        half: bool = False,
        compiled: bool = False,
        batch: int = _BATCHES[0],
    ) -> None:
        """Copy a network to each device.

        Args:
            encoder: see `runtime_choice.make_runtime`; it stays as it is.
            devices: where it shall run.
            fallback: makes the runtime that takes over when no device has memory for one picture.
            half: compute in bfloat16, by autocast: normalisations stay in float32.
            compiled: with torch.compile.
            batch: pictures in one call; the last batch is filled up where the network is compiled.
        """
        self.batch = batch
        # One more than `_free` has: its pictures are gathered meanwhile, which takes as long as a small network.
        self.parallel = (_CALLS + 1) * len(devices)
        self._how = f"{'bfloat16' if half else 'float32'}{', compiled' if compiled else ''}"
        self._devices = list(devices)
        self._half = half
        self._compiled = compiled
        self._make_fallback = fallback
        self._fallback: Runtime | None = None
        self._lock = threading.Lock()
        self._free: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        for device in self._devices:
            network = copy.deepcopy(encoder).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            run = torch.compile(network) if compiled else network
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # the calls' streams do not wait for the copies of the weights
            for _ in range(_CALLS):
                self._free.put(_Call(device, run, _new_stream(device)))

    @property
    def name(self) -> str:
        """See `runtime.Runtime`."""
        if self._fallback is not None:
            return f"{self._fallback.name} (the GPU has too little memory)"
        return f"torch {torch.__version__}, {', '.join(map(str, self._devices))}, {self._how}"

    def __call__(self, pixels: Pixels) -> Vectors:
        """See `runtime.Runtime`."""
        while self._fallback is None:
            batch = self.batch
            try:
                return self._run(pixels, batch)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                said = str(error).partition("\n")[0]
            self._retreat(batch, said)  # here, where the error no longer holds what was on the device
        return self._fallback(pixels)

    def _run(self, pixels: Pixels, batch: int) -> Vectors:
        call = self._free.get()
        try:
            if self._compiled:  # for one size of a batch
                return in_batches(lambda part: self._forward(call, part), pixels, batch)
            starts = range(0, len(pixels), batch)
            return np.concatenate([self._forward(call, pixels[start : start + batch]) for start in starts])
        finally:
            self._free.put(call)

    @torch.inference_mode()
    def _forward(self, call: _Call, pixels: Pixels) -> Vectors:
        host = torch.from_numpy(np.ascontiguousarray(pixels))
        if call.stream is None:
            with torch.autocast(call.device.type, dtype=torch.bfloat16, enabled=self._half):
                found: Vectors = call.network(host).float().numpy()
            return found
        with (
            torch.cuda.device(call.device),
            torch.cuda.stream(call.stream),
            torch.autocast("cuda", dtype=torch.bfloat16, enabled=self._half),
        ):
            batch = host.pin_memory().to(call.device, non_blocking=True)
            vectors: Vectors = call.network(batch).float().cpu().numpy()  # cpu() waits for this stream alone
        return vectors

    def _retreat(self, failed: int, error: str) -> None:
        """After a batch of `failed` pictures was too much: halve it, or give up the device. Says so."""
        with self._lock:
            if self.batch < failed or self._fallback is not None:
                return  # another thread has done it
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if failed > 1:
                self.batch = failed // 2
                log.warning("the GPU ran out of memory; batches are now of %d images: %s", self.batch, error)
                return
            log.warning("the GPU has no memory for a single image; the CPU goes on: %s", error)
            self._fallback = self._make_fallback()
            self.batch, self.parallel = self._fallback.batch, self._fallback.parallel


def all_gpus(device: torch.device) -> list[torch.device]:
    """The GPU of "cuda:1"; every GPU of this machine for "cuda"."""
    if device.index is not None:
        return [device]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def find_cuda(
    encoder: nn.Module,
    devices: Sequence[torch.device],
    pixels: Pixels,
    vectors: Vectors,
    precision: Precision,
    *,
    compiling: bool = True,
) -> CudaRuntime | None:
    """The fastest way to run a network on these GPUs that agrees with its vectors (m, d) of real pictures (m, ...).

    bfloat16 where every picture agrees to `CLOSE`; with torch.compile where that is `_PAYS` times as fast.
    """

    def make(**options: object) -> CudaRuntime:
        return CudaRuntime(encoder, devices, fallback=_cpu_copy(encoder), **options)  # type: ignore[arg-type]

    half = False
    # Where a GPU only imitates bfloat16 it is slower than float32.
    native = devices[0].type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto" and native:
        cosine = agreement(run_all(make(half=True), pixels), vectors)
        log.info("bfloat16 on %s: cosine to float32 %.5f at the least", devices[0], cosine)
        half = cosine >= CLOSE
    many = np.concatenate([pixels] * (-(-2 * _CALLS * len(devices) * max(_BATCHES) // len(pixels))))
    if devices[0].type != "cuda":
        many = pixels  # a rehearsal on the CPU
    best = fastest([make(half=half, batch=batch) for batch in _BATCHES], many)
    if compiling:
        try:
            rival = make(half=half, batch=best.batch, compiled=True)
            if agreement(run_all(rival, pixels), vectors) >= CLOSE and _times(best, rival, many) >= _PAYS:
                return rival
        except (
            Exception
        ) as error:  # torch.compile wants a C compiler and Triton; without them it raises anything
            log.warning(
                "torch.compile does not work here, so that the network runs as it stands (it wants Triton and a C "
                "compiler such as gcc): %s",
                str(error).partition("\n")[0],
            )
    assert isinstance(best, CudaRuntime)
    return best


def _times(plain: Runtime, rival: Runtime, pixels: Pixels) -> float:
    """How many times as fast a rival is."""
    import time

    seconds = []
    for runtime in (plain, rival):
        begun = time.perf_counter()
        run_all(runtime, pixels)
        seconds.append(time.perf_counter() - begun)
    return seconds[0] / seconds[1]


def _cpu_copy(encoder: nn.Module) -> Callable[[], Runtime]:
    from cdsel_backend.pool.runtime import TorchRuntime

    return lambda: TorchRuntime(copy.deepcopy(encoder).to("cpu"))

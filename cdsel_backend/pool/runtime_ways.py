"""The fastest way for each GPU to run a network: bfloat16, the batch, torch.compile."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from cdsel_backend.pool.devices import described, has_bfloat16, reason_of
from cdsel_backend.pool.runtime import (
    CLOSE,
    Pixels,
    Precision,
    Runtime,
    Vectors,
    agreement,
    fastest,
    run_all,
)
from cdsel_backend.pool.runtime_cuda import CALLS, DeviceRuntime, Way

log = logging.getLogger(__name__)

_BATCHES = (64, 256)
_PAYS = 1.1  # a compiled network must be so many times as fast to be worth its minutes of compiling


def find_cuda(
    encoder: nn.Module,
    start: DeviceRuntime,
    pixels: Pixels,
    vectors: Vectors,
    precision: Precision,
    *,
    compiling: bool = True,
) -> DeviceRuntime | None:
    """The fastest way to run a network on each device of `start` that agrees on real pictures (m, ...).

    `vectors` (m, d) are those that `start` made of them. bfloat16 where every picture agrees to `CLOSE`; with
    torch.compile where that is `_PAYS` times as fast. Devices of one kind go the way that the first of them found. None
    where no device is left.
    """
    ways: dict[str, Way] = {}
    found: DeviceRuntime | None = None
    for way in start.ways:
        kind = described(way.device).removeprefix(str(way.device))
        fast = None
        if kind not in ways:
            fast = _fastest_on(encoder, way, pixels, vectors, precision, compiling=compiling)
            ways[kind] = fast.ways[0] if fast is not None else way
        if found is not None:
            found.add(replace(ways[kind], device=way.device))
        else:
            found = fast or DeviceRuntime(encoder, [way])
    if found is not None:
        found.fallback, found.problems = start.fallback, [*start.problems, *found.problems]
    return found


def _fastest_on(
    encoder: nn.Module, way: Way, pixels: Pixels, vectors: Vectors, precision: Precision, *, compiling: bool
) -> DeviceRuntime | None:
    """As `find_cuda` for one device; None where it fails meanwhile, as for want of memory."""

    def make(**options: Any) -> DeviceRuntime:
        return DeviceRuntime(encoder, [replace(way, **options)])

    half = False
    try:
        if precision == "auto" and has_bfloat16(way.device):
            cosine = agreement(run_all(make(half=True), pixels), vectors)
            log.info("bfloat16 on %s: cosine to float32 %.5f at the least", way.device, cosine)
            half = cosine >= CLOSE
        many = np.concatenate([pixels] * -(-2 * CALLS * max(_BATCHES) // len(pixels)))
        batches = _BATCHES if way.batch in _BATCHES else (way.batch,)  # smaller: it has memory for no more
        best = fastest([make(half=half, batch=batch) for batch in batches], many)
    except Exception as error:  # DeviceFails, or whatever a driver raises
        log.warning("%s: no faster way was found: %s", way.device, reason_of(error))
        return None
    if compiling:
        try:
            rival = make(half=half, batch=best.batch, compiled=True)
            if agreement(run_all(rival, pixels), vectors) >= CLOSE and _times(best, rival, many) >= _PAYS:
                return rival
        except Exception as error:  # whatever torch.compile raises where it lacks something
            log.warning(
                "torch.compile does not work here, so that the network runs as it stands (it wants Triton and a C "
                "compiler such as gcc): %s",
                reason_of(error),
            )
    assert isinstance(best, DeviceRuntime)
    return best


def _times(plain: Runtime, rival: Runtime, pixels: Pixels) -> float:
    """How many times as fast a rival is."""
    seconds = []
    for runtime in (plain, rival):
        begun = time.perf_counter()
        run_all(runtime, pixels)
        seconds.append(time.perf_counter() - begun)
    return seconds[0] / seconds[1]

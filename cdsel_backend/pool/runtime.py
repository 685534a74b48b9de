"""Runtimes: what runs a backbone on the machine at hand.

A runtime gives the vectors of prepared pictures. All of them agree: one of float32 to a cosine of .9999 with torch on
the CPU, one of bfloat16 to .999, and both are checked on real pictures before they are used. A vector's fingerprint
therefore does not name the runtime: the difference is smaller than that of saving a JPEG once more, and a pool would
have to be embedded again whenever the worker moves to another machine. `CDSEL_PRECISION=float32` keeps bfloat16 out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32"]
Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]

SAME = 0.9999
"""Cosine to torch's float32 on the CPU that every runtime of float32 reaches, by each picture."""
CLOSE = 0.999
"""The same for a runtime of bfloat16."""
TRIAL = 64
"""Real pictures on which a faster runtime is checked, and timed."""
WORTH = 256
"""Pictures after which a faster runtime is looked for: compiling a network takes as long as embedding hundreds."""


class Runtime(Protocol):
    """Something that runs a network. It may be called from `parallel` threads at once.

    `name` says for people what runs it; `batch`: pictures in one call at which it is fastest; `parallel`: calls at
    once that keep the device busy; `problems`: sentences on what it was to run on and does not.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def batch(self) -> int: ...  # noqa: D102

    @property
    def parallel(self) -> int: ...  # noqa: D102

    @property
    def problems(self) -> Sequence[str]: ...  # noqa: D102

    def __call__(self, pixels: Pixels) -> Vectors:
        """Vectors (m, dim) float32 of prepared pictures (m, height, width, 3) uint8, for any m."""


Finder = Callable[[Pixels, Vectors], "Runtime | None"]
"""From real pictures and their vectors: a faster runtime that agrees on them; None where there is none."""


class TorchRuntime:
    """Torch in float32 on the CPU, as the network stands."""

    name = f"torch {torch.__version__}, cpu, float32"
    batch = 8  # larger ones are slower: they fall out of the cache
    parallel = 1  # torch spreads one call over the cores
    problems = ()

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Vectors:
        """See `Runtime`."""
        vectors: Vectors = self._encoder(torch.from_numpy(np.ascontiguousarray(pixels))).float().numpy()
        return vectors


class Adaptive:
    """A runtime that looks for a faster one once it has seen `WORTH` real pictures."""

    def __init__(self, start: Runtime, find: Finder) -> None:
        """Start with one runtime; `find` is called once, and may take many seconds."""
        self._now = start
        self._find: Finder | None = find
        self._seen: list[tuple[Pixels, Vectors]] = []
        self._count = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """See `Runtime`."""
        return self._now.name

    @property
    def batch(self) -> int:
        """See `Runtime`."""
        return self._now.batch

    @property
    def parallel(self) -> int:
        """See `Runtime`."""
        return self._now.parallel

    @property
    def problems(self) -> Sequence[str]:
        """See `Runtime`."""
        return self._now.problems

    def __call__(self, pixels: Pixels) -> Vectors:
        """See `Runtime`."""
        vectors = self._now(pixels)
        if self._find is not None:
            self._watch(pixels, vectors)
        return vectors

    def _watch(self, pixels: Pixels, vectors: Vectors) -> None:
        with self._lock:
            find = self._find
            if find is None or not len(pixels):
                return
            if sum(len(seen) for seen, _ in self._seen) < TRIAL:
                self._seen.append((pixels, vectors))
            self._count += len(pixels)
            if self._count < WORTH:
                return
            self._find = None
            seen, self._seen = self._seen, []
        trial = tuple(np.concatenate(parts)[:TRIAL] for parts in zip(*seen, strict=True))
        try:
            faster = find(trial[0], trial[1])
        except Exception:  # a compiler's errors share no base; what runs now runs on
            log.exception("no faster runtime could be made; %s goes on", self.name)
            return
        if faster is not None:
            self._now = faster
        log.info("images are embedded by %s, in batches of %d", self.name, self.batch)


def agreement(vectors: Vectors, reference: Vectors) -> float:
    """The lowest cosine of vectors (m, d) to the reference's (m, d); 0 where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        cosines = (vectors * reference).sum(axis=1) / np.where(norms > 0, norms, 1)
    same = (vectors == reference).all(axis=1)  # also where both are zero
    return float(np.where(same, 1.0, np.nan_to_num(cosines, nan=0.0)).min())


def run_all(runtime: Runtime, pixels: Pixels) -> Vectors:
    """Vectors of many pictures: in batches, as many at once as the runtime takes."""
    batch = runtime.batch  # an adaptive runtime may change its own meanwhile
    with ThreadPoolExecutor(runtime.parallel) as executor:
        starts = range(0, len(pixels), batch)
        parts = executor.map(lambda start: runtime(pixels[start : start + batch]), starts)
        return np.concatenate(list(parts))


def fastest(runtimes: Sequence[Runtime], pixels: Pixels) -> Runtime:
    """The runtime that embeds these pictures in the least time, by the better of two runs."""

    def seconds(runtime: Runtime) -> float:
        run_all(runtime, pixels[: runtime.batch])  # the first call of all prepares
        taken = []
        for _ in range(2):
            begun = time.perf_counter()
            run_all(runtime, pixels)
            taken.append(time.perf_counter() - begun)
        return min(taken)

    return min(runtimes, key=seconds)


def padded(pixels: Pixels, batch: int) -> Pixels:
    """Pictures (m, ...) with empty ones behind them, so that there are `batch`."""
    if len(pixels) == batch:
        return np.ascontiguousarray(pixels)
    whole = np.zeros((batch, *pixels.shape[1:]), dtype=np.uint8)
    whole[: len(pixels)] = pixels
    return whole


def in_batches(run: Callable[[Pixels], Vectors], pixels: Pixels, batch: int) -> Vectors:
    """Vectors of any number of pictures by a network that takes exactly `batch` of them."""
    parts = [
        run(padded(pixels[start : start + batch], batch))[: len(pixels) - start]
        for start in range(0, len(pixels), batch)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

"""JPEG files decoded, made smaller and measured on a GPU, in batches of what many readers bring.

By nvImageCodec (extra `gpu`). It takes over where it is installed, agrees with the CPU on real pictures and is not much
slower than all cores; files of other kinds, damaged ones and pictures that are to be turned stay with the CPU. Not by
torchvision, whose decoder can write into memory of others (pytorch/vision 9606).
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from cdsel_backend.pool.codec import Codec, File, NvImageCodec
from cdsel_backend.pool.jpeg import JpegHead, read_head
from cdsel_backend.pool.measures import Looks, Measures, middle, reduction, variables
from cdsel_backend.pool.runtime import CLOSE, TRIAL, Pixels, Vectors, agreement

log = logging.getLogger(__name__)

BATCH = 256  # files decoded together at most; an H100's engine makes 17,000 of 500 pixels a second by 64, 20,600 by 256
MOST_PIXELS = 16_000_000  # of a picture; larger ones are few, and would fill the GPU's memory
_BATCH_PIXELS = 64_000_000
_CODECS = 2  # a GPU: while one decodes, what another has decoded is made smaller and fetched
_READERS = 192  # threads, where reading is slow and each reads one file
_WINDOW = (_CODECS + 2) * BATCH  # each codec decodes a batch, one is gathered, and one is read
_NOT_MUCH_SLOWER = 0.5  # of the speed of all cores, which reading and the network's preparation need, too
_FAILURES = 3  # batches in a row, after which the CPU goes on
_GREY = (19595, 38470, 7471)  # of 65536: how Pillow weighs red, green and blue


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What is kept of a picture: (height, width, 3) uint8 at the network's input size, and what its file says."""

    pixels: Pixels
    measures: Measures


class GpuDecoder:
    """Decodes on a GPU, once it is known to agree with the CPU. Called from many threads."""

    readers = _READERS
    """Threads that keep it busy."""
    window = _WINDOW
    """Files that keep it busy, where they are read quickly."""

    def __init__(
        self,
        codecs: Sequence[Codec],
        size: tuple[int, int],
        embed: Callable[[Pixels], Vectors],
        *,
        cores: int | None = None,
        streams: Sequence[torch.cuda.Stream | None] | None = None,
        others: Sequence[Codec] = (),
    ) -> None:
        """Begin; the first pictures are the CPU's.

        Args:
            codecs: one or more for each GPU.
            size: the network's input (height, width).
            embed: its vectors (m, d) of prepared pictures (m, height, width, 3).
            cores: that decode where the GPU does not; None: those of this process.
            streams: one for each codec, so that one's work and copies overlap another's; None on a CPU.
            others: as many others, which take their place where they agree, too, and are faster.
        """
        self._codecs = codecs
        self._others = others
        self._streams = streams or [None] * len(codecs)
        self._size = size
        self._embed = embed
        self._cores = cores or len(os.sched_getaffinity(0))
        self._trial: list[tuple[bytes, Pixels, float]] | None = []
        self._guard = threading.Lock()
        self._asked: queue.SimpleQueue[tuple[list[File], Future[list[Shrunk | None]]]] = queue.SimpleQueue()
        self._failures = 0
        self.chosen = False
        """Whether it decodes."""

    def read(self, files: Sequence[bytes | None], *, max_pixels: int = MOST_PIXELS) -> list[Shrunk | None]:
        """Decode files; None where the CPU has to, as of a larger picture, and for None."""
        found: list[Shrunk | None] = [None] * len(files)
        if not self.chosen:
            return found
        heads = [None if data is None else _suitable(data) for data in files]
        asked = [
            (at, (data, head))
            for at, (data, head) in enumerate(zip(files, heads, strict=True))
            if data is not None and head is not None and head.pixels <= max_pixels
        ]
        if asked:
            answer: Future[list[Shrunk | None]] = Future()
            self._asked.put(([file for _, file in asked], answer))
            for (at, _), shrunk in zip(asked, answer.result(), strict=True):
                found[at] = shrunk
        return found

    def learn(self, data: bytes, pixels: Pixels, seconds: float) -> None:
        """See what the CPU made of a file, in how long; after `TRIAL` of them the GPU is tried on the same."""
        if self._trial is None or _suitable(data) is None:
            return
        with self._guard:
            if self._trial is None:
                return
            self._trial.append((data, pixels, seconds))
            if len(self._trial) < TRIAL:
                return
            trial, self._trial = self._trial, None
        fastest = 0.0
        for codecs in (self._codecs, *([self._others] if self._others else [])):
            try:
                speed = self._speed(codecs, trial)
            except Exception:  # of CUDA and the codec, which share no base; the CPU goes on
                log.exception("images cannot be decoded on the GPU")
                continue
            if speed >= _NOT_MUCH_SLOWER and speed > fastest:
                fastest, self._codecs = speed, codecs
        self._others = ()  # they take memory of the GPU
        if fastest:
            for at in range(len(self._codecs)):
                threading.Thread(target=self._serve, args=(at,), name="decode", daemon=True).start()
        self.chosen = fastest > 0

    def _speed(self, codecs: Sequence[Codec], trial: Sequence[tuple[bytes, Pixels, float]]) -> float:
        """How many times as fast as all cores codecs are; 0 where they do not agree with the CPU."""
        files = [(data, head) for data, _, _ in trial if (head := read_head(data)) is not None]
        with ThreadPoolExecutor(len(codecs)) as threads:
            for _ in range(2):  # the first time prepares
                begun = time.perf_counter()
                found, *_ = threads.map(
                    lambda at: self._decoded_by(codecs[at], at, files), range(len(codecs))
                )
                taken = (time.perf_counter() - begun) / len(files) / len(codecs)
        both = [
            (theirs, shrunk.pixels)
            for (_, theirs, _), shrunk in zip(trial, found, strict=True)
            if shrunk is not None
        ]
        if len(both) < len(files) // 2:
            log.warning("the GPU decodes %d of %d JPEG files: the CPU decodes", len(both), len(files))
            return 0.0
        cpu, gpu = (self._embed(np.stack(pictures)) for pictures in zip(*both, strict=True))
        cosine = agreement(gpu, cpu)
        speed = 1 / taken / (self._cores / (sum(took for *_, took in trial) / len(files)))
        log.info(
            "JPEG on the GPU (%s): cosine %.5f at the least, %.1f times the speed of all cores",
            codecs[0],
            cosine,
            speed,
        )
        return speed if cosine >= CLOSE else 0.0

    def _serve(self, at: int) -> None:
        """Decode by one of the codecs what was asked for, as many files at once as wait."""
        while True:
            asked = [self._asked.get()]
            count = len(asked[0][0])
            while count < BATCH:
                try:
                    asked.append(self._asked.get_nowait())
                except queue.Empty:
                    break
                count += len(asked[-1][0])
            found = iter(self._decoded_safely(at, [file for files, _ in asked for file in files]))
            for files, answer in asked:
                answer.set_result(list(islice(found, len(files))))

    def _decoded_safely(self, at: int, files: list[File]) -> list[Shrunk | None]:
        """Decode files in batches that fit a GPU; None for those of a batch that fails."""
        found: list[Shrunk | None] = []
        while len(found) < len(files):
            batch, pixels = [files[len(found)]], files[len(found)][1].pixels
            for file in files[len(found) + 1 : len(found) + BATCH]:
                pixels += file[1].pixels
                if pixels > _BATCH_PIXELS:
                    break
                batch.append(file)
            try:
                found += self._decoded(at, batch)
                self._failures = 0
            except Exception as error:  # as above
                found += [None] * len(batch)
                self._failures += 1
                log.warning("%d images were not decoded on the GPU: %s", len(batch), error)
                if self._failures >= _FAILURES and self.chosen:
                    self.chosen = False
                    log.warning("from here on the CPU decodes")
        return found

    def _decoded(self, at: int, files: Sequence[File]) -> list[Shrunk | None]:
        return self._decoded_by(self._codecs[at], at, files)

    def _decoded_by(self, codec: Codec, at: int, files: Sequence[File]) -> list[Shrunk | None]:
        with torch.cuda.stream(self._streams[at]):  # of None it does nothing
            return self._shrunk(codec(files), [head for _, head in files])

    def _shrunk(
        self, pictures: Sequence[torch.Tensor | None], heads: Sequence[JpegHead]
    ) -> list[Shrunk | None]:
        found: list[Shrunk | None] = [None] * len(pictures)
        alike = defaultdict(list)
        for at, (head, picture) in enumerate(zip(heads, pictures, strict=True)):
            # Where the two disagree on the size, neither is to be trusted.
            if picture is not None and tuple(picture.shape) == (*head.size[::-1], 3):
                alike[head.size].append(at)
        for size, places in alike.items():
            batch = torch.stack([p for at in places if (p := pictures[at]) is not None]).permute(0, 3, 1, 2)
            looks = look_at(batch)
            for at, pixels, looked in zip(places, shrink(batch, self._size), looks, strict=True):
                said = variables(looked, size=size, bits=8, quality=heads[at].quality, kind="JPEG")
                found[at] = Shrunk(pixels, said)
        return found


def find_decoder(
    device: torch.device, size: tuple[int, int], embed: Callable[[Pixels], Vectors]
) -> GpuDecoder | None:
    """A decoder on the GPUs of a device; None on a CPU, or where nvImageCodec is not there."""
    if device.type != "cuda":
        return None
    from cdsel_backend.pool.runtime_cuda import all_gpus

    try:
        gpus = [gpu for gpu in all_gpus(device) for _ in range(_CODECS)]
        streams = [torch.cuda.Stream(gpu) for gpu in gpus]  # type: ignore[no-untyped-call]
        codecs = [NvImageCodec(gpu) for gpu in gpus]
        others = []
        try:
            others = [NvImageCodec(gpu, engine=True) for gpu in gpus]
        except Exception as error:  # as of a GPU that has none
            log.info("the GPU's JPEG engine cannot be used by itself: %s", error)
        return GpuDecoder(codecs, size, embed, streams=streams, others=others)
    except ModuleNotFoundError:
        log.info("JPEG is decoded by the CPU; install cdsel-backend[gpu] to have the GPU do it")
        return None
    except Exception as error:  # a driver that is too old, a library that it lacks
        log.warning("nvImageCodec cannot be used, the CPU decodes: %s", error)
        return None


def _suitable(data: bytes) -> JpegHead | None:
    head = read_head(data)
    return head if head is not None and head.pixels <= MOST_PIXELS else None


def shrink(batch: torch.Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """As `backbones.fit_to`, to a level of 255: (m, 3, h, w) uint8 on any device -> (m, height, width, 3) uint8."""
    height, width = batch.shape[2:]
    # Rounded between the two products, as there.
    resized = (batch.float() @ _weights(width, size[1], batch.device)).round_().clamp_(0, 255)
    resized = (_weights(height, size[0], batch.device).T @ resized).round_().clamp_(0, 255)
    there = resized.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    here = torch.empty(there.shape, dtype=torch.uint8, pin_memory=there.is_cuda)
    here.copy_(there)
    found: NDArray[np.uint8] = here.numpy()
    return found


@lru_cache(maxsize=32)
def _weights(before: int, after: int, device: torch.device) -> torch.Tensor:
    """What each of `before` pixels of a line adds to each of `after`, (before, after) float32.

    Resizing is a product with them: a fraction of the time of torch's own kernel on a GPU.
    """
    lines = torch.eye(before, device=device)[None, None]
    return torch.nn.functional.interpolate(lines, size=(before, after), mode="bicubic", antialias=True)[0, 0]


def look_at(batch: torch.Tensor) -> list[Looks]:
    """As `measures.look`, of pictures (m, 3, h, w) uint8 on any device."""
    height, width = batch.shape[2:]
    by = reduction((width, height))
    small = torch.nn.functional.avg_pool2d(batch.float(), by, ceil_mode=True, count_include_pad=False)
    small = (small + 0.5).floor_()  # as Pillow rounds
    grey = _grey(small).flatten(1)
    red, green, blue = small.unbind(1)
    difference = ((red - green).abs().flatten(1).mean(1) + (green - blue).abs().flatten(1).mean(1)) / 2
    left, top, right, bottom = middle((width, height))
    crop = _grey(batch[:, :, top:bottom, left:right])
    sharpness = torch.zeros_like(difference)
    if min(crop.shape[1:]) >= 3:
        edges = crop[:, :-2, 1:-1] + crop[:, 2:, 1:-1] + crop[:, 1:-1, :-2] + crop[:, 1:-1, 2:]
        sharpness = (edges - 4 * crop[:, 1:-1, 1:-1]).flatten(1).std(1, correction=0)
    table = torch.stack([grey.mean(1), grey.std(1, correction=0), sharpness, difference], 1)
    return [Looks(*row) for row in table.double().cpu().tolist()]


def _grey(batch: torch.Tensor) -> torch.Tensor:
    """Pictures (m, 3, h, w) -> their grey values (m, h, w), rounded as Pillow rounds."""
    weights = torch.tensor(_GREY, dtype=torch.int32, device=batch.device)
    mixed = (batch.to(torch.int32) * weights[:, None, None]).sum(1, dtype=torch.int32)
    return ((mixed + 2**15) >> 16).float()

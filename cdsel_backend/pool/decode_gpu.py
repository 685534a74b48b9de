"""JPEG files decoded, made smaller and measured on a GPU, in batches of what many readers bring.

By nvImageCodec (extra `gpu`). It takes over where it is installed, agrees with the CPU on real pictures and is not much
slower than all cores; files of other kinds, damaged ones and pictures that are to be turned stay with the CPU. Not by
torchvision, whose decoder can write into memory of others (pytorch/vision 9606).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from joblib import cpu_count

from cdsel_backend.pool.codec import Codec, File, NvImageCodec
from cdsel_backend.pool.devices import all_gpus, described
from cdsel_backend.pool.gpu_pictures import look_at, shrink
from cdsel_backend.pool.jpeg import JpegHead, read_head
from cdsel_backend.pool.measures import Measures, variables
from cdsel_backend.pool.runtime import CLOSE, TRIAL, Pixels, Vectors, agreement

log = logging.getLogger(__name__)

BATCH = 256  # files decoded together at most; an H100's engine makes 17,000 of 500 pixels a second by 64, 20,600 by 256
MOST_PIXELS = 16_000_000  # of a picture; larger ones are few, and would fill the GPU's memory
_BATCH_PIXELS = 64_000_000
_CODECS = 2  # a GPU: while one decodes, what another has decoded is made smaller and fetched
_READERS = 192  # threads, where reading is slow and each reads one file
_NOT_MUCH_SLOWER = 0.5  # of the speed of all cores, which reading and the network's preparation need, too
_FAILURES = 3  # batches in a row, after which a codec is given up


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What is kept of a picture: (height, width, 3) uint8 at the network's input size, and what its file says."""

    pixels: Pixels
    measures: Measures


@dataclass(frozen=True, eq=False)
class _Tried:
    """A file by which decoders are tried, and what the CPU made of it, in how many seconds."""

    data: bytes
    head: JpegHead
    pixels: Pixels
    seconds: float


class GpuDecoder:
    """Decodes on a GPU, once it is known to agree with the CPU. Called from many threads."""

    readers = _READERS
    """Threads that keep it busy."""

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
        self.window = (len(codecs) + 2) * BATCH
        """Files that keep it busy, where they are read quickly: a batch for each, one gathered, and one being read."""
        self._codecs = codecs
        self._others = others
        self._streams = streams or [None] * len(codecs)
        self._size = size
        self._embed = embed
        self._cores = cores or cpu_count()
        self._trial: list[_Tried] | None = []
        self._guard = threading.Lock()
        self._asked: queue.SimpleQueue[tuple[list[File], Future[list[Shrunk | None]]]] = queue.SimpleQueue()
        self._failures: list[int] = []  # of each codec, in a row
        self._serving: set[int] = set()  # codecs that are not given up
        self.chosen = False
        """Whether it decodes."""
        self.problems: list[str] = []
        """Sentences on what does not decode any more."""

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
        if self._trial is None or (head := _suitable(data)) is None:
            return
        with self._guard:
            if self._trial is None:
                return
            self._trial.append(_Tried(data, head, pixels, seconds))
            if len(self._trial) < TRIAL:
                return
            trial, self._trial = self._trial, None
        fastest, serving = 0.0, list[int]()
        for codecs in (self._codecs, *([self._others] if self._others else [])):
            agreeing = self._agreeing(codecs, trial)
            speed = self._speed(codecs, agreeing, trial) if agreeing else 0.0
            if speed >= _NOT_MUCH_SLOWER and speed > fastest:
                fastest, self._codecs, serving = speed, codecs, agreeing
        self._others = ()  # they take memory of the GPU
        self._failures = [0] * len(self._codecs)
        self._serving = set(serving)
        for at in serving:
            threading.Thread(target=self._serve, args=(at,), name="decode", daemon=True).start()
        self.chosen = fastest > 0

    def _agreeing(self, codecs: Sequence[Codec], trial: Sequence[_Tried]) -> list[int]:
        """The positions of the codecs that decode at least half of the files, and as the CPU does."""
        files = [(one.data, one.head) for one in trial]

        def decode(at: int) -> list[Shrunk | None]:
            try:
                return self._decoded_by(codecs[at], at, files)
            except Exception:  # of CUDA and the codec, which share no base; another GPU's may do
                log.exception("%s does not decode", codecs[at])
                return [None] * len(files)

        with ThreadPoolExecutor(len(codecs)) as threads:
            found = list(threads.map(decode, range(len(codecs))))
        due = self._embed(np.stack([one.pixels for one in trial]))
        agreeing = []
        for at, decoded in enumerate(found):
            rows = [row for row, shrunk in enumerate(decoded) if shrunk is not None]
            cosine = 0.0
            if rows and len(rows) >= len(files) // 2:
                pictures = np.stack([shrunk.pixels for shrunk in decoded if shrunk is not None])
                cosine = agreement(self._embed(pictures), due[rows])
            log.info("JPEG: %s, %d of %d files, cosine %.5f", codecs[at], len(rows), len(files), cosine)
            if cosine >= CLOSE:
                agreeing.append(at)
        return agreeing

    def _speed(self, codecs: Sequence[Codec], which: Sequence[int], trial: Sequence[_Tried]) -> float:
        """How many times as fast as all cores these of the codecs are, once they have decoded these files."""
        files = [(one.data, one.head) for one in trial]
        begun = time.perf_counter()
        with ThreadPoolExecutor(len(which)) as threads:
            list(threads.map(lambda at: self._decoded_by(codecs[at], at, files), which))
        taken = (time.perf_counter() - begun) / len(which)
        speed = sum(one.seconds for one in trial) / self._cores / taken
        log.info("JPEG: %s: %.1f times the speed of all cores", codecs[which[0]], speed)
        return speed

    def _serve(self, at: int) -> None:
        """Decode by one of the codecs what was asked for, as many files at once as wait; the last one stays."""
        while at in self._serving or not self.chosen:
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
                found += self._decoded_by(self._codecs[at], at, batch)
                self._failures[at] = 0
            except Exception as error:  # as above
                found += [None] * len(batch)
                self._failures[at] += 1
                log.warning("%d images were not decoded on the GPU: %s", len(batch), error)
                if self._failures[at] >= _FAILURES and at in self._serving:
                    self._give_up(at, error)
        return found

    def _give_up(self, at: int, error: Exception) -> None:
        """Decode by one codec no more: what fails is quick, and would take most of the files from the others."""
        with self._guard:
            self._serving.discard(at)
            self.chosen = bool(self._serving)
            rest = "the rest of the GPUs decode" if self._serving else "from here on the CPU decodes"
            sentence = f"JPEG is not decoded by {self._codecs[at]} any more: {error}; {rest}"
            self.problems.append(sentence)
        log.warning("%s", sentence)

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
    codecs: list[NvImageCodec] = []
    streams: list[torch.cuda.Stream] = []
    gpus: list[torch.device] = []
    for gpu in all_gpus(device):
        try:
            codecs += [NvImageCodec(gpu) for _ in range(_CODECS)]
            streams += [torch.cuda.Stream(gpu) for _ in range(_CODECS)]  # type: ignore[no-untyped-call]
        except ModuleNotFoundError:
            log.info("JPEG is decoded by the CPU; install cdsel-backend[gpu] to have the GPU do it")
            return None
        except Exception as error:  # a driver that is too old, a library that it lacks, no memory
            del codecs[len(streams) :]
            log.warning("%s decodes no JPEG, nvImageCodec cannot be used there: %s", described(gpu), error)
            continue
        gpus += [gpu] * _CODECS
    if not codecs:
        return None
    others: list[NvImageCodec] = []
    try:
        others = [NvImageCodec(gpu, engine=True) for gpu in gpus]
    except Exception as error:  # as of a GPU that has none
        log.info("the GPU's JPEG engine cannot be used by itself: %s", error)
    return GpuDecoder(codecs, size, embed, streams=streams, others=others)


def _suitable(data: bytes) -> JpegHead | None:
    head = read_head(data)
    return head if head is not None and head.pixels <= MOST_PIXELS else None

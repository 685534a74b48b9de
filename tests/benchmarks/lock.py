"""What embedding an image costs of the interpreter's lock, as one JSON line; needs no GPU.

    python tests/benchmarks/lock.py [--images 20000]

In the place of nvImageCodec and of the network stand waits without the lock, as long as one H100 takes: 1/20,000 s and
1/17,000 s an image. All else is real: the folder, its listing, the files, their hashes and measures, the store. The
pictures are small, so that reading, hashing and copying them, which needs no lock, takes little: what is left of the
CPU time is what no number of cores shortens.

`whole` is the stream from files to vectors, `worker` the worker's step from listed items to committed rows. Of each:
`images_s`, `cpu_us` (CPU microseconds an image), `cpu_by_thread` (of which kind of thread); where py-spy is installed,
`lock_us` (microseconds an image that somebody held the lock) and `lock_by_file` (the innermost file of ours that did).
Beside others on a machine read `cpu_us`: a thread that has the lock and waits for a core counts as holding it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np
from drawn import jpeg
from embedding import worker
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode_gpu import GpuDecoder, Shrunk
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.measures import Looks, variables

DRAWN = 100  # pictures; each file has a comment of its own, so that no two have the same content
DECODES, FORWARDS = 20_000, 17_000  # images a second
HZ = 200
SIZE = (32, 32)


class SleepingDecoder(GpuDecoder):
    """A GPU that decodes as fast as an H100 does, and gives the same picture each time."""

    def __init__(self) -> None:
        super().__init__([None, None], SIZE, lambda pixels: pixels)  # type: ignore[list-item]
        self._gpu = threading.Lock()
        self._picture = np.zeros((*SIZE, 3), np.uint8)
        self.chosen = True
        for at in range(2):
            threading.Thread(target=self._serve, args=(at,), name="decode", daemon=True).start()

    def _decoded(self, at: int, files: Sequence[tuple[bytes, object]]) -> list[Shrunk | None]:
        with self._gpu:
            time.sleep(len(files) / DECODES)
        looks = Looks(100.0, 50.0, 10.0, 5.0)
        return [
            Shrunk(self._picture, variables(looks, size=head.size, bits=8, quality=head.quality, kind="JPEG"))
            for _, head in files
        ]


class SleepingBackbone:
    """A network that is as fast as ViT-S/16 on an H100."""

    batch, parallel, fingerprint = 256, 2, "0" * 16
    size = SIZE

    def __init__(self, decoder: GpuDecoder) -> None:
        self.decoder = decoder
        self._gpu = threading.Lock()
        self._vectors = np.random.default_rng(0).standard_normal((4096, 384), dtype=np.float32)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        raise AssertionError("a JPEG file was left to the CPU")

    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._gpu:
            time.sleep(len(pixels) / FORWARDS)
        return self._vectors[: len(pixels)].copy()


def draw(folder: Path, count: int) -> list[Path]:
    """Files of different content."""
    drawn = [jpeg(seed, (80, 80)) for seed in range(min(DRAWN, count))]
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        data = drawn[number % len(drawn)]
        file.write_bytes(data[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + data[2:])
    return files


class Spent:
    """CPU seconds by kind of thread, also of threads that end meanwhile."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._begun, self._seen = time.process_time(), self._now()
        self._latest = dict(self._seen)
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._latest |= self._now()

    @staticmethod
    def _now() -> dict[tuple[int, str], float]:
        found = {}
        for thread in threading.enumerate():
            if thread.ident is not None:
                with suppress(OSError):  # it ended
                    clock = time.pthread_getcpuclockid(thread.ident)
                    found[thread.ident, re.sub(r"[-_]\d+.*", "", thread.name)] = time.clock_gettime(clock)
        return found

    def end(self) -> tuple[float, dict[str, float]]:
        """All, and by kind."""
        whole = time.process_time() - self._begun
        self._ended.set()
        self._thread.join()
        kinds: Counter[str] = Counter()
        for key, seconds in (self._latest | self._now()).items():
            kinds[key[1]] += seconds - self._seen.get(key, 0.0)
        kinds["ended or native"] = whole - sum(kinds.values())
        return whole, kinds


@contextmanager
def spied(file: Path) -> Iterator[None]:
    """Have py-spy write down, `HZ` times a second, where the thread is that holds the lock."""
    spy = shutil.which("py-spy")
    if spy is None:
        yield
        return
    command = [spy, "record", "--gil", "--nonblocking", "--pid", str(os.getpid()), "--rate", str(HZ)]
    command += ["--format", "raw", "--output", str(file), "--duration", "600"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)  # until it looks
    try:
        yield
    finally:
        process.send_signal(2)
        process.wait(60)


def held(file: Path, seconds: float) -> tuple[float, dict[str, float]] | None:
    """The share of the time that the lock was held, and by which of our files (the innermost)."""
    if not file.exists():
        return None
    files: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        own = re.findall(r"cdsel_backend/([\w/]+\.py)", frames) or re.findall(r"(\w+\.py)", frames)[:1]
        files[own[-1] if own else "?"] += int(count)
    looks = seconds * HZ
    return sum(files.values()) / looks, {name: count / looks for name, count in files.most_common(12)}


def measured(begin: Callable[[], AbstractContextManager[Callable[[], int]]]) -> dict[str, object]:
    """What something costs that is begun, and then returns how many images it embedded."""
    with begin() as run:
        begun, spent = time.perf_counter(), Spent()
        images = run()
        seconds = time.perf_counter() - begun
        whole, kinds = spent.end()
    found: dict[str, object] = {
        "images_s": round(images / seconds),
        "cpu_us": round(1e6 * whole / images, 1),
        "cpu_by_thread": {
            name: round(1e6 * used / images, 1)
            for name, used in sorted(kinds.items(), key=lambda kind: -kind[1])
        },
    }
    with tempfile.TemporaryDirectory() as name, begin() as run:
        file = Path(name, "samples")
        with spied(file):
            begun = time.perf_counter()
            images = run()
            seconds = time.perf_counter() - begun
        if lock := held(file, seconds):
            found["lock_us"] = round(1e6 * lock[0] * seconds / images, 1)
            found["lock_by_file"] = {
                file: round(1e6 * share * seconds / images, 1) for file, share in lock[1].items()
            }
            found["lock_held"] = round(lock[0], 2)
    return found


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = draw(Path(name), options.images)
        backbone = SleepingBackbone(SleepingDecoder())

        @contextmanager
        def whole() -> Iterator[Callable[[], int]]:
            read = ((file, file.read_bytes) for file in files)
            stream = embed_images(backbone, read, decoder=backbone.decoder)
            yield lambda: sum(one.error is None for one in stream)

        print(
            json.dumps(
                {
                    "benchmark": "lock",
                    "images": len(files),
                    "whole": measured(whole),
                    "worker": measured(lambda: worker(backbone, Path(name))),
                }
            )
        )


if __name__ == "__main__":
    main()

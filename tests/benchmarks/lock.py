"""What embedding an image costs of the interpreter's lock, as one JSON line; needs no GPU.

    python tests/benchmarks/lock.py [--images 20000]

In the place of nvImageCodec and of the network stand waits without the lock, as long as one H100 takes: 1/20,000 s and
1/17,000 s an image. All else is real: the folder, its listing, the files, their hashes and measures, the store. The
pictures are small, so that reading, hashing and copying them, which needs no lock, takes little: what is left of the
CPU time is what no number of cores shortens.

`whole` is the stream from files to vectors, `worker` the worker's step from listed items to committed rows. Of each:
`images_s`, `cpu_us` (CPU microseconds an image), `cpu_by_thread` (of which kind of thread), `wait_us` (how long a
thread waits that wants the lock, each time); where py-spy is installed, `lock_us` (microseconds an image that somebody
held the lock) and `lock_by_file` (the innermost file of ours that did), of one more run; `switches` (how often a
thread gave a core up, an image), which grow where threads wait for one another's lock. The cheapest of three runs.

On two cores that others used, too, 26 November 2026, 20,000 images, four runs each in turns (`cpu_us` depends on how
often the two cores really worked at once, so that threads waited for the lock):

======  ==========  =============  =======  =======  ========
                    images_s       cpu_us   lock_us  switches
======  ==========  =============  =======  =======  ========
whole   at 05a0d06  8,905-14,796   52-134   31-43    .8-6.1
whole   at 63c3513  11,743-15,423  55-117   33-38    1.0-4.7
worker  at 05a0d06  3,647-4,505    157-330  113-129  1.1-12.9
worker  at 63c3513  7,561-10,235   90-168   64-80    .8-6.1
======  ==========  =============  =======  =======  ========

On the 16 cores beside an H200 they were 8,440 and 5,453 images a second at 63c3513, with 11.9 and 15.2 switches: more
cores, more waiting for the lock. Since then one thread reads 256 files at a time: .3 and .4 switches on two cores. What
is left is shared out to processes (`pool/processes.py`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from costs import measured
from drawn import jpeg
from embedding import worker
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode_gpu import GpuDecoder, Shrunk
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.measures import Looks, variables

DRAWN = 100  # pictures; each file has a comment of its own, so that no two have the same content
DECODES, FORWARDS = 20_000, 17_000  # images a second
SIZE = (32, 32)


class SleepingDecoder(GpuDecoder):
    """A GPU that decodes as fast as an H100 does, and gives the same picture each time."""

    def __init__(self) -> None:
        super().__init__([None, None], SIZE, lambda pixels: pixels)  # type: ignore[list-item]
        self._gpu = threading.Lock()
        self._picture = np.zeros((*SIZE, 3), np.uint8)
        self._failures, self._serving = [0, 0], {0, 1}
        self.chosen = True
        for at in range(2):
            threading.Thread(target=self._serve, args=(at,), name="decode", daemon=True).start()

    def _decoded_by(
        self, codec: object, at: int, files: Sequence[tuple[bytes, object]]
    ) -> list[Shrunk | None]:
        with self._gpu:
            time.sleep(len(files) / DECODES)
        looks = Looks(100.0, 50.0, 10.0, 5.0)
        return [
            Shrunk(self._picture, variables(looks, size=head.size, bits=8, quality=head.quality, kind="JPEG"))
            for _, head in files
        ]


class SleepingBackbone:
    """A network that is as fast as ViT-S/16 on an H100."""

    batch, parallel, fingerprint, device = 256, 2, "0" * 16, torch.device("cpu")
    size, problems = SIZE, ()

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

"""What a GPU is asked to show, in one run of at most five minutes and as one JSON line.

    python tests/benchmarks/gpu.py [--device cpu --images 64 --items 5000 --picks 100 --backbone test_efficientnet]

`embedding`: `embedding.py --costs` with so many drawn JPEGs of 500 pixels (asked: `processes` >= 6,000 a second, which
is `cdsel` as it embeds a large pool, `of_slower_stage` >= .9, `cosine` >= .999). `log`: what the trials of decoders and
runtimes said, with their speeds.
`codecs`: images a second that nvImageCodec alone decodes, by what decodes, the batch and the threads; the text of an
error where it cannot. `lock`: `lock.py` on these cores. `select_s`: picks of drawn vectors (n, 384) by coverage
(asked: 10,000 of 1,000,000 in 10 s). `near_s`: each of these vectors' nearest two among all, itself and its nearest
(asked: 120). Install py-spy to see who holds the interpreter's lock. Each part is also written to stderr as it ends.

With 16 cores, 26 November 2026, images a second:

====  ========  =====  =======  ======  =====  ======  =========
card  at        plain  forward  decode  whole  worker  processes
====  ========  =====  =======  ======  =====  ======  =========
H100  05a0d06   206    17,455   7,551   3,884  2,051
H200  63c3513   192    22,732   4,616   3,337  2,544
H200  934e13d                           3,220          7,102-7,700 (3), 8,072 (4), 5,989 (2)
H200  as now                            4,853          8,282 (3)
====  ========  =====  =======  ======  =====  ======  =========

Cosine .99995; select_s 8.2, near_s 36 (H100). nvImageCodec alone made 9,200 to 13,100 on the H200. At 63c3513 a thread
held the interpreter's lock for 158 us an image in `whole`, where `lock.py` without a GPU counts 57: the rest is torch's
and nvImageCodec's calls. With one reader of whole chunks instead of three 4,260, with chunks of 256 besides 4,850 (as
now); without the network 4,090, without decoding 6,940. The rows of 934e13d and "as now" are of one run, by the
functions of `embedding.py`, with 12,000 and 30,000 images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from drawn import jpeg
from numpy.typing import NDArray
from plainly import plainly

from cdsel_backend.pool.codec import NvImageCodec
from cdsel_backend.pool.devices import find_device
from cdsel_backend.pool.jpeg import read_head
from cdsel_backend.selection import Problem, select
from cdsel_backend.selection.neighbours import nearest


def draw_image(file: Path) -> None:
    file.write_bytes(jpeg(int(file.stem)))


def run(script: str, *arguments: str) -> tuple[dict[str, object], list[str]]:
    """What another benchmark prints, and the lines of its log."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]), done.stderr.splitlines()


def codec_speeds(device: torch.device, files: list[Path]) -> dict[str, float | str]:
    """Images a second of each way to decode on a GPU, by nothing but nvImageCodec."""
    read = [file.read_bytes() for file in files]
    whole = [(data, head) for data in read if (head := read_head(data)) is not None]
    found: dict[str, float | str] = {}
    for engine, batch, threads in product((False, True), (64, 256), (1, 2)):
        name = f"{'engine first' if engine else 'all'}, {batch}, {threads} threads"
        try:
            codecs = [NvImageCodec(device, engine=engine) for _ in range(threads)]
            parts = [whole[start : start + batch] for start in range(0, len(whole), batch)]

            def decode(at: int) -> None:
                with torch.cuda.stream(torch.cuda.Stream(device) if device.type == "cuda" else None):
                    for part in parts[at::threads]:  # noqa: B023
                        codecs[at](part)  # noqa: B023

            with ThreadPoolExecutor(threads) as executor:
                for _ in range(2):  # the first time prepares
                    begun = time.perf_counter()
                    list(executor.map(decode, range(threads)))
                    found[name] = round(len(whole) / (time.perf_counter() - begun))
        except Exception as error:  # whatever nvImageCodec raises where it lacks something
            found[name] = f"{type(error).__name__}: {error}"
    return found


def near(vectors: NDArray[np.float32]) -> float:
    """Seconds of the nearest two of each vector."""
    begun = time.perf_counter()
    square, _ = nearest(vectors, vectors, 2)
    assert square.shape == (len(vectors), 2)
    return round(time.perf_counter() - begun, 2)


def selected(vectors: NDArray[np.float32], picks: int) -> float:
    """Seconds of a selection."""
    count = len(vectors)
    problem = Problem(
        vectors=vectors,
        columns=[],
        labels=np.full(count, -1),
        n_classes=2,
        taken=np.zeros(count, dtype=bool),
    )
    begun = time.perf_counter()
    assert len(select("confounder_aware", problem, picks)) == picks
    return round(time.perf_counter() - begun, 2)


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--picks", type=int, default=10_000)
    options = parser.parse_args()
    with plainly(parser):
        find_device(options.device)
    found: dict[str, object] = {"benchmark": "gpu", "device": options.device}
    if options.device != "cpu":
        found["gpu"] = torch.cuda.get_device_name()

    def note(name: str, value: object) -> None:
        found[name] = value
        print(name, json.dumps(value), file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{number}.jpg" for number in range(options.images)]
        with get_context("spawn").Pool() as processes:
            processes.map(draw_image, files)
        arguments = ["--images", name, "--backbone", options.backbone, "--weights", "random", "--costs"]
        arguments += ["--device", options.device, "--limit", str(options.images), "--plain", "1024"]
        embedding, log = run("embedding.py", *arguments, "--rounds", "2")
        note("embedding", embedding)
        note("log", [line for line in log if "JPEG" in line or "cosine" in line or "images/s" in line])
        note("codecs", codec_speeds(torch.device(options.device), files[:4096]))
    note("lock", run("lock.py", "--images", str(min(options.images, 10_000)))[0])
    vectors = np.random.default_rng(0).standard_normal((options.items, 384), dtype=np.float32)
    note("select_s", selected(vectors, options.picks))
    note("near_s", near(vectors))
    print(json.dumps(found))


if __name__ == "__main__":
    main()

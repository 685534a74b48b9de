"""What a GPU is asked to show, in one run of a few minutes and as one JSON line.

    python tests/benchmarks/gpu.py [--device cpu --images 64 --items 5000 --picks 100 --backbone test_efficientnet]

`embedding`: `embedding.py` with so many drawn JPEGs of 500 pixels (asked: `whole` >= 6,000 a second, `of_slower_stage`
>= .9, `cosine` >= .999). `select_s`: picks of drawn vectors (n, 384) by coverage (asked: 10,000 of 1,000,000 in 10 s).
`near_s`: each of these vectors' nearest two among all, itself and its nearest (asked: 120).

On one H100 with 16 cores, 26 November 2026: plain 206, forward 17,455, decode 7,551, whole 3,884, worker 2,051 images a
second, cosine .9999; select_s 8.2, near_s 36.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from drawn import jpeg

from cdsel_backend.selection import Problem, select
from cdsel_backend.selection.neighbours import nearest


def draw_image(file: Path) -> None:
    file.write_bytes(jpeg(int(file.stem)))


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--picks", type=int, default=10_000)
    options = parser.parse_args()
    found: dict[str, object] = {"benchmark": "gpu", "device": options.device}
    if options.device != "cpu":
        found["gpu"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as name:
        with get_context("spawn").Pool() as processes:
            processes.map(draw_image, [Path(name) / f"{number}.jpg" for number in range(options.images)])
        command = [sys.executable, str(Path(__file__).with_name("embedding.py")), "--images", name]
        command += ["--backbone", options.backbone, "--weights", "random", "--device", options.device]
        command += ["--limit", str(options.images), "--plain", "1024", "--rounds", "2"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found["embedding"] = json.loads(done.stdout.splitlines()[-1])
    vectors = np.random.default_rng(0).standard_normal((options.items, 384), dtype=np.float32)
    begun = time.perf_counter()
    square, _ = nearest(vectors, vectors, 2)
    found["near_s"] = round(time.perf_counter() - begun, 2)
    assert square.shape == (options.items, 2)
    problem = Problem(
        vectors=vectors,
        columns=[],
        labels=np.full(options.items, -1),
        n_classes=2,
        taken=np.zeros(options.items, dtype=bool),
    )
    begun = time.perf_counter()
    assert len(select("confounder_aware", problem, options.picks)) == options.picks
    found["select_s"] = round(time.perf_counter() - begun, 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

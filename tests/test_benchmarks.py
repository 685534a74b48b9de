"""The scripts of `tests/benchmarks/` run to their end at a small size and print one JSON line with what they name.

Not here, since they take minutes at any size, or a Label Studio of their own: `demo.py`, `finetune.py`, `gpus.py` on a
CPU, `last_label.py` with a demo, `listing.py`, and `load.py webhooks`.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made import encode
from PIL import Image

TESTS = Path(__file__).parent
LIMIT = 600  # seconds, on a busy machine
WORLD = (
    "--metadata {data}/metadata.csv --embeddings {data}/vectors.npy --label malignant --confounder site "
    "--group patient"
)
SMALL = {
    "confounders.py --items 500 --variables 3 --dim 16": "items variables seconds peak_gb confounders",
    "embedding.py --images {data} --backbone test_efficientnet --weights random --limit 16 --rounds 1": (
        "plain forward decode whole worker times_plain of_slower_stage cpu_ms cosine gpu_decodes"
    ),
    "gallery.py --items 500 --labels 100": (
        "first_ms page_ms filter_ms search_ms image_ms area_ms status_ms overview_ms confounders_ms queue_ms models_ms "
        "settings_ms activity_ms csv_s exclude_s undo_s map_bytes_ms statements"
    ),
    "gpu.py --device cpu --backbone test_efficientnet --images 16 --items 2000 --picks 50": (
        "device embedding log codecs lock select_s near_s"
    ),
    f"label_noise.py {WORLD} --seeds 1 --labels 30": "labels rho seeds noise",
    "last_label.py --drawn 300": "drawn seconds new_model_in_queue cpu_seconds",
    "load.py predict --pool 500 --requests 10": "p50_ms p99_ms load_1min",
    "load.py projects --projects 1 --annotators 1": "seconds annotator_waited_s lost doubled beyond_the_budget",
    "lock.py --images 300": "whole worker",
    f"next_round.py {WORLD} --seeds 2 --labels 60 --round 10 --repeats 2": (
        "labels round rho worst_group_accuracy balanced_accuracy answers"
    ),
    "planted.py --seeds 1 --labels 100 --dim 16": "seeds dim verdicts",
    "pool.py --items 2000 --dim 32 --picks 100": (
        "open_s append_s idle_cpu_ms detect_s train_s select_s cover_s peak_gb select_gb disk_ratio webhook_p99_ms"
    ),
    "selection.py --items 1000 --dim 16 --budget 50 --repeats 1 --objective-items 300 --objective-budget 10": (
        "seconds peer_seconds peak_gb objective objective_above_random"
    ),
    "slow_host.py 1": "healthy_projects seconds_without seconds_with ratio",
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a table of labelled images with their vectors."""
    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    for number in range(16):
        picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        (folder / f"{number}.jpg").write_bytes(encode(picture, "JPEG"))
    labels, sites = rng.integers(0, 2, 600), rng.integers(0, 2, 600)
    vectors = rng.standard_normal((600, 8)) + 2 * np.stack([labels, sites] * 4, axis=1)
    np.save(folder / "vectors.npy", vectors.astype(np.float16))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["malignant", "site", "patient"])
        rows.writerows([labels[row], "ns"[sites[row]], f"p{row // 2}"] for row in range(len(labels)))
    return folder


def run(command: str, data: Path | str = "") -> subprocess.CompletedProcess[str]:
    script, *arguments = command.format(data=data).split()
    return subprocess.run(
        [sys.executable, TESTS / "benchmarks" / script, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=os.environ | {"PYTHONPATH": str(TESTS.parent)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", SMALL, ids=lambda command: " ".join(command.split()[:2]))
def test_a_benchmark_prints_one_line(command: str, data: Path) -> None:
    done = run(command, data)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(SMALL[command].split()) <= json.loads(done.stdout).keys()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("gpu.py --device meta", "'meta' cannot be used here"),
        ("gpus.py --device meta", "'meta' cannot be used here"),
        (
            f"label_noise.py {WORLD} --labels 9999",
            "--labels: 9999 images are to be labelled, and the pool",
        ),
    ],
)
@pytest.mark.slow
def test_what_a_benchmark_lacks_is_named_without_a_trace(command: str, why: str, data: Path) -> None:
    done = run(command, data)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr

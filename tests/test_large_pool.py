"""A pool of 100,000 tasks in a real Label Studio: connect, list, embed, one round, one label.

    pytest -m slow -n0 -s tests/test_large_pool.py      # CDSEL_TEST_TASKS=5000 for a smaller one

prints Label Studio's and the backend's CPU for each part as one JSON line. The images are read by CDSEL_IMAGE_ROOTS:
what is looked at is the listing, not how Label Studio hands out files.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from backend import Backend, eventually
from conftest import LABEL_CONFIG
from cpu import cpu_of
from PIL import Image

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space

TASKS = int(os.environ.get("CDSEL_TEST_TASKS", "100000"))
PICTURES = 500  # files; tasks share them
ROUND, PART = 20, 2500
PATIENCE = 120 + TASKS / 10  # seconds for each part, on a busy machine
SPACE = parse_label_space(LABEL_CONFIG)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="CPU is read from /proc")
def test_connect_list_one_round_one_label(studio: LocalStudio, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(images / f"{number}.png")
    client = LabelStudio(studio.url, studio.token)
    project = client.create_project(f"{TASKS} tasks", LABEL_CONFIG)
    for start in range(0, TASKS, PART):
        rows = range(start, min(TASKS, start + PART))
        client.import_tasks(
            project,
            [
                {"data": {"image": f"/data/local-files/?d=pool/{row % PICTURES}.png", "site": "ns"[row % 2]}}
                for row in rows
            ],
        )
    told: dict[str, float] = {"tasks": TASKS}
    roots = f"/data/local-files/pool={images}"
    with Backend(
        tmp_path, studio.url, studio.token, CDSEL_IMAGE_ROOTS=roots, CDSEL_POLL_SECONDS="5"
    ) as backend:
        before = {"at": time.perf_counter(), "studio": cpu_of(studio.pid), "own": cpu_of(backend.process.pid)}

        def part(name: str) -> None:
            now = {
                "at": time.perf_counter(),
                "studio": cpu_of(studio.pid),
                "own": cpu_of(backend.process.pid),
            }
            told.update({f"{name}_{key}": round(now[key] - before[key], 2) for key in now})
            before.update(now)

        settings = {"budget": ROUND, "round_size": ROUND, "view": "fast", "preannotate": False}
        client.connect_backend(project, backend.url, title="cdsel", extra_params=json.dumps(settings))

        def status(name: str, wanted: int) -> dict:
            def ask() -> dict | None:
                found = backend.status(project)
                return found if found and found[name] >= wanted else None

            return eventually(ask, f"{name} never was {wanted}", seconds=PATIENCE, details=backend.tail)

        status("items", TASKS)
        part("list")
        status("embedded", TASKS)
        part("embed")
        queue = status("open", ROUND)["queue_project"]
        part("round")
        task = client.next_task(queue)
        assert task is not None
        client.submit(task["id"], SPACE.result_for("benign"))
        found = status("labelled", 1)
        part("label")
        assert found["items"] == found["embedded"] == TASKS
        assert not found["unusable"]
        assert len(list(client.tasks(queue))) == ROUND
        # A label costs no listing of the pool.
        assert told["label_studio"] < max(5.0, told["list_studio"] / 4)
    client.request("DELETE", f"/api/projects/{project}/")
    print(json.dumps(told))

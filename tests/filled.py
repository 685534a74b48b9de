"""A project in the middle of its life: a real store, filled by the loop's own steps without a Label Studio."""

from __future__ import annotations

import csv
import hashlib
import http.server
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from conftest import LABEL_CONFIG
from serving import running

from cdsel_backend.demo.sample import IMAGE_COLUMN, LABEL_COLUMN, draw_sample
from cdsel_backend.labelstudio.queue import PUSHED
from cdsel_backend.reconcile import confounders, rounds, training
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.insight import explain
from cdsel_backend.reconcile.loop import lay_out
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State, Store
from cdsel_backend.store.activity import Activity, Step

POOL, QUEUE = 12, 13  # ids of Label Studio
STUDIO_URL = "http://127.0.0.1:9"  # nobody is there: the pages need it for links only
SIZE, ROUND, ROUNDS = 520, 100, 4
PICTURES = 40


@dataclass(frozen=True)
class Filled:
    """The store, our id of the project, and the truth by item."""

    server: ServerSettings
    store: Store
    project: int
    truth: dict[int, str]

    def state(self) -> State:
        return State(self.store, self.project)


@contextmanager
def images_served(folder: Path) -> Iterator[str]:
    """Serve a folder as an image server in the house would."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    serve = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, running(server) as address:
        yield address


def fill(folder: Path, address: str, images: Path) -> Filled:
    """A pool of drawn images with a confounded site: three rounds labelled, the fourth half."""
    server = ServerSettings(
        data_dir=folder, label_studio_url=STUDIO_URL, label_studio_api_key="token", image_hosts="127.0.0.1"
    )
    store = Store.open(server)
    rows = _rows(images)
    project = store.connect_project(
        STUDIO_URL,
        POOL,
        title="Skin lesions, two sites",
        label_config=LABEL_CONFIG,
        queue_project=QUEUE,
        layers={"extra parameters": {"budget": 450, "round_size": ROUND, "group": "patient_id"}},
        pool_synced_at=time.time(),
        queue_synced_at=time.time(),
        backbone="drawn",
    )
    hidden = (IMAGE_COLUMN, LABEL_COLUMN)
    store.sync_pool(
        project,
        [
            PoolTask(
                1000 + number,
                {"image": f"{address}/{row[IMAGE_COLUMN]}"}
                | {name: value for name, value in row.items() if name not in hidden},
                f"{address}/{row[IMAGE_COLUMN]}",
            )
            for number, row in enumerate(rows)
        ],
    )
    items = store.items(project)
    truth = {item.id: row[LABEL_COLUMN] for item, row in zip(items, rows, strict=True)}
    usable = [
        (item.id, hashlib.sha256(f"{item.id}".encode()).hexdigest(), vector)
        for item, vector in zip(items, _vectors(rows), strict=True)
    ]
    store.add_vectors("drawn", usable[:-2])
    store.note_unusable(
        [(usable[-2][0], "the JPEG file is truncated", 0.0), (usable[-1][0], "404: no such file", 0.0)]
    )
    context = Context(store, server, None)  # type: ignore[arg-type]  # none of the steps below calls Label Studio
    assert confounders.detect_confounders(context, State(store, project))
    labels = []
    for number in range(ROUNDS):
        assert rounds.select_round(context, State(store, project))
        waiting = State(store, project).waiting
        store.mark_selections(project, {row.item: {"queue_task": 5000 + row.rank} for row in waiting})
        done = waiting if number < ROUNDS - 1 else waiting[: ROUND // 2]
        labels += [
            {
                "annotation": row.rank,
                "item": row.item,
                "label": None if row.rank % 37 == 0 else truth[row.item],
                "problem": None,
                "skipped": row.rank % 37 == 0,
                "annotator": str(1 + row.rank % 3),
                "updated_at": f"2026-01-0{number + 1}",
                "seconds": 18.0 + 7 * (row.rank % 3) + row.rank % 11,
            }
            for row in done
        ]
        if not number:
            labels += second_readings(labels)
        store.replace_labels(project, QUEUE, labels)
        tasks = [5000 + row.rank for row in waiting]
        store.add_event(QUEUE, PUSHED, {"tasks": tasks}, handled=True, seconds=0.4)
        store.add_event(QUEUE, "ANNOTATION_CREATED", {"tasks": [5000 + row.rank for row in done[-1:]]})
        if number < ROUNDS - 1:
            confounders.detect_confounders(context, State(store, project))
            assert training.train(context, State(store, project))
            if number == ROUNDS - 2:  # the pages show the last one
                assert explain(context, State(store, project))
            confounders.update_report(context, State(store, project))
    answers = {"answers": 1, "withdrawn": 0, "images": 0}
    store.handle_events([event.id for event in store.open_events([POOL, QUEUE])], answers)
    state = State(store, project)
    while lay_out(context, state):
        pass
    context.show(state, Activity(Step.WAITING_FOR_LABELS, open=len(state.open)))
    return Filled(server, store, project, truth)


def second_readings(labels: list[dict[str, object]]) -> list[dict[str, object]]:
    """Older readings of thirty images by somebody else, every sixth of which says otherwise: the newer one counts."""
    other = {"benign": "malignant", "malignant": "benign"}
    return [
        row
        | {
            "annotation": 100_000 + int(str(row["annotation"])),
            "label": other[str(row["label"])] if place % 6 == 0 else row["label"],
            "annotator": "4",
            "updated_at": "2025-12-31",
        }
        for place, row in enumerate([row for row in labels if row["label"]][:30])
    ]


def _rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the pool; drawing takes time, so that several of them share a picture of their site and label."""
    with draw_sample(folder, n=PICTURES, seed=5).open(newline="", encoding="utf-8") as file:
        drawn = [row for row in csv.DictReader(file) if _whole(folder / row[IMAGE_COLUMN])]
    rng = np.random.default_rng(1)
    return [
        drawn[int(rng.integers(len(drawn)))]
        | {
            "sex": str(rng.choice(["female", "male"])),
            "age": str(rng.integers(20, 90)),
            "patient_id": f"P{n}",
        }
        for n in range(SIZE)
    ]


def _whole(path: Path) -> bool:
    return path.exists() and path.read_bytes().endswith(b"\xff\xd9")  # the JPEG end marker


def _vectors(rows: list[dict[str, str]]) -> np.ndarray:
    """What a backbone would give, in few dimensions: the site more than the lesion, and much that is neither."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(rows), 48))
    vectors[:, 0] += [2.6 if row["site"] == "riverside" else -2.6 for row in rows]
    vectors[:, 1] += [1.5 if row[LABEL_COLUMN] == "malignant" else -1.5 for row in rows]
    vectors[:, 2] *= 2.2
    return vectors.astype(np.float32)

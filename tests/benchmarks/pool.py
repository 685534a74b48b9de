"""How a pool of a million costs: open, append, idle pass, detect, train, select, memory, disk and webhooks.

    python tests/benchmarks/pool.py --items 1000000 --dim 384

prints one JSON line. Vectors are drawn, with a confounder that they show; there is no Label Studio: what is measured is
what the backend does with a pool that is embedded. `open_s`: the embedded items and their vectors, as a worker finds
them after a start. `append_s`: 1,000 more items with their vectors. `idle_cpu_ms`: CPU of one pass of the loop in which
nothing is due. `select_s`: a round where a confounder is associated with the label, so that chance decides inside the
strata; `cover_s`: one before any label, which covers the pool. `peak_gb`: the most memory the process had, mapped files
among it; `select_gb`: what the selection added to it. `disk_ratio`: vectors on disk over their size in float16.
`webhook_p99_ms`: while items are appended.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import insert

from cdsel_backend.project.embedded import read_pool
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train
from cdsel_backend.round import next_round
from cdsel_backend.selection import SelectionOptions
from cdsel_backend.server.inbox import Inbox
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State, Store, schema
from cdsel_backend.store.database import writing

CONFIG = (Path(__file__).parents[2] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
PART = 20_000
LABELS = 2_000
APPENDED = 1_000
IDLE = 20  # passes
REST_SECONDS = 900.0  # until nothing is due
CLASSES = ("benign", "malignant")


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def drawn(start: int, stop: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, sites and classes of items: both show in the vectors, and go together."""
    rng = np.random.default_rng(start)
    n = stop - start
    ill = rng.random(n) < 0.3
    north = rng.random(n) < np.where(ill, 0.8, 0.3)
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    vectors[:, 0] += 3 * north
    vectors[:, 1] += 2 * ill
    return vectors, north, ill


def fill(store: Store, project: int, n: int, dim: int) -> None:
    """The rows that the loop leaves after embedding n items."""
    for start in range(0, n, PART):
        stop = min(n, start + PART)
        vectors, north, _ = drawn(start, stop, dim)
        hashes = [digest(number) for number in range(start, stop)]
        positions = store.vectors_kept.append("b", hashes, vectors)
        rows = [
            {
                "project": project,
                "task": 1 + start + row,
                "image": f"/{start + row}.jpg",
                "data": {"image": f"/{start + row}.jpg", "site": "ns"[int(north[row])], "age": 20 + row % 70},
                "content_hash": hashes[row],
                "vector": int(positions[row]),
                "due_at": None,
            }
            for row in range(stop - start)
        ]
        with writing(store.engine) as connection:
            connection.execute(insert(schema.items), rows)
    store.update_project(project, pool_version=1, item_count=n, embedded_count=n)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def timed(results: dict[str, Any], name: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    results[f"{name}_s"] = time.perf_counter() - start
    results[f"{name}_cpu_s"] = time.process_time() - cpu
    results[f"{name}_peak_gb"] = peak_gb()
    gc.collect()


def answer(store: Store, project: int, n: int, dim: int) -> None:
    """Labels for some items, as if they had come from a queue."""
    rng = np.random.default_rng(1)
    items = np.sort(rng.choice(min(n, 200_000), min(LABELS, n // 4), replace=False)) + 1
    truth: dict[int, bool] = {}
    for start in range(0, min(n, 200_000), PART):
        _, _, ill = drawn(start, min(n, start + PART), dim)
        truth |= {start + 1 + row: bool(one) for row, one in enumerate(ill)}
    rows = [
        {
            "annotation": int(item),
            "item": int(item),
            "label": CLASSES[truth[int(item)]],
            "problem": None,
            "skipped": False,
            "annotator": "1",
            "updated_at": "2026-01-01",
        }
        for item in items
    ]
    store.replace_labels(project, 4, rows)


def webhooks(store: Store, work: Callable[[], None]) -> float:
    """The 99th percentile of what a webhook waits for, in ms, while the worker works."""
    inbox, took, done = Inbox(store), [], threading.Event()

    def send() -> None:
        while not done.is_set():
            start = time.perf_counter()
            inbox.add(3, "ANNOTATION_CREATED", {"tasks": [1]})
            took.append((time.perf_counter() - start) * 1000)
            time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return float(np.percentile(took, 99))


def idle(context: Context, project: int) -> bool:
    """A pass of the loop over a project that waits for its annotators; Label Studio is not due to be asked.

    Returns whether anything was done.
    """
    return reconcile(context, project)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", type=int, default=1_000_000)
    options.add_argument("--dim", type=int, default=384)
    options.add_argument("--picks", type=int, default=10_000)
    options.add_argument("--folder", type=Path, help="where to put the pool; a temporary folder if none")
    args = options.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        print(json.dumps({key: round(value, 3) for key, value in measure(Path(name), args).items()}))


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    results: dict[str, Any] = {"items": args.items, "dim": args.dim}
    server = ServerSettings(data_dir=folder, label_studio_api_key="0" * 40, poll_seconds=1e6)
    settings = {
        "budget": args.picks + LABELS,
        "round_size": args.picks,
        "retrain_every": 100_000,
        "training": "head",
        "preannotate": False,
    }
    store = Store.open(server)
    project = store.connect_project(
        "http://127.0.0.1:9",
        3,
        label_config=CONFIG,
        queue_project=4,
        backbone="b",
        layers={"extra parameters": settings},
    )
    fill(store, project, args.items, args.dim)
    now = time.time()
    store.update_project(project, pool_synced_at=now, queue_synced_at=now)
    size = store.vectors_kept.size_bytes("b")
    results["disk_ratio"] = size / (2 * args.dim * args.items)
    store.close()

    store = Store.open(server)
    context = Context(store, server, None)  # type: ignore[arg-type]  # no step below asks Label Studio
    with timed(results, "open"):
        first = next(iter(store.iter_vectors(project, "b")))
    assert first[1].shape[1] == args.dim

    def append() -> None:
        for start in range(args.items, args.items + APPENDED, 250):
            vectors, north, _ = drawn(start, start + 250, args.dim)
            tasks = [
                PoolTask(
                    1 + start + row, {"image": f"/{start + row}.jpg", "site": "ns"[int(north[row])]}, "/a.jpg"
                )
                for row in range(250)
            ]
            store.change_pool(project, tasks)
            due = store.without_vector(project, limit=250, now=time.time())
            assert len(due) == 250
            store.add_vectors(
                "b", [(item.id, digest(start + row), vectors[row]) for row, item in enumerate(due)]
            )

    with timed(results, "append"):
        results["webhook_p99_ms"] = webhooks(store, append)
    assert store.embedding_progress(project) == (args.items + APPENDED, 0, args.items + APPENDED)

    answer(store, project, args.items, args.dim)
    with timed(results, "detect"):
        assert detect_confounders(context, State(store, project))
    report = store.project(project).report
    assert report is not None
    results["detected"] = float(
        any(one["variable"] == "site" and one["verdict"] for one in report["findings"])
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with timed(results, "train"):
        store.add_event(3, "START_TRAINING", {})
        assert train(context, State(store, project))
    results["promoted"] = float(store.project(project).champion is not None)
    detect_confounders(context, State(store, project))
    before = peak_gb()
    with timed(results, "select"):
        assert select_round(context, State(store, project))
    results["select_gb"] = peak_gb() - before
    picked = store.selections(project)
    results["picked"] = len(picked)
    pool = read_pool(State(store, project), server)
    with timed(results, "cover"):
        covering = next_round(
            pool.round_pool,
            np.full(len(pool.ids), -1),
            np.zeros(len(pool.ids), dtype=bool),
            args.picks,
            strategy="confounder_aware",
            strength=0.5,
            probabilities=None,
            seed=1,
            options=SelectionOptions(),
        )
    assert len(covering) == args.picks
    del pool
    store.mark_selections(project, {row.item: {"queue_task": 10**6 + row.rank} for row in picked})
    now = time.time()
    store.update_project(project, pool_synced_at=now, queue_synced_at=now)
    # The network itself is not needed where nothing is to embed; the loop asks for its fingerprint.
    context.backbone = lambda settings: SimpleNamespace(fingerprint="b", problems=())  # type: ignore[method-assign,assignment]
    context.looked[project] = frozenset()  # a worker looks at Label Studio once after its start
    # It has taken in what webhooks asked for.
    store.handle_events([event.id for event in store.open_events(State(store, project).sources)], {})
    deadline = time.monotonic() + REST_SECONDS
    # Until then what is due after a round, such as the layout of the map, and what a process explains of the training.
    while idle(context, project) or context.trainings.running(project):
        if time.monotonic() > deadline:
            raise AssertionError("the loop does not come to rest")
        time.sleep(0.1)
    cpu = time.process_time()
    for _ in range(IDLE):
        idle(context, project)
    results["idle_cpu_ms"] = (time.process_time() - cpu) / IDLE * 1000
    results["peak_gb"] = peak_gb()
    store.close()
    return results


if __name__ == "__main__":
    main()

"""The backend under load; each command prints one JSON line, with the machine's load while it was measured.

    python tests/benchmarks/load.py webhooks [--rate 50] [--seconds 60]
    python tests/benchmarks/load.py predict [--pool 100000] [--requests 500]
    python tests/benchmarks/load.py projects [--projects 20] [--annotators 4]

`webhooks`: webhooks in an even stream to a `cdsel serve` that trains and selects meanwhile; milliseconds until the
answer, and how many were stored. `predict`: one task a request from a pool of vectors with a champion; milliseconds.
`projects`: a PostgreSQL, a `cdsel serve` and annotators who label in all projects at once; how long it took, how long
an annotator met no image in any queue, and what was lost, doubled or beyond the budget. Label Studio is the tests'
own, which answers at once: what is measured is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "reliability")]

import httpx
import numpy as np
from backend import Backend, eventually
from conftest import LABEL_CONFIG
from fake_studio import TOKEN, FakeStudio, fake_studio
from fire import CLASSES, SPACE
from inside import picture
from postgres import postgres
from sqlalchemy import func, select
from world import World, made

from cdsel_backend.store import State, Store, schema

FAST = {"view": "fast", "features": "last", "preannotate": False, "refill_at": 0.5}
HOOK = "ANNOTATION_UPDATED"


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """Half, 99 of 100, and all of them took no longer."""
    found = np.percentile(milliseconds, [50, 99, 100])
    return dict(zip(("p50_ms", "p99_ms", "max_ms"), (round(float(value), 1) for value in found), strict=True))


def webhooks(folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    """Send webhooks while the backend works."""
    with fake_studio() as studio:
        tasks = [{"image": picture(number), "site": "ns"[number % 3 > 0]} for number in range(300)]
        pool = studio.add_project("Pool", LABEL_CONFIG, tasks)
        label_all(studio, pool, random.Random(0))
        store = Store(f"sqlite:///{folder / 'cdsel.sqlite3'}")
        settings = FAST | {"budget": 600, "round_size": 20, "retrain_every": 5}
        project = store.connect_project(
            studio.url, pool, backend_url="http://127.0.0.1:9", layers={"extra parameters": settings}
        )
        with Backend(folder, studio.url, TOKEN, CDSEL_POLL_SECONDS="2") as backend:
            eventually(
                lambda: State(store, project).trainings, "no training", seconds=600, details=backend.tail
            )
            ended, trains, rng = threading.Event(), [0, 0], random.Random(1)

            def change() -> None:
                """Keep a training due, and see how often one runs."""
                while not ended.wait(0.25):
                    trains[0] += 1
                    trains[1] += store.training_runs(project)
                    if trains[0] % 8 == 0:
                        label_all(studio, pool, rng, share=0.05)

            thread = threading.Thread(target=change)
            thread.start()
            before = len(State(store, project).trainings)
            # In a process of its own: Label Studio's part, played in this one, would hold up who measures.
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:
                took, refused = apart.submit(stream_apart, backend.url, pool, rate, seconds).result()
            ended.set()
            thread.join()
            table = schema.events.c
            stored = select(func.count()).where(table.action == HOOK, table.source == pool)

            def count() -> int:
                with store.engine.connect() as connection:
                    return int(connection.scalar(stored) or 0)

            eventually(lambda: count() >= len(took), f"{count()} of {len(took)} are stored", seconds=60)
            return {
                "sent": len(took),
                "stored": count(),
                "refused": refused,
                **percentiles(took),
                "trainings": len(State(store, project).trainings) - before,
                "share_of_time_in_training": round(trains[1] / max(1, trains[0]), 2),
            }


def label_all(studio: FakeStudio, project: int, rng: random.Random, share: float = 1.0) -> None:
    """Label a share of a project's tasks, or say something else of them."""
    for task in studio.of(project):
        if rng.random() < share:
            result = SPACE.result_for(rng.choice(CLASSES))
            if task["annotations"]:
                studio.change_annotation(task["id"], task["annotations"][0]["id"], result)
            else:
                studio.submit(task["id"], result)


def stream_apart(url: str, project: int, rate: int, seconds: int) -> tuple[list[float], int]:
    """`stream`, in this process."""
    return asyncio.run(stream(url, project, rate, seconds))


async def stream(url: str, project: int, rate: int, seconds: int) -> tuple[list[float], int]:
    """Webhooks at even times, whether earlier ones are answered or not; milliseconds, and how many were refused."""
    took: list[float] = []
    refused = 0

    async def send(client: httpx.AsyncClient, number: int) -> None:
        nonlocal refused
        body = {
            "action": HOOK,
            "annotation": {"id": number, "result": [], "was_cancelled": False},
            "task": {"id": number, "data": {"image": "/a.png"}},
            "project": {"id": project},
        }
        begun = time.perf_counter()
        answer = await client.post(f"{url}/webhook", json=body)
        took.append(1000 * (time.perf_counter() - begun))
        refused += answer.status_code != 201

    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        begun, sent = time.monotonic(), []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            sent.append(asyncio.create_task(send(client, number + 1)))
        await asyncio.gather(*sent)
    return took, refused


def predict(folder: Path, size: int, requests: int) -> dict[str, Any]:
    """Ask for predictions of one task at a time."""
    vectors, metadata, labels = made()
    repeats = -(-size // len(labels))
    rng = np.random.default_rng(0)
    many = np.tile(vectors, (repeats, 24))[:size].astype(np.float32)
    many += rng.normal(scale=0.3, size=many.shape).astype(np.float32)
    world = World(folder, given=(many, (metadata * repeats)[:size], (labels * repeats)[:size]), budget=200)
    for _ in range(2):
        assert world.round()
    assert world.state().project.champion
    world.store.close()
    with Backend(folder, "http://studio", TOKEN, options=["--no-worker"]) as backend:
        took = []
        with httpx.Client(timeout=60) as client:
            for _ in range(requests + 1):
                task = {"id": 100 + int(rng.integers(size)), "data": {"image": "/1.jpg"}}
                body = {
                    "tasks": [task],
                    "project": "3.1700000000",
                    "label_config": LABEL_CONFIG,
                    "params": {},
                }
                begun = time.perf_counter()
                answer = client.post(f"{backend.url}/predict", json=body)
                took.append(1000 * (time.perf_counter() - begun))
                assert answer.status_code == 200, answer.text
                assert answer.json()["results"][0]["result"], answer.text
    return {"pool": size, "dimensions": many.shape[1], "first_ms": round(took[0], 1), **percentiles(took[1:])}


def projects(folder: Path, count: int, annotators: int) -> dict[str, Any]:
    """Label in many projects at once."""
    budget, images = 8, 12
    with postgres("cdsel") as port, fake_studio() as studio:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/cdsel"
        store = Store(url, folder / "vectors")
        ours = {}
        for number in range(count):
            tasks = [{"image": picture(100 * number + one), "site": "ns"[one % 2]} for one in range(images)]
            pool = studio.add_project(f"Pool {number}", LABEL_CONFIG, tasks)
            settings = FAST | {"budget": budget, "round_size": 4, "retrain_every": 4}
            ours[pool] = store.connect_project(
                studio.url, pool, backend_url="http://127.0.0.1:9", layers={"extra parameters": settings}
            )
        took: list[float] = []
        waited = [0.0] * annotators
        with Backend(folder, studio.url, TOKEN, CDSEL_DATABASE_URL=url) as backend:
            began, first, ended = time.monotonic(), [0.0], threading.Event()

            def label(number: int) -> None:
                """Take what comes next in any queue; each answer is a webhook."""
                rng = random.Random(number)
                with httpx.Client(timeout=60) as client:
                    while not ended.is_set():
                        with studio.lock:
                            queues = [one for one in studio.projects if one not in ours]
                            rng.shuffle(queues)
                            task = next(filter(None, map(studio.next, queues)), None)
                            if task is not None:
                                studio.submit(
                                    task["id"], SPACE.result_for(rng.choice(CLASSES)), user=1 + number % 2
                                )
                        if task is None:
                            waited[number] += 0.05 * bool(first[0])
                            ended.wait(0.05)
                            continue
                        first[0] = first[0] or time.monotonic()
                        hook = {
                            "action": "ANNOTATION_CREATED",
                            "annotation": {"id": 1},
                            "task": {"id": task["id"]},
                        }
                        begun = time.perf_counter()
                        client.post(
                            f"{backend.url}/webhook", json=hook | {"project": {"id": task["project"]}}
                        )
                        took.append(1000 * (time.perf_counter() - begun))
                        ended.wait(0.2)

            threads = [threading.Thread(target=label, args=(number,)) for number in range(annotators)]
            for thread in threads:
                thread.start()

            def labelled() -> int:
                return sum(len(State(store, one).labels) for one in ours.values())

            try:
                eventually(
                    lambda: labelled() == count * budget, "not all came", seconds=900, details=backend.tail
                )
                seconds = time.monotonic() - began
            finally:
                ended.set()
                for thread in threads:
                    thread.join()
        items = [task["data"]["cdsel_item"] for task in studio.tasks.values() if "cdsel_item" in task["data"]]
        return {
            "projects": count,
            "annotators": annotators,
            "labels": len(took),
            "seconds": round(seconds, 1),
            "to_the_first_image_s": round(first[0] - began, 1),
            "annotator_waited_s": round(max(waited), 1),
            "webhook": percentiles(took),
            "lost": count * budget - labelled(),
            "doubled": len(items) - len(set(items)),
            "beyond_the_budget": len(items) - count * budget,
        }


def main() -> None:
    """Measure one of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["webhooks", "predict", "projects"])
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pool", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--projects", type=int, default=20)
    parser.add_argument("--annotators", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdsel-load-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if given.what == "webhooks":
            found = webhooks(folder, given.rate, given.seconds)
        elif given.what == "predict":
            found = predict(folder, given.pool, given.requests)
        else:
            found = projects(folder, given.projects, given.annotators)
    load = round(os.getloadavg()[0], 1)
    print(
        json.dumps({"benchmark": f"load: {given.what}", **found, "load_1min": load, "cores": os.cpu_count()})
    )


if __name__ == "__main__":
    main()

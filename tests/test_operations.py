"""What keeps a backend under watch: /health, /metrics, the pulse of the workers."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from backend import eventually
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from world import POOL, World

from cdsel_backend.reconcile.worker import LONGEST_PAUSE, Worker
from cdsel_backend.server import health
from cdsel_backend.server.app import create_app
from cdsel_backend.server.metrics import HEADLINES, METRICS, metrics_table
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import schema
from cdsel_backend.store.database import writing
from cdsel_backend.store.pulses import DEAD_SECONDS, STUCK_SECONDS

ROOT = Path(__file__).parents[1]
STUDIO = "http://studio"


def settings(folder, **more) -> ServerSettings:
    return ServerSettings(data_dir=folder, label_studio_url=STUDIO, label_studio_api_key="0" * 40, **more)


def client_of(store, folder, **more):
    return create_app(settings(folder, **more), store).test_client()


def age(store, holder: str, **seconds: float) -> None:
    """Make a pulse as old as this."""
    with writing(store.engine) as connection:
        for name, by in seconds.items():
            column = schema.workers.c[name]
            connection.execute(
                update(schema.workers).values({name: column - by}).where(schema.workers.c.holder == holder)
            )


def test_health_is_up_before_a_worker_has_started(store, tmp_path):
    reply = client_of(store, tmp_path).get("/health")
    assert (reply.status_code, reply.json["status"]) == (200, "UP")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ({"alive_at": DEAD_SECONDS + 60, "moved_at": 0}, "No worker has been alive for 2 minutes"),
        ({"alive_at": 0, "moved_at": STUCK_SECONDS + 60}, "has been at one step for 16 minutes"),
    ],
)
def test_a_worker_that_died_or_hangs_is_seen(store, tmp_path, seconds, words):
    store.beat("host:1:a", moved=True)
    client = client_of(store, tmp_path)
    assert client.get("/health").status_code == 200
    age(store, "host:1:a", **seconds)
    reply = client.get("/health")
    assert (reply.status_code, reply.json["status"]) == (503, "DOWN")
    assert words in reply.json["problems"][0]
    store.beat("host:2:b", moved=True)  # another one took over
    assert (client.get("/health").status_code == 200) == ("alive" in words)


def test_a_clock_that_was_set_back_hides_neither_a_dead_worker_nor_one_that_hangs(store):
    for holder in ("dead", "hangs"):
        store.beat(holder, moved=True)
    age(store, "dead", alive_at=-86_400)
    age(store, "hangs", alive_at=-86_400, moved_at=-86_400)
    store.beat("hangs", moved=False)
    age(store, "hangs", moved_at=STUCK_SECONDS + 1)
    (pulse,) = store.pulses()
    assert pulse.holder == "hangs"
    assert pulse.stuck


def test_what_is_amiss_is_for_whoever_has_the_login(store, tmp_path):
    store.beat("host:1:a", moved=True)
    age(store, "host:1:a", alive_at=DEAD_SECONDS + 1)
    client = client_of(store, tmp_path, basic_auth_user="admin", basic_auth_pass="secret")
    reply = client.get("/health")
    assert reply.status_code == 503
    assert "problems" not in reply.json
    assert client.get("/health", auth=("admin", "wrong")).json.keys() == reply.json.keys()
    assert "No worker" in client.get("/health", auth=("admin", "secret")).json["problems"][0]
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", auth=("admin", "secret")).status_code == 200


def test_a_full_disk_and_a_database_that_is_gone_are_seen(store, tmp_path, monkeypatch):
    client = client_of(store, tmp_path)
    Usage = namedtuple("Usage", "total used free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 10**6))
        assert "has 1 MB left" in client.get("/health").json["problems"][0]
    with writing(store.engine) as connection:
        for table in (schema.workers, schema.facts):
            table.drop(connection)
    reply = client.get("/health")
    assert (reply.status_code, reply.json["status"]) == (503, "DOWN")
    assert "The database does not answer" in reply.json["problems"][0]


def test_a_database_that_hangs_is_seen_at_once_and_keeps_no_request_waiting(store, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(health, "HANGS_AFTER", 0.0)
    client, goes_on = client_of(store, tmp_path), threading.Event()
    monkeypatch.setattr(store, "pulses", lambda: goes_on.wait(60) and [])
    for _ in range(3):
        reply = client.get("/health")
        assert (reply.status_code, reply.json["status"]) == (503, "DOWN")
        assert "has not answered for" in reply.json["problems"][0]
    assert sum(thread.name == "health" for thread in threading.enumerate()) == 1
    reply = client.get("/projects")
    assert (reply.status_code, "has not answered for" in reply.text) == (503, True)
    goes_on.set()
    eventually(lambda: client.get("/health").status_code == 200, "it never went on")
    eventually(lambda: client.get("/projects").status_code == 200, "it never went on")


def test_a_worker_beats_while_it_runs_and_is_forgotten_when_it_ends(store, tmp_path):
    worker = Worker(settings(tmp_path, database=str(store.engine.url)))
    stop = threading.Event()
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    try:
        for _ in range(600):
            if store.pulses():
                break
            stop.wait(0.1)
        assert [one.holder for one in store.pulses()] == [worker.holder]
    finally:
        stop.set()
        running.join(60)
    assert store.pulses() == []


def test_a_project_that_fails_for_days_is_tried_once_a_minute(store, tmp_path):
    worker = Worker(settings(tmp_path, database=str(store.engine.url)))
    project = store.project(store.connect_project(STUDIO, POOL))
    worker.failures[project.id] = (1100, 0.0)  # after a night and a day
    begun = time.monotonic()
    worker._fail(project, "Label Studio does not answer")
    times, until = worker.failures[project.id]
    assert times == 1101
    assert until >= begun + LONGEST_PAUSE


def test_every_metric_of_a_project_is_there_and_says_what_the_store_says(tmp_path):
    world = World(tmp_path, budget=60, round_size=20)
    world.round()
    world.round()
    world.store.beat("host:1:a", moved=True)
    families = {
        family.name: family
        for family in text_string_to_metric_families(
            client_of(world.store, tmp_path).get("/metrics").data.decode()
        )
    }
    assert list(families) == [one.full_name for one in METRICS]
    state = world.state()
    values = {
        name: family.samples[0].value
        for name, family in families.items()
        if family.samples and family.samples[0].labels == {"project": str(POOL)}
    }
    assert values["cdsel_budget_images"] == 60
    assert values["cdsel_labelled_images"] == len(state.labels) > 0
    assert values["cdsel_queue_open_images"] == len(state.open)
    assert values["cdsel_budget_left_images"] == state.left
    assert values["cdsel_training_seconds"] > 0
    measured = state.versions[state.project.champion].metrics
    shown = {one.labels["metric"]: one.value for one in families["cdsel_model_accuracy"].samples}
    assert shown == {name: measured[name] for name in HEADLINES if measured[name] is not None}
    by_group = {one.labels["group"]: one.value for one in families["cdsel_model_group_accuracy"].samples}
    assert by_group == {one["group"]: one["accuracy"] for one in measured["groups"]}
    assert by_group
    assert {one.labels["state"]: one.value for one in families["cdsel_workers"].samples}["alive"] == 1


def test_the_readme_and_the_dashboard_file_know_every_metric():
    assert metrics_table() in (ROOT / "README.md").read_text(encoding="utf-8")
    board = (ROOT / "docker" / "grafana.json").read_text(encoding="utf-8")
    used = {word for one in METRICS for word in (one.full_name,) if word in board}
    assert used == {one.full_name for one in METRICS}
    asked = [target["expr"] for panel in json.loads(board)["panels"] for target in panel["targets"]]
    assert all("cdsel_" in expression for expression in asked)
    assert set(re.findall(r"cdsel_\w+", " ".join(asked))) == used, "nothing is shown that is no metric"

"""A small project in a store, and its pages: what the tests of the pages begin with, and what they ask and post."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from filled import POOL, QUEUE, STUDIO_URL

from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, Selected, State

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="label" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices></View>'
)


@pytest.fixture
def project(store):
    return store.connect_project(
        STUDIO_URL,
        POOL,
        title="Cats <script>alert(1)</script> & dogs",
        label_config=CONFIG,
        queue_project=QUEUE,
        layers={"extra parameters": {"budget": 30}},
    )


@pytest.fixture
def client(store, tmp_path):
    return create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store).test_client()


def token_of(client) -> str:
    page = client.get(f"/projects/{POOL}/settings").text
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def post(client, path, **values):
    fields = {"csrf_token": token_of(client), **values}
    return client.post(f"/projects/{POOL}{path}", data=fields)


def rows_of(answer):
    """The rows of a CSV file."""
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    return list(csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))))


def cells(client, name):
    """The rows of one of the tables."""
    return rows_of(client.get(f"/projects/{POOL}/tables/{name}.csv"))


def embedded(store, project, n=6, **data):
    tasks = [
        PoolTask(100 + i, {"image": f"/{i}.jpg", "site": "ab"[i % 2], **data}, f"/{i}.jpg") for i in range(n)
    ]
    store.sync_pool(project, tasks)
    items = [row.id for row in store.items(project) if not row.gone]
    vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    if store.project(project).backbone != "b":
        store.start_backbone(project, "b")
    store.add_vectors("b", [(item, f"{item:064d}", v) for item, v in zip(items, vectors, strict=True)])
    return items


def push(store, project, items, *, sentence="because"):
    state = State(store, project)
    first = max((row.rank for row in state.selections), default=0) + 1
    number = len(state.rounds) + 1
    chosen = [Selected(item, rank, 1.0, sentence, {}) for rank, item in enumerate(items, start=first)]
    store.add_round(project, number, chosen, strategy="random", seed=0, model_version=None)
    store.mark_selections(project, {item: {"queue_task": 500 + item} for item in items})


def label(store, project, labels):
    rows = [
        {
            "annotation": item,
            "item": item,
            "label": name,
            "problem": None,
            "skipped": name is None,
            "annotator": "7",
            "updated_at": "2026-01-01",
        }
        for item, name in labels.items()
    ]
    store.replace_labels(project, QUEUE, rows)

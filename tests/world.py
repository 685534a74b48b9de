"""A project in the store with a confounded pool of vectors, and an annotator who knows the truth; no Label Studio."""

from __future__ import annotations

import numpy as np
from conftest import LABEL_CONFIG

from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.learn import detect_confounders, train
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State, Store

POOL, QUEUE, SIZE = 3, 4, 160


class World:
    """A pool of synthetic vectors with a confounded site, and an annotator who knows the truth."""

    def __init__(self, folder, **settings):
        self.server = ServerSettings(data_dir=folder, label_studio_api_key="0" * 40)
        self.store = Store(self.server.database_url)
        self.context = Context(self.store, self.server, None)  # no step below calls Label Studio
        self.project = self.store.connect_project(
            "http://studio",
            POOL,
            label_config=LABEL_CONFIG,
            queue_project=QUEUE,
            backbone="b",
            layers={"extra parameters": {"budget": 60, "round_size": 20, "retrain_every": 1000, **settings}},
        )
        rng = np.random.default_rng(1)
        malignant = np.arange(SIZE) % 2 == 0
        north = rng.random(SIZE) < np.where(malignant, 0.8, 0.2)
        self.vectors = rng.normal(size=(SIZE, 16))
        self.vectors[:, 0] += 3 * north
        self.vectors[:, 1] += 3 * malignant
        tasks = [
            PoolTask(
                100 + i,
                {"image": f"/{i}.jpg", "site": "north" if north[i] else "south", "id": f"x{i}"},
                f"/{i}.jpg",
            )
            for i in range(SIZE)
        ]
        self.store.sync_pool(self.project, tasks)
        items = self.store.items(self.project)
        self.store.add_vectors("b", [(row.id, f"{i:064}", self.vectors[i]) for i, row in enumerate(items)])
        self.truth = {row.id: "malignant" if malignant[i] else "benign" for i, row in enumerate(items)}
        self.labels = {}

    def state(self):
        return State(self.store, self.project)

    def step(self, function):
        return function(self.context, self.state())

    def push(self):
        rows = self.state().waiting
        self.store.mark_selections(self.project, {row.item: {"queue_task": 900 + row.rank} for row in rows})

    def label(self, items, *, at="2026-01-01", wrong=False):
        other = {"benign": "malignant", "malignant": "benign"}
        for item in items:
            label = self.truth[item]
            self.labels[item] = (other[label] if wrong else label, at)
        rows = [
            {
                "annotation": item,
                "item": item,
                "label": label,
                "problem": None,
                "skipped": False,
                "annotator": "1",
                "updated_at": at,
            }
            for item, (label, at) in self.labels.items()
        ]
        self.store.replace_labels(self.project, QUEUE, rows)

    def round(self):
        self.step(detect_confounders)
        assert self.step(select_round)
        self.push()
        self.label(self.state().open)
        self.step(detect_confounders)
        return self.step(train)

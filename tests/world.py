"""A project in the store with a confounded pool of vectors, and an annotator who knows the truth; no Label Studio."""

from __future__ import annotations

import numpy as np
from conftest import LABEL_CONFIG

from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State, Store

POOL, QUEUE, SIZE = 3, 4, 160


def made():
    """Vectors, metadata and labels; the site goes with the label."""
    rng = np.random.default_rng(1)
    malignant = np.arange(SIZE) % 2 == 0
    north = rng.random(SIZE) < np.where(malignant, 0.8, 0.2)
    vectors = rng.normal(size=(SIZE, 16))
    vectors[:, 0] += 3 * north
    vectors[:, 1] += 3 * malignant
    metadata = [{"site": "north" if north[i] else "south", "id": f"x{i}"} for i in range(SIZE)]
    return vectors, metadata, ["malignant" if one else "benign" for one in malignant]


def rows_of(labels):
    """Rows of the label table, by one annotator; `labels`: item -> (label, when it was given)."""
    return [
        {
            "annotation": item,
            "item": item,
            "label": label,
            "problem": None,
            "skipped": False,
            "annotator": "1",
            "updated_at": at,
        }
        for item, (label, at) in labels.items()
    ]


class World:
    """A pool of vectors and an annotator who knows the truth: `given`, or synthetic ones with a confounded site."""

    def __init__(self, folder, *, given=None, **settings):
        self.server = ServerSettings(data_dir=folder, label_studio_api_key="0" * 40)
        self.store = Store.open(self.server)
        self.context = Context(self.store, self.server, None)  # no step below calls Label Studio
        self.project = self.store.connect_project(
            "http://studio",
            POOL,
            label_config=LABEL_CONFIG,
            queue_project=QUEUE,
            backbone="b",
            layers={
                "extra parameters": {"budget": 60, "round_size": 20, "retrain_every": 1000, "refill_at": 0}
                | settings
            },
        )
        self.vectors, metadata, labels = made() if given is None else given
        self.store.sync_pool(
            self.project,
            [
                PoolTask(100 + i, {"image": f"/{i}.jpg", **data}, f"/{i}.jpg")
                for i, data in enumerate(metadata)
            ],
        )
        items = self.store.items(self.project)
        self.store.add_vectors("b", [(row.id, f"{i:064}", self.vectors[i]) for i, row in enumerate(items)])
        self.truth = {row.id: label for row, label in zip(items, labels, strict=True)}
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
        rows = rows_of(self.labels)
        self.store.replace_labels(self.project, QUEUE, rows)

    def round(self):
        self.step(detect_confounders)
        assert self.step(select_round)
        self.push()
        self.label(self.state().open)
        self.step(detect_confounders)
        return self.step(train)

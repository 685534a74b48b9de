"""A backend's books on a pool project of a real Label Studio: its images are embedded, and no worker runs beside it."""

from __future__ import annotations

import json

import httpx
from conftest import LABEL_CONFIG
from world import World, made

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import sync
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State

SPACE = parse_label_space(LABEL_CONFIG)


class Embedded:
    """Stands for the backbone that all of the pool's vectors are of."""

    fingerprint = "b"
    problems = ()


def make_pool(studio, label_config=LABEL_CONFIG, images=40):
    """A pool project of images that nobody needs to read; returns its number."""
    client = LabelStudio(studio.url, studio.token)
    pool = client.create_project("Books", label_config)
    client.update_project(pool, min_annotations_to_start_training=1000)  # nothing here is about models
    _, metadata, _ = made()
    client.import_tasks(
        pool, [{"data": {"image": f"/{i}.jpg", **data}} for i, data in enumerate(metadata[:images])]
    )
    return pool


class Desk:
    """A data folder, and what its backend does on a pool project when it is asked to go on."""

    def __init__(self, studio, pool, folder, *, address="http://127.0.0.1:9", **settings):
        self.world = World(folder)
        self.store = self.world.store
        server = ServerSettings(data_dir=folder, public_url=address)
        self.context = Context(self.store, server, LabelStudio(studio.url, studio.token))
        self.client = self.context.studio
        self.project = self.store.connect_project(
            studio.url,
            pool,
            title="Books",
            label_config=self.client.project(pool)["label_config"],
            backbone="b",
            layers={
                "extra parameters": {"budget": 12, "round_size": 6, "retrain_every": 1000, **settings},
            },
        )
        own = self.state().settings
        self.context.backbones[own.backbone, own.backbone_weights, own.features, own.view] = Embedded()

    def state(self):
        return State(self.store, self.project)

    def look(self):
        """Look at Label Studio now."""
        self.store.update_project(self.project, pool_synced_at=0.0, queue_synced_at=0.0)
        assert sync(self.context, self.state())
        return self.state()

    def go_on(self):
        """Look, and do everything that is due; returns the state at rest."""
        self.look()
        for _ in range(60):
            items = [row for row in self.store.items(self.project) if row.content_hash is None]
            vectors = self.world.vectors
            self.store.add_vectors("b", [(row.id, f"{row.id:064}", vectors[row.id % 160]) for row in items])
            if not reconcile(self.context, self.project):
                return self.state()
        raise AssertionError("it never rests")

    def tasks(self, queue=None, *, answered=None):
        """The tasks of a queue, perhaps those with or without annotations only."""
        queue = queue or self.state().project.queue_project
        listed = list(self.client.tasks(queue, with_annotations=True))
        return [task for task in listed if answered is None or bool(task["annotations"]) is answered]

    def write_half_a_character(self, task):
        """Make Label Studio fail at a task."""
        write_half_a_character(self.client, task)

    def submit(self, task, label="benign", **options):
        return self.client.submit(task["id"], SPACE.result_for(label), **options)

    def said(self, action):
        """The sentences of the events of a kind, newest first."""
        return [
            event.payload["sentence"]
            for event in self.store.events(self.state().sources)
            if event.action == action
        ]


def write_half_a_character(client, task):
    """Make Label Studio fail at a task: also at the answer to this request, but the task is written by then."""
    headers = {**client.signature(), "Content-Type": "application/json"}
    content = json.dumps({"data": {**task["data"], "note": "\ud800"}})
    httpx.patch(f"{client.url}/api/tasks/{task['id']}/", content=content, headers=headers, timeout=60)


def account(browser, studio, email):
    """An account of its own, as somebody who was invited signs up."""
    known = {one["email"] for one in browser.get("/api/users/").json()}
    if email not in known:
        made = browser.post("/api/users/", json={"email": email, "username": email.partition("@")[0]})
        assert made.status_code == 201, made.text

"""The pool of Label Studio is listed as it changes: everything that people do there comes in, and little is asked."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from conftest import LABEL_CONFIG
from counting import Counting

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.reconcile import listing, queue_listing
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import list_tasks
from cdsel_backend.reconcile.listing import find_gone
from cdsel_backend.reconcile.queue_listing import KEPT_FROM, QueueListing, tasks_of_queue
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

CHOICE = {"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": ["benign"]}}


@pytest.mark.parametrize(("n", "lost"), [(1, 1), (5, 0), (1000, 1), (5000, 7), (5000, 0)])
def test_what_is_gone_is_found_by_counting(n: int, lost: int) -> None:
    rng = random.Random(n)
    known = sorted(rng.sample(range(10 * n), n))
    gone = set(rng.sample(known, lost))
    there = [one for one in known if one not in gone]
    asked = []

    def count(low: int, high: int) -> int:
        asked.append((low, high))
        return sum(low <= one <= high for one in there)

    found = find_gone(known, count)
    assert found is not None
    assert set(found) == gone
    assert len(asked) <= 1 + lost * 28


def test_where_too_many_are_gone_or_some_are_unknown_all_is_listed() -> None:
    known = list(range(10_000))
    assert find_gone(known, lambda low, high: (high - low + 1) // 2) is None
    assert find_gone(known, lambda low, high: high - low + 2) is None


def test_whatever_is_done_in_label_studio_comes_in_without_a_full_listing(
    studio: LocalStudio, browser: httpx.Client, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Counting(studio.url, studio.token)
    project = client.create_project("a pool that changes", LABEL_CONFIG)
    tasks = client.import_tasks(project, [{"data": {"image": f"/{n}.png", "age": n}} for n in range(60)])
    ours = store.connect_project(studio.url, project, label_config=LABEL_CONFIG)
    context = Context(store, ServerSettings(data_dir=tmp_path, label_studio_api_key="0" * 40), client)
    # Of this small pool nothing is so old that it is not listed again, or so many that they are looked for.

    def overlap(seconds: float) -> None:
        monkeypatch.setattr("cdsel_backend.labelstudio.changes.OVERLAP", timedelta(seconds=seconds))

    overlap(0)
    monkeypatch.setattr(listing, "PART", 25)

    def look() -> int:
        client.listed = 0
        state = State(store, ours)
        list_tasks(context, state, space_of(state))
        return client.listed

    def pool() -> dict[int, dict]:
        return {row.task: dict(row.data) for row in store.items(ours) if not row.gone}

    def labels() -> dict[int, tuple[str | None, bool]]:
        task_of = {row.id: row.task for row in store.items(ours)}
        return {task_of[one.item]: (one.label, one.skipped) for one in store.labels(ours)}

    assert look() == 60
    assert set(pool()) == set(tasks)
    assert look() <= 1
    overlap(2)
    store.set_fact(f"listing of project {ours}", None)
    assert look() == 60
    assert look() > 1, "a slow transaction might still bring in something older"
    time.sleep(2.1)
    look()
    assert look() == 0, "no more"
    overlap(0)

    (new,) = client.import_tasks(project, [{"data": {"image": "/new.png", "age": 99}}])
    assert look() <= 2
    assert pool()[new] == {"image": "/new.png", "age": 99}

    edited, answered, skipped, moved, deleted = tasks[3], tasks[10], tasks[20], tasks[30], tasks[40]
    client.send("PATCH", f"/api/tasks/{edited}/", {"data": {"image": "/3.png", "age": 1000}})
    first = client.submit(answered, [CHOICE])
    client.submit(skipped, [], skip=True)
    client.send("PATCH", f"/api/tasks/{moved}/", {"data": {"image": "/moved.png", "age": 30}})
    assert look() <= 6
    assert pool()[edited]["age"] == 1000
    assert pool()[moved]["image"] == "/moved.png"
    assert labels() == {answered: ("benign", False), skipped: (None, True)}

    changed = {**CHOICE, "value": {"choices": ["malignant"]}}
    client.send("PATCH", f"/api/annotations/{first}/", {"result": [changed]})
    assert look() <= 2
    assert labels()[answered] == ("malignant", False)
    client.request("DELETE", f"/api/annotations/{first}/")
    assert look() <= 2
    assert labels() == {skipped: (None, True)}

    for task in (deleted, skipped):
        client.request("DELETE", f"/api/tasks/{task}/")
    (later,) = client.import_tasks(project, [{"data": {"image": "/later.png", "age": 7}}])
    assert look() <= 3, "deletions are found by counting"
    assert set(pool()) == ({*tasks, new, later} - {deleted, skipped})
    assert labels() == {}
    assert store.embedding_progress(ours)[2] == 60

    client.request("DELETE", f"/api/tasks/{later}/")
    (again,) = client.import_tasks(project, [{"data": {"image": "/again.png", "age": 8}}])
    assert look() <= 3, "SQLite gives the number of what was deleted last again"
    assert pool()[again]["image"] == "/again.png"
    assert len(pool()) == 60

    # Another labeling config reads what is known already anew.
    store.update_project(ours, label_config=LABEL_CONFIG.replace("benign", "harmless"))
    assert look() == 60
    browser.delete(f"/api/projects/{project}")


def test_a_long_queue_is_listed_as_it_changes(studio: LocalStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Counting(studio.url, studio.token)
    queue = client.create_project("a queue that changes", LABEL_CONFIG)
    tasks = client.import_tasks(queue, [{"data": {"image": f"/{n}.png"}} for n in range(40)])
    monkeypatch.setattr("cdsel_backend.labelstudio.changes.OVERLAP", timedelta(seconds=0))
    kept: dict[int, QueueListing] = {}

    def look() -> int:
        """How many tasks were listed to know what the queue holds."""
        client.listed = 0
        known = tasks_of_queue(kept, client, queue, KEPT_FROM)
        listed = client.listed
        assert known == (list(client.tasks(queue, with_annotations=True)), set())
        return listed

    assert look() == 40
    assert look() <= 1
    first = client.submit(tasks[10], [CHOICE])
    client.submit(tasks[20], [], skip=True)
    client.update_task(tasks[30], {"image": "/moved.png"})
    client.import_tasks(queue, [{"data": {"image": "/new.png"}}])
    assert look() <= 5
    client.update_annotation(first, [{**CHOICE, "value": {"choices": ["malignant"]}}])
    assert look() <= 2
    client.request("DELETE", f"/api/annotations/{first}/")
    assert look() <= 2

    client.delete_task(tasks[5])
    assert look() >= 40, "the numbers disagree"
    assert look() <= 1
    (last,) = client.import_tasks(queue, [{"data": {"image": "/last.png"}}])
    look()
    client.delete_task(last)
    client.import_tasks(queue, [{"data": {"image": "/in its place.png"}}])
    assert look() <= 2, "SQLite gives the number again"

    monkeypatch.setattr(queue_listing, "LIST_WHOLE_SECONDS", 0.0)
    assert look() == 41
    assert tasks_of_queue(kept, client, queue, KEPT_FROM - 1)[0] == list(
        client.tasks(queue, with_annotations=True)
    )
    assert kept == {}, "a short queue is listed whole, and not kept"


def test_a_queue_that_was_restored_is_listed_whole(
    studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tasks as before, but the last change is an earlier one than was seen."""
    monkeypatch.setattr("cdsel_backend.labelstudio.changes.OVERLAP", timedelta(seconds=0))
    client = Counting(studio.url, studio.token)
    queue = client.create_project("a queue that was restored", LABEL_CONFIG)
    client.import_tasks(queue, [{"data": {"image": f"/{n}.png"}} for n in range(5)])
    kept: dict[int, QueueListing] = {}
    tasks_of_queue(kept, client, queue, KEPT_FROM)
    (listing_now,) = kept.values()
    _, *rest = json.loads(listing_now.watermark)
    later = datetime.now(timezone.utc) + timedelta(seconds=30)
    listing_now.watermark = json.dumps([later.isoformat(), *rest])
    listing_now.tasks[min(listing_now.tasks)] = b"what it was before"
    assert tasks_of_queue(kept, client, queue, KEPT_FROM)[0] == list(
        client.tasks(queue, with_annotations=True)
    )

"""A task whose picture was replaced after it was labelled or pushed is named; one that only moved is not."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from desk import Desk, make_pool
from PIL import Image
from world import QUEUE, World, rows_of

from cdsel_backend.project.content_history import remember_tasks
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile import replacements
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.store import PoolTask
from cdsel_backend.store.facts import REPEATS_FACT


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    assert world.step(select_round)
    world.push()
    world.label(sorted(world.state().open)[:5])
    return world


def patch(world, item, digest):
    """Another address in the pool project, read at the next step."""
    row = world.store.items_by_id([item])[item]
    task = PoolTask(row.task, {**row.data, "image": f"/new{item}.jpg"}, f"/new{item}.jpg")
    remember_tasks(world.state(), [task])
    world.store.change_pool(world.project, [task])
    world.store.add_vectors("b", [(item, digest, np.ones(16, dtype=np.float32))])
    replacements.compare(world.state(), {item: digest})
    replacements.report(world.state())
    return row.task


def messages(world):
    return world.state().project.problems.get(replacements.ORIGIN, [])


def test_a_label_of_a_former_picture_is_named_until_it_is_given_anew(world):
    state = world.state()
    first, second = sorted(state.labels)[:2]
    waiting = min(state.open)
    free = next(row.id for row in world.store.items(world.project) if row.id not in state.pushed)
    same = world.store.items_by_id([second])[second].content_hash
    tasks = {item: patch(world, item, digest) for item, digest in ((first, "f" * 64), (second, same))}
    patch(world, free, "e" * 64)
    (message,) = messages(world)
    assert f"the picture of task {tasks[first]} in the pool was replaced" in message
    assert "the label is of the former picture" in message
    task = patch(world, waiting, "d" * 64)
    assert f"the picture of task {task} in" in messages(world)[1]
    assert "somebody has begun to label" in messages(world)[1]
    world.label([first], at="2999-01-01T00:00:00Z")
    replacements.report(world.state())
    (left,) = messages(world)
    assert f"the picture of task {task} in" in left
    # Whoever was at it has submitted what she saw: it is newer than the picture, and still of the former one.
    world.label([waiting], at="2999-01-01T00:00:00Z")
    replacements.report(world.state())
    (left,) = messages(world)
    assert f"the picture of task {task} in" in left
    assert "the label is of the former picture" in left
    world.label([waiting], at="2999-01-02T00:00:00Z")
    replacements.report(world.state())
    assert messages(world) == []


def test_a_file_of_a_source_outside_label_studio_that_is_written_anew_is_another_picture(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    world = World(tmp_path / "data")
    source = world.store.add_source(world.project, str(folder), {})
    list(take_in(world.store, source, tmp_path / "data"))

    def read():
        items = world.store.items_by_key(source.id, ["a.png", "b.png", "c.png"])
        found = {
            row.id: hashlib.sha256((folder / key).read_bytes()).hexdigest() for key, row in items.items()
        }
        world.store.add_vectors(
            "b", [(item, digest, np.ones(16, np.float32)) for item, digest in found.items()]
        )
        return {key: row.id for key, row in items.items()}, found

    items, _ = read()
    given = {items[name]: ("benign", "2026-01-01") for name in ("a.png", "b.png")}
    world.store.replace_labels(world.project, QUEUE, rows_of(given))
    for name in ("a.png", "c.png"):
        Image.new("RGB", (9, 9), "white").save(folder / name)
    os.utime(folder / "b.png", (1, 1))  # copied anew
    assert list(take_in(world.store, source, tmp_path / "data", again=True))[-1] == (3, 0, 3)
    replacements.compare(world.state(), read()[1])
    replacements.report(world.state())
    (message,) = messages(world)
    assert message.startswith(
        "the picture of a.png in the pool was replaced by another after it was labelled"
    )


def test_an_open_task_with_a_former_picture_leaves_the_queue_and_comes_back_with_the_new_one(
    studio, tmp_path
):
    desk = Desk(studio, make_pool(studio, images=30), tmp_path)
    state = desk.go_on()
    shown, begun, done, *_ = desk.tasks()
    desk.submit(done)
    draft = {"result": [], "lead_time": 1.0, "task": begun["id"]}
    desk.client.send("POST", f"/api/tasks/{begun['id']}/drafts", draft)
    desk.look()
    items = {row.task: row.id for row in state.items}
    ours = {task["id"]: items[task["data"]["cdsel_item"]] for task in (shown, begun, done)}
    for number, task in enumerate((shown, begun, done)):
        data = {"image": f"/new{number}.jpg", "site": task["data"]["site"], "id": task["data"]["id"]}
        desk.client.send("PATCH", f"/api/tasks/{task['data']['cdsel_item']}/", {"data": data})
    desk.look()
    read = {item: f"{number}" * 64 for number, item in enumerate(ours.values())}
    desk.store.add_vectors("b", [(item, digest, np.ones(16, np.float32)) for item, digest in read.items()])
    replacements.compare(desk.state(), read)
    state = desk.go_on()
    assert (len(state.open), len(state.labels), len(state.used)) == (5, 1, 6)
    addresses = {items[task["data"]["cdsel_item"]]: task["data"]["image"] for task in desk.tasks()}
    assert len(addresses) == 6
    assert addresses[ours[shown["id"]]] == "/new0.jpg"
    assert addresses[ours[begun["id"]]] != "/new1.jpg", "somebody has begun with it"
    (words,) = desk.said("TASKS_WITHDRAWN")
    assert words.startswith("1 image was taken out of the queue, which showed the former picture")
    labelled, waits = messages(desk)
    assert f"task {done['data']['cdsel_item']} " in labelled
    assert f"task {begun['data']['cdsel_item']} " in waits


@pytest.mark.slow
def test_a_task_whose_picture_moved_in_the_pool_shows_it_by_the_new_address(studio, tmp_path):
    desk = Desk(studio, make_pool(studio, images=30), tmp_path)
    state = desk.go_on()
    waits, begun, done, other, *_ = desk.tasks()
    desk.submit(done)
    draft = {"result": [], "lead_time": 1.0, "task": begun["id"]}
    desk.client.send("POST", f"/api/tasks/{begun['id']}/drafts", draft)
    desk.look()
    items = {row.task: row for row in state.items}
    moved = {task["id"]: items[task["data"]["cdsel_item"]] for task in (waits, begun, done)}
    for task in (waits, begun, done):
        number, data = task["data"]["cdsel_item"], task["data"]
        data = {"image": f"s3://new/{number} ü.jpg", "site": data["site"], "id": data["id"]}
        desk.client.send("PATCH", f"/api/tasks/{number}/", {"data": data})
    desk.look()
    read = {item.id: item.content_hash for item in moved.values()}  # the same pictures
    desk.store.add_vectors("b", [(item, digest, np.ones(16, np.float32)) for item, digest in read.items()])
    replacements.compare(desk.state(), read)
    before = {task["id"]: task["data"] for task in desk.tasks()}
    state = desk.go_on()
    after = {task["id"]: task for task in desk.tasks()}
    assert after.keys() == before.keys()
    for task, item in moved.items():
        signed = f"/tasks/{item.task}/presign/?fileuri="  # Label Studio signs through the task of the pool
        assert after[task]["data"]["image"].startswith(signed)
        assert after[task]["data"] == before[task] | {"image": after[task]["data"]["image"]}, (
            "all else is as it was"
        )
    assert after[other["id"]]["data"] == other["data"]
    assert len(after[done["id"]]["annotations"]) == 1
    assert len(desk.client.task(begun["id"], state.project.queue_project)["drafts"]) == 1
    assert (len(state.open), len(state.labels)) == (5, 1)
    (words,) = desk.said("TASKS_MOVED")
    assert words.startswith("3 tasks show their images by the new address")
    assert messages(desk) == []
    replacements.compare(desk.state(), read)
    desk.go_on()
    assert len(desk.said("TASKS_MOVED")) == 1


def test_two_changes_before_a_look_count_from_what_was_labelled(world):
    item = min(world.state().labels)
    row = world.store.items_by_id([item])[item]
    for name in ("/a.jpg", "/b.jpg"):
        task = PoolTask(row.task, {**row.data, "image": name}, name)
        remember_tasks(world.state(), [task])
        world.store.change_pool(world.project, [task])
    replacements.compare(world.state(), {item: row.content_hash})
    assert messages(world) == []


def test_one_of_two_tasks_with_the_same_image_is_selected(tmp_path):
    world = World(tmp_path, budget=200, round_size=200)
    rows = world.store.items(world.project)
    twice = [PoolTask(5000 + n, {**row.data, "id": f"y{n}"}, row.image) for n, row in enumerate(rows[:10])]
    other = PoolTask(
        6000, {**rows[0].data, "image": "/other.jpg"}, "/other.jpg"
    )  # the same content elsewhere
    world.store.change_pool(world.project, [*twice, other])
    for row in world.store.items(world.project)[len(rows) :]:
        first = next(
            one
            for one in rows
            if (one.data["site"] == row.data["site"] and one.image == row.image) or row.task == 6000
        )
        world.store.add_vectors("b", [(row.id, first.content_hash, world.vectors[0])])
    world.truth |= {row.id: "benign" for row in world.store.items(world.project)[len(rows) :]}
    assert world.step(select_round)
    chosen = {row.item for row in world.state().selections}
    images = [row.image for row in world.store.items(world.project) if row.id in chosen]
    assert len(images) == len(set(images)) == len(rows)
    assert world.store.fact(REPEATS_FACT.format(world.project)) == 11
    world.push()
    world.label(world.state().open)
    assert not world.step(select_round), "what shows the same as a labelled image is not free"

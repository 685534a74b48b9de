"""What pages say is wrong: since when, dismissed by an admin, and gone once whoever looks finds it gone."""

from __future__ import annotations

import re
import shutil
import time

import pytest
from conftest import LABEL_CONFIG
from filled import STUDIO_URL
from world import POOL as WORLD_POOL
from world import World

from cdsel_backend.pool.browser import surely_hidden
from cdsel_backend.reconcile.loop import check_settings
from cdsel_backend.reconcile.queues import delivery_problems
from cdsel_backend.reconcile.training_process import NOTHING_NEW, train_apart
from cdsel_backend.reconcile.worker import Worker
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.activity import Request
from cdsel_backend.store.pool_tasks import PoolTask
from cdsel_backend.store.problems import NamedTask

POOL = 12


def test_a_problem_has_a_since_is_dismissed_and_comes_back_when_it_occurs_anew(store):
    project = store.connect_project("http://studio", 1, problems={"extra parameters": ["budget: no number"]})
    before = time.time()
    store.note_problems(project, "worker", ["away", "late"])

    def shown():
        return {one.message: one for one in State(store, project).problems}

    assert shown().keys() == {"budget: no number", "away", "late"}
    since = shown()["away"].since
    assert before <= since <= time.time()
    assert store.dismiss_problem(project, "worker", "away", who="ann")
    assert not store.dismiss_problem(project, "worker", "never", who="ann")
    # Found again and again it stays dismissed, and the others keep their time.
    store.note_problems(project, "worker", ["late", "away"])
    store.connect_project("http://studio", 1, problems={"extra parameters": ["budget: no number"]})
    assert shown().keys() == {"budget: no number", "late"}
    assert shown()["late"].since == since
    # Gone and found anew, it is shown.
    store.note_problems(project, "worker", ["late"])
    store.note_problems(project, "worker", ["late", "away"])
    assert shown()["away"].since >= since
    store.note_problems(project, "worker", [])
    store.connect_project("http://studio", 1, problems={"extra parameters": []})
    assert shown() == {}


def test_images_that_no_browser_shows_are_named_before_they_are_pushed_in_place(store):
    project = store.connect_project("http://studio", 1, layers={"dashboard": {"delivery": "in_place"}})
    images = [f"/data/upload/1/{i}.{'dcm' if i >= 250 else 'png'}" for i in range(300)]
    store.sync_pool(project, [PoolTask(i, {"image": image}, image) for i, image in enumerate(images, 1)])
    (said,) = delivery_problems(State(store, project))
    assert "of 200 images that were looked at, 50 are of a kind that no browser shows" in said
    assert "such as task 300: they are left out; set delivery to queue_project" in said
    store.connect_project("http://studio", 1, layers={"dashboard": {"delivery": "queue_project"}})
    assert delivery_problems(State(store, project)) == []
    assert surely_hidden("/a.png?x=1", {"image: format": "TIFF"})
    assert not surely_hidden("/a.dcm", {"image: format": "PNG"})
    assert surely_hidden("https://host/A.DCM?signature=1", {})
    assert surely_hidden("/data/local-files/?d=study/a.dcm", {})


def test_pages_say_since_when_and_an_admin_dismisses(store, tmp_path):
    project = store.connect_project(STUDIO_URL, POOL, label_config=LABEL_CONFIG)
    store.note_problems(project, "training", ['it "broke" <badly>'])
    client = create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store).test_client()
    page = client.get(f"/projects/{POOL}").text
    assert "<time" in page
    assert 'datetime="20' in page
    assert "just now" in page
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    form = {"csrf_token": token, "origin": "training", "message": 'it "broke" <badly>', "back": "activity"}
    address = f"/projects/{POOL}/problems/dismiss"
    assert client.post(address, data={**form, "csrf_token": ""}).status_code == 400
    reply = client.post(address, data=form)
    assert reply.headers["Location"].endswith("/activity")
    page = client.get(f"/projects/{POOL}").text
    assert "Dismissed" in page
    assert "broke" not in page
    assert client.get(f"/projects/{POOL}/status.json").json["problems"] == []
    assert "broke" not in client.get("/metrics").text


def test_a_full_disk_is_said_although_the_database_on_it_takes_no_note(store, tmp_path, monkeypatch):
    project = store.connect_project(STUDIO_URL, POOL, label_config=LABEL_CONFIG)
    store.note_problems(project, "worker", ["late"])
    store.add_event(POOL, NOTHING_NEW, {"sentence": "no label is new"}, handled=True)
    client = create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store).test_client()
    full = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    late, disk, *others = client.get(f"/projects/{POOL}/status.json").json["problems"]
    assert (late, others) == ("late", [])
    for name in ("", "/activity"):
        assert disk in client.get(f"/projects/{POOL}{name}").text
    assert "The disk of the data folder has 1 MB left" in disk
    assert "2 problems" in client.get("/projects").text
    assert "No label is new." in client.get(f"/projects/{POOL}/activity").text


@pytest.mark.slow
def test_a_refused_token_is_said_no_more_once_another_worker_finds_it_accepted(
    studio, pool_project, tmp_path
):
    def worker(token):
        settings = ServerSettings(
            data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=token, poll_seconds=1e6
        )
        return Worker(settings)

    wrong = worker("0" * 40)
    project = wrong.store.connect_project(
        studio.url, pool_project.id, label_config=LABEL_CONFIG, backend_url="http://127.0.0.1:9"
    )
    assert not wrong._turn(wrong.store.project(project))
    (refused,) = State(wrong.store, project).problems
    assert "is not accepted" in refused.message
    wrong.store.close()
    right = worker(studio.token)
    right._turn(right.store.project(project))
    assert State(right.store, project).problems == []
    right.store.close()


@pytest.mark.long
def test_a_pool_project_that_was_deleted_is_said_and_removed_from_the_dashboard(studio, browser, tmp_path):
    settings = ServerSettings(
        data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=studio.token, poll_seconds=1e6
    )
    worker = Worker(settings)
    reply = browser.post("/api/projects", json={"title": "To be deleted", "label_config": LABEL_CONFIG})
    pool = reply.json()["id"]
    kept = worker.store.connect_project(studio.url, pool + 1000, label_config=LABEL_CONFIG)
    gone = worker.store.connect_project(
        studio.url, pool, label_config=LABEL_CONFIG, backend_url="http://127.0.0.1:9"
    )
    client = create_app(settings, worker.store).test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(f"/projects/{pool}").text)[1]
    form = {"csrf_token": token, "sure": "yes"}
    assert client.post(f"/projects/{pool}/remove", data=form).status_code == 400  # it is there
    browser.delete(f"/api/projects/{pool}")
    worker._turn(worker.store.project(gone))
    (said,) = State(worker.store, gone).problems
    assert "is not in Label Studio any more" in said.message
    page = client.get(f"/projects/{pool}").text
    assert "Remove from the dashboard" in page
    assert client.post(f"/projects/{pool}/remove", data={"csrf_token": token}).status_code == 400
    assert client.post(f"/projects/{pool}/remove", data=form).headers["Location"].endswith("/projects")
    assert client.get(f"/projects/{pool}").status_code == 404
    assert [one.id for one in worker.store.projects()] == [kept]
    # Connected again, it begins anew.
    assert worker.store.connect_project(studio.url, pool) != gone
    worker.store.close()


def test_a_training_asked_for_with_unchanged_labels_says_so(tmp_path):
    world = World(tmp_path)
    world.store.add_event(WORLD_POOL, Request.TRAIN, {})
    assert not train_apart(world.context, world.state())
    said = [one for one in world.store.events([WORLD_POOL], limit=9) if one.action == NOTHING_NEW]
    assert ["no label is new" in one.payload["sentence"] for one in said] == [True]
    assert not train_apart(world.context, world.state())  # once
    assert len(world.store.events([WORLD_POOL], limit=9)) == 2


def test_a_fine_tune_that_failed_is_no_problem_once_nobody_asks_for_one(tmp_path):
    world = World(tmp_path)
    world.store.note_problems(world.project, "fine-tune", ["the fine-tune failed"])
    world.step(check_settings)
    assert "fine-tune" in world.state().project.problems
    layers = world.state().project.layers
    world.store.update_project(world.project, layers={**layers, "dashboard": {"training": "head"}})
    world.step(check_settings)
    assert "fine-tune" not in world.state().project.problems


def test_a_message_is_a_whole_sentence_and_leads_to_what_it_names(store, tmp_path):
    project = store.connect_project(STUDIO_URL, POOL, label_config=LABEL_CONFIG, queue_project=13)
    client = create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store).test_client()
    path, there = f"/projects/{POOL}", f"{STUDIO_URL}/projects"
    named = [NamedTask(13, 100 + n, n) for n in range(30)]
    words = "task 100 (task 1 of the pool) in the queue (project 13) differ, tasks 5, 6 and 7, too; set `x<y`"
    store.note_problems(project, "edited tasks", [words], named)
    store.note_problems(project, "sources", ["the picture of task 8 in the pool is new: see project 77."])
    store.note_problems(
        project, "queue config", ["Correct it under Settings > Labeling Interface of project 13"]
    )
    page = client.get(path).text
    for wanted in (
        f'task <a href="{there}/13/data?task=100">100</a> (task <a href="{there}/12/data?task=1">1</a> of the pool)',
        f'(<a href="{there}/13/data">project 13</a>) differ, tasks <a href="{there}/13/data?task=5">5</a>, ',
        "set <code>x&lt;y</code>. <time",
        f'task <a href="{there}/12/data?task=8">8</a> in the pool is new: see project 77. <time',
        f'<a href="{there}/13/settings/labeling">Settings &gt; Labeling Interface of project 13</a>. <time',
        f"{path}/tables/tasks-of-problems.csv",
    ):
        assert wanted in page, wanted
    assert store.problem_tasks(project) == {"edited tasks": named}
    rows = client.get(f"{path}/tables/tasks-of-problems.csv").text.lstrip("\ufeff").splitlines()
    assert (rows[:2], len(rows)) == (["problem,project,task,pool_task", "edited tasks,13,100,0"], 31)
    # What is right again names no task any more.
    store.note_problems(project, "edited tasks", [])
    assert store.problem_tasks(project) == {}
    assert "tasks-of-problems" not in client.get(path).text

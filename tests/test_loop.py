"""The whole loop, on a real Label Studio, with a real worker."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter

import pytest
from backend import POLL, Backend, eventually
from conftest import LABEL_CONFIG

from cdsel_backend.labelstudio.client import NotFound
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.store import State, Store

BUDGET, ROUND = 10, 4
KILLS = 2  # beside the one while it embeds; reliability/ kills a hundred times, and much cheaper
SPACE = parse_label_space(LABEL_CONFIG)


def connect(client, backend, project, **settings):
    client.connect_backend(project, backend.url, title="cdsel", extra_params=json.dumps(settings))


def open_tasks(client, queue):
    return [task for task in client.tasks(queue, with_annotations=True) if not task["annotations"]]


def submit_next(client, queue, truth):
    """Label the task that Label Studio hands out next, as a person would; returns its data."""
    task = client.next_task(queue)
    if task is None:
        return None
    client.submit(task["id"], SPACE.result_for(truth[task["data"]["cdsel_item"]]))
    return task["data"]


def queue_ready(backend, project, pushed):
    def ask():
        status = backend.status(project)
        return status if status and sum(one["pushed"] for one in status["rounds"]) >= pushed else None

    return eventually(ask, f"{pushed} images were never pushed", details=backend.tail)


def test_pool_to_queue_to_labels_to_the_next_round(client, pool_project, backend):
    connect(
        client,
        backend,
        pool_project.id,
        budget=BUDGET,
        round_size=ROUND,
        retrain_every=3,
        group="patient_id",
        seed=1,  # with which both classes are among the labels that are not held out
    )
    seen = []
    for pushed in (4, 8, 10):
        status = queue_ready(backend, pool_project.id, pushed)
        assert status["labelled"] + status["open"] <= BUDGET
        queue = status["queue_project"]
        while (data := submit_next(client, queue, pool_project.truth)) is not None:
            seen.append(data)
    status = eventually(
        lambda: (one := backend.status(pool_project.id))["labelled"] == BUDGET and one["champion"] and one,
        "the last round was never trained on",
        details=backend.tail,
    )
    # Order, budget, once each, with its reason.
    assert [data["cdsel_rank"] for data in seen] == list(range(1, BUDGET + 1))
    assert len({data["cdsel_item"] for data in seen}) == BUDGET
    assert all(data["cdsel_reason"].endswith(".") for data in seen)
    assert seen[-1]["cdsel_place"] == f"{BUDGET} of {BUDGET}"
    assert not {data["cdsel_item"] for data in seen} & set(pool_project.unusable)
    assert [(one["pushed"], one["labelled"]) for one in status["rounds"]] == [(4, 4), (4, 4), (2, 2)]
    assert {one["task"] for one in status["unusable"]} == set(pool_project.unusable)
    assert {one["variable"] for one in status["confounders"]} >= {"site", "sex", "age"}
    assert client.next_task(queue) is None
    time.sleep(POLL + 1)  # a poll later nothing more has come
    assert len(list(client.tasks(queue))) == BUDGET
    # The champion answers for the pool, and the queue shows its predictions.
    assert status["champion"] in backend.get("/versions")["versions"]
    # The dashboard says that ten labels cannot answer what it will answer later.
    models = f"/projects/{pool_project.id}/models"
    for sentence in (
        r"Not known yet: \d of the 40 labels needed can be trained on",
        r"Too few yet: \d of the 15 labels needed (was|were) drawn by chance",
    ):
        eventually(  # what a training means is worked out when nobody waits for it
            lambda sentence=sentence: re.search(sentence, backend.page(models)), sentence
        )


@pytest.mark.slow
def test_the_labels_that_label_studio_asks_for_hold_back_a_training_until_they_are_there_or_somebody_asks(
    client, pool_project, backend
):
    least = 6
    client.update_project(pool_project.id, min_annotations_to_start_training=least)
    connect(client, backend, pool_project.id, budget=8, round_size=4, retrain_every=1)
    store = Store(f"sqlite:///{backend.folder / 'cdsel.sqlite3'}")
    queue = queue_ready(backend, pool_project.id, 4)["queue_project"]

    def trained():
        return [row.label_count for row in State(store, store.project_of(pool_project.id).id).trainings]

    def problems():
        return " ".join(backend.status(pool_project.id)["problems"])

    while submit_next(client, queue, pool_project.truth) is not None:
        pass
    queue_ready(backend, pool_project.id, 8)  # the next round came without a training
    assert trained() == []
    assert "problems" not in client.project(pool_project.id)["description"]

    ours = client.get(f"/api/ml?project={pool_project.id}")[0]["id"]
    client.request("POST", f"/api/ml/{ours}/train", {})  # answers without a body
    eventually(lambda: trained() == [4], "Start Training trained nothing", details=backend.tail)
    eventually(lambda: "4 labels are fewer than the 6" in problems(), "it was not said")
    eventually(
        lambda: "4 labels are fewer than the 6" in client.project(pool_project.id)["description"],
        "Label Studio does not show it",
    )
    page = backend.page(f"/projects/{pool_project.id}")
    assert "4 labels are fewer than the 6" in page

    submit_next(client, queue, pool_project.truth)
    eventually(lambda: backend.status(pool_project.id)["labelled"] == 5, "the label never came")
    time.sleep(2)
    assert trained() == [4]
    submit_next(client, queue, pool_project.truth)
    eventually(lambda: trained() == [4, 6], "6 labels started no training", details=backend.tail)
    eventually(lambda: problems() == "", "it is still said")

    # None asked for again: only `retrain_every` decides.
    client.update_project(pool_project.id, min_annotations_to_start_training=0)
    submit_next(client, queue, pool_project.truth)
    eventually(lambda: trained() == [4, 6, 7], "7 labels started no training", details=backend.tail)
    store.close()


@pytest.mark.slow
def test_budget_lowered_and_raised_from_settings_model(client, browser, pool_project, backend):
    connect(client, backend, pool_project.id, budget=6, round_size=4)
    queue = queue_ready(backend, pool_project.id, 4)["queue_project"]
    change_settings(browser, pool_project.id, '{"budget": 2, "round_size": 4}')
    for _ in range(4):
        assert submit_next(client, queue, pool_project.truth)
    eventually(
        lambda: backend.status(pool_project.id)["labelled"] == 4, "labels were lost", details=backend.tail
    )
    time.sleep(POLL + 1)
    assert len(list(client.tasks(queue))) == 4
    for bad, words in (('{"budget": "lots"}', "budget"), ('{"budget": 3', "no valid JSON")):
        answer = save_settings(browser, pool_project.id, bad)
        assert answer.status_code == 400, "Label Studio saved it"
        assert words in answer.text, "its dialog does not say why"
    eventually(
        lambda: backend.status(pool_project.id)["budget"] == 2, "a budget is not obeyed", details=backend.tail
    )
    change_settings(browser, pool_project.id, '{"budget": 7, "round_size": 4}')
    status = queue_ready(backend, pool_project.id, 7)
    assert (status["labelled"], status["open"], status["problems"]) == (4, 3, [])
    a_removed_backend_is_said_and_goes_on_once_connected_again(client, browser, pool_project, backend, queue)


def a_removed_backend_is_said_and_goes_on_once_connected_again(client, browser, pool_project, backend, queue):
    """Label Studio tells nobody that an admin removed it."""
    (row,) = browser.get("/api/ml", params={"project": pool_project.id}).json()
    assert browser.delete(f"/api/ml/{row['id']}").status_code == 204
    there = f"Settings &gt; Model of project {pool_project.id}</a> in Label Studio"

    def page(name=""):
        return backend.page(f"/projects/{pool_project.id}{name}")

    (said,) = eventually(
        lambda: backend.status(pool_project.id)["problems"], "nobody says so", details=backend.tail
    )
    assert "was removed under Settings > Model" in said
    assert f"connect {backend.url} there again" in said
    for text in (page(), page("/activity")):
        assert "his backend was removed under <a href=" in text
        assert there in text
    assert "Nothing is selected or pushed until Label Studio has this backend again" in page()
    for hook in client.webhooks(pool_project.id):
        client.delete_webhook(hook["id"])  # nor is a webhook made anew
    while submit_next(client, queue, pool_project.truth):
        pass
    eventually(
        lambda: backend.status(pool_project.id)["labelled"] == 7, "labels were lost", details=backend.tail
    )
    eventually(
        lambda: "removed from the project" in backend.status(pool_project.id)["step"],
        "it does not say that it rests",
    )
    assert client.webhooks(pool_project.id) == []
    connect(client, backend, pool_project.id, budget=9, round_size=4)
    status = queue_ready(backend, pool_project.id, 9)
    assert (status["labelled"], status["open"], status["problems"]) == (7, 2, [])
    assert "Backend connected again" in page("/activity")


def save_settings(browser, project, text):
    """What "Validate and Save" does in Settings > Model."""
    (backend,) = browser.get("/api/ml", params={"project": project}).json()
    fields = {name: backend[name] for name in ("url", "title", "is_interactive")}
    return browser.patch(
        f"/api/ml/{backend['id']}", json={**fields, "project": project, "extra_params": text}
    )


def change_settings(browser, project, text):
    answer = save_settings(browser, project, text)
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_killed_in_the_middle_of_embedding_and_later_it_completes_without_a_duplicate_or_a_lost_label(
    client, pool_project, tmp_path, studio
):
    """Kill every process while it embeds, then at random moments until the last label, and start again."""
    moments = random.Random(0)
    backend = Backend(tmp_path, studio.url, studio.token)
    kills = 0
    submitted = {}
    backend.start()
    try:
        connect(
            client, backend, pool_project.id, budget=BUDGET, round_size=ROUND, retrain_every=2, refill_at=0.5
        )
        status = eventually(
            lambda: (
                (one := backend.status(pool_project.id)).get("step") == "embedding images"
                and one["embedded"] < one["items"]
                and one
            ),
            "it never embedded",
            details=backend.tail,
        )
        backend.kill()
        assert status["embedded"] < status["items"] == len(pool_project.task_ids)
        backend.start()
        deadline = time.monotonic() + 400
        while len(submitted) < BUDGET and time.monotonic() < deadline:
            if kills < KILLS:
                time.sleep(moments.uniform(3.0, 9.0))
                backend.kill()
                kills += 1
                backend.start()
            store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
            queue = State(store, store.project_of(pool_project.id).id).project.queue_project
            store.close()
            if queue is None:
                continue
            tasks = list(client.tasks(queue))
            assert len(tasks) <= BUDGET
            assert max(Counter(task["data"]["cdsel_item"] for task in tasks).values(), default=0) <= 1
            data = submit_next(client, queue, pool_project.truth)
            if data is not None:
                submitted[data["cdsel_item"]] = data["cdsel_rank"]
        assert len(submitted) == BUDGET, backend.tail()
        status = eventually(
            lambda: (
                (one := backend.status(pool_project.id)).get("labelled") == BUDGET and one["champion"] and one
            ),
            "it never completed",
            details=backend.tail,
        )
        assert sorted(submitted.values()) == list(range(1, BUDGET + 1))
        assert status["embedded"] + len(status["unusable"]) == status["items"] == len(pool_project.task_ids)
        # Other tests of this Label Studio make queues, too, some of them under the same title.
        pool_title = next(
            project["title"] for project in client.projects() if project["id"] == pool_project.id
        )
        queues = [
            project["id"] for project in client.projects() if project["title"] == f"{pool_title} · queue"
        ]
        assert len(queues) == 1
    finally:
        backend.process.stop()
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    state = State(store, store.project_of(pool_project.id).id)
    assert len(state.labels) == BUDGET
    task_of = {row.id: row.task for row in state.items}
    assert {task_of[item]: label for item, label in state.labels.items()} == {
        task: pool_project.truth[task] for task in submitted
    }
    assert kills == KILLS


@pytest.mark.slow
def test_in_place_behind_a_password_connected_as_an_admin_does(
    client, browser, pool_project, tmp_path, studio
):
    """Scores in the pool project itself; and the webhook that Label Studio made without a password gets one."""
    secret = {"BASIC_AUTH_USER": "studio", "BASIC_AUTH_PASS": "secret"}
    with Backend(tmp_path, studio.url, studio.token, **secret) as backend:
        settings = {"budget": 8, "round_size": 4, "delivery": "in_place"}
        form = {
            "project": pool_project.id,
            "url": backend.url,
            "title": "cdsel",
            "extra_params": json.dumps(settings),
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "studio",
            "basic_auth_pass": "secret",
        }
        answer = browser.post("/api/ml", json=form)
        assert answer.status_code == 201, answer.text
        status = queue_ready(backend, pool_project.id, 4)
        assert status["queue_project"] is None
        (webhook,) = [
            one for one in client.webhooks(pool_project.id) if one["url"] == f"{backend.url}/webhook"
        ]
        assert list(webhook["headers"]) == ["X-Cdsel-Webhook"]  # every account can read it: no password
        handed = []
        for pushed in (4, 8):
            queue_ready(backend, pool_project.id, pushed)
            for _ in range(4):
                task = client.next_task(pool_project.id)
                handed.append(task["id"])
                client.submit(task["id"], SPACE.result_for(pool_project.truth[task["id"]]))
        eventually(
            lambda: backend.status(pool_project.id)["labelled"] == 8, "labels were lost", details=backend.tail
        )
        assert backend.interrupt() == 0
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    state = State(store, store.project_of(pool_project.id).id)
    task_of = {row.id: row.task for row in state.items}
    assert [task_of[row.item] for row in state.selections] == handed  # one annotator: in rank order
    store.close()


def test_an_unknown_project_is_no_error_and_unreachable_label_studio_is_said(tmp_path):
    with Backend(tmp_path, "http://127.0.0.1:9", "f" * 40) as backend:
        health = eventually(
            lambda: (one := backend.get("/health")) and one["label_studio"]["reachable"] is False and one,
            "/health never said so",
            details=backend.tail,
        )
        assert health["status"] == "UP"
        assert "127.0.0.1:9" in health["label_studio"]["problem"]
        assert backend.get("/projects/1/status.json") is None


def test_a_refused_token_is_named(studio, tmp_path):
    with Backend(tmp_path, studio.url, "f" * 40) as backend:
        eventually(
            lambda: "LABEL_STUDIO_API_KEY" in str(backend.get("/health")),
            "nothing was said",
            details=backend.tail,
        )


def test_not_found_is_what_a_deleted_project_answers(client):
    with pytest.raises(NotFound):
        client.project(999_999)

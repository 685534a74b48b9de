"""Attacks on what is believed: marks in tasks, a moved address, cookies; and what only PostgreSQL trips over."""

from __future__ import annotations

from base64 import b64encode

import pytest
from conftest import LABEL_CONFIG
from serving import running_app
from world import POOL, QUEUE, World

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.project.connect import Connector
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store

LOGIN = {"basic_auth_user": "studio", "basic_auth_pass": "correct horse"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A project with a champion whose predictions differ from image to image."""
    world = World(tmp_path_factory.mktemp("marks"), preannotate_from=0)
    assert world.round()
    yield world
    world.store.close()


def predictions(client, source, *tasks):
    answer = client.post("/predict", json={"project": f"{source}.17", "tasks": list(tasks)})
    assert answer.status_code == 200
    return [(one["result"], one["score"]) for one in answer.json["results"]]


def test_predict_answers_for_the_image_that_a_task_has_whatever_mark_it_carries(world):
    client = create_app(world.server, world.store).test_client()
    numbers = [row.task for row in world.store.items(world.project)]
    honest = predictions(client, POOL, *({"id": number, "data": {"image": "/x"}} for number in numbers))
    assert len(set(map(str, honest))) > 20
    # The pool was imported from an export of a queue: each task names another image.
    lying = [
        {"id": number, "data": {"image": "/x", "cdsel_item": other, "cdsel_rank": 1}}
        for number, other in zip(numbers, reversed(numbers), strict=True)
    ]
    assert predictions(client, POOL, *lying) == honest

    state = world.state()
    pushed = [row for row in state.selections if row.queue_task is not None][:10]
    item_of = {row.id: row.task for row in world.store.items(world.project)}
    wanted = [honest[numbers.index(item_of[row.item])] for row in pushed]
    marked = [{"id": row.queue_task, "data": {"image": "/x", "cdsel_item": numbers[0]}} for row in pushed]
    assert predictions(client, QUEUE, *marked) == wanted
    # Tasks that anybody imported into the queue, and a project that is none of ours: no answer for any image.
    foreign = [{"id": 10**6 + n, "data": {"image": "/x", "cdsel_item": numbers[n]}} for n in range(5)]
    assert predictions(client, QUEUE, *foreign) == [([], 0.0)] * 5
    assert predictions(client, 77, *marked) == []


def test_a_moved_address_leaves_no_webhook_behind_and_only_ours_goes(studio, tmp_path):
    client = LabelStudio(studio.url, studio.token)
    pool = client.create_project("A backend that moves", LABEL_CONFIG)
    theirs = client.ensure_webhook(pool, "http://127.0.0.1:11/webhook", {})
    server = ServerSettings(data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=studio.token)
    store = Store.open(server)
    app = create_app(server, store)
    with running_app(app) as former, running_app(app) as present:
        number = client.connect_backend(pool, former, "cdsel", "{}", None)
        for address in (former, present):
            client.send("PATCH", f"/api/ml/{number}", {"url": address, "project": pool})
            client.ensure_webhook(pool, f"{address}/webhook", {"X-Token": "secret"})
            assert store.setup_calls()
            assert Connector(server, store).connect(client)
            assert store.project_of(pool).backend_url == address
    hooks = client.webhooks(pool)
    assert {hook["url"] for hook in hooks} == {"http://127.0.0.1:11/webhook", f"{present}/webhook"}
    assert theirs in {hook["id"] for hook in hooks}
    store.close()


@pytest.mark.parametrize(
    ("address", "base", "secure"),
    [
        ("https://cdsel.example.org/", "http://cdsel.example.org", True),  # a proxy ends HTTPS
        ("https://cdsel.example.org/", "http://127.0.0.1:9090", False),  # the same server, asked directly
        ("", "https://127.0.0.1:9090", True),
        ("", "http://127.0.0.1:9090", False),
    ],
)
def test_a_session_that_came_by_https_goes_by_nothing_else(world, address, base, secure):
    server = world.server.model_copy(update={**LOGIN, "dashboard_url": address})
    client = create_app(server, world.store).test_client()
    page = client.get("/login", base_url=base).text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "user": "studio", "password": "correct horse"}
    answer = client.post("/login", data=form, base_url=base)
    assert answer.status_code == 303
    cookie = next(one for one in answer.headers.getlist("Set-Cookie") if one.startswith("cdsel_session"))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("Secure" in cookie.split("; ")) is secure


LARGE = (2**31, 2**32 + 5, 2**63 - 1, 2**63, 10**30)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_what_a_column_does_not_hold_is_a_sentence_on_either_database(database_url, tmp_path, monkeypatch):
    monkeypatch.setattr("cdsel_backend.server.protocol.WAIT_SECONDS", 30)  # however busy this machine is
    store = Store(database_url, tmp_path / "vectors")
    try:
        server = ServerSettings(data_dir=tmp_path, label_studio_url="http://studio", **LOGIN)
        store.connect_project("http://studio", POOL, label_config=LABEL_CONFIG, queue_project=QUEUE)
        client = create_app(server, store).test_client()
        login = {"Authorization": f"Basic {b64encode(b'studio:correct horse').decode()}"}
        event = {"action": "ANNOTATION_CREATED", "project": {"id": POOL}, "task": {"id": 1}}
        bodies = [
            *({**event, "action": text} for text in ("A" * 50_000, "A\0B", "\ud800", "é" * 400, "")),
            *({**event, "project": {"id": number}} for number in LARGE),
            *({**event, "task": {"id": number}} for number in LARGE),
            *({**event, "annotation": {"id": number, "task": number}} for number in LARGE),
        ]
        for body in bodies:
            answer = client.post("/webhook", json=body, headers=login)
            assert answer.status_code in (201, 202, 400), (body, answer.text)
            assert answer.text.strip()
        for number in (*LARGE, "9" * 5000, f"{POOL}.\0"):
            for route, body in (
                ("/setup", {"schema": LABEL_CONFIG, "hostname": "http://a\0b", "extra_params": "{}"}),
                ("/predict", {"tasks": [{"id": number, "data": {"image": "\0", "cdsel_item": number}}]}),
                ("/train", {}),
            ):
                answer = client.post(route, json={**body, "project": str(number)}, headers=login)
                assert answer.status_code in (200, 201, 400, 404), (route, number, answer.text)
        for number in LARGE:
            assert client.get(f"/projects/{number}", headers=login).status_code in (400, 404)
        tasks = [{"id": number, "data": {}} for number in (1, *LARGE)]
        answer = client.post("/predict", json={"project": f"{POOL}.17", "tasks": tasks}, headers=login)
        assert answer.status_code == 200
        # Nothing of all this stands in the way of an event that is right.
        kept = store.newest_event()
        assert client.post("/webhook", json=event, headers=login).status_code == 201
        assert store.newest_event() == kept + 1
    finally:
        store.close()

"""Label Studio's client against a real server, and against servers that misbehave."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from serving import running

from cdsel_backend.demo.process import free_port
from cdsel_backend.labelstudio import connection
from cdsel_backend.labelstudio.client import (
    LabelStudio,
    LabelStudioError,
    LabelStudioUnreachable,
    NotFound,
    PredictionsRefused,
    RequestRefused,
    TokenRefused,
)
from cdsel_backend.labelstudio.errors import RightMissing
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.labelstudio.queue_config import queue_config

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image" choice="single">'
    '<Choice value="benign"/><Choice value="malignant"/></Choices></View>'
)
SPACE = parse_label_space(CONFIG)


@pytest.fixture
def client(studio):
    return LabelStudio(studio.url, studio.token)


@pytest.fixture
def project(client):
    project = client.create_project("Client test", queue_config(CONFIG), maximum_annotations=1)
    yield project
    client.request("DELETE", f"/api/projects/{project}/")


def image_tasks(n: int) -> list[dict[str, Any]]:
    return [{"data": {"image": f"http://127.0.0.1/{number}.jpg", "number": number}} for number in range(n)]


@contextmanager
def serve(answer: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, bytes]]) -> Iterator[tuple[str, list]]:
    """A local HTTP server whose answers `answer` gives; yields its address and (method, path, headers)s."""
    seen: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            status, content = answer(self, body)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", content.decode())
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = reply  # noqa: N815

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as address:
        yield address, seen


# Tokens


def test_version_with_either_kind_of_token(studio, client):
    assert client.version() == "1.23.2"
    assert LabelStudio(studio.url + "/", studio.legacy_token).version() == "1.23.2"


@pytest.mark.parametrize("token", ["0" * 40, "nonsense", "a.b.c"])
def test_a_wrong_token_is_refused_in_words(studio, token):
    with pytest.raises(TokenRefused, match=r"LABEL_STUDIO_API_KEY.*Personal Access Token"):
        LabelStudio(studio.url, token).version()


def test_a_personal_token_of_another_server_is_refused_and_an_expired_one_at_once(studio):
    secret = "x" * 32
    stranger = jwt.encode({"exp": 9_999_999_999, "token_type": "refresh"}, secret)
    with pytest.raises(TokenRefused, match="LABEL_STUDIO_API_KEY"):
        LabelStudio(studio.url, stranger).version()
    with pytest.raises(TokenRefused, match="expired"):
        LabelStudio(studio.url, jwt.encode({"exp": 1}, secret))
    with pytest.raises(TokenRefused, match="empty"):
        LabelStudio(studio.url, " ")


def test_an_access_token_that_runs_out_is_renewed(client):
    client.version()
    # One that claims to be good for years, as a clock that is behind believes of an expired one.
    client._wrapper._tokens_client._access_token = jwt.encode({"exp": 9_999_999_999}, "x" * 32)
    assert client.version() == "1.23.2"


def test_a_token_is_renewed_below_a_path_prefix():
    access = jwt.encode({"exp": 9_999_999_999}, "x" * 32)

    def answer(request, body):
        if request.path == "/studio/api/token/refresh/":
            return 200, json.dumps({"access": access}).encode()
        known = request.path in ("/studio/api/current-user/whoami", "/studio/api/version")
        return (200, b'{"release": "9"}') if known else (404, b"{}")

    with serve(answer) as (url, seen):
        assert LabelStudio(f"{url}/studio", jwt.encode({"exp": 9_999_999_999}, "y" * 32)).version() == "9"
    assert [request[2].get("authorization") for request in seen] == [None] + [f"Bearer {access}"] * 2


# Faults


def test_nobody_there_is_unreachable():
    url = f"http://127.0.0.1:{free_port()}"
    for token in ("0" * 40, jwt.encode({"exp": 9_999_999_999}, "x" * 32)):
        with pytest.raises(LabelStudioUnreachable, match="LABEL_STUDIO_URL"):
            LabelStudio(url, token).version()


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL"):
        LabelStudio(url, "0" * 40)


def test_an_overloaded_server_is_asked_again_but_never_for_an_import(monkeypatch):
    answers = iter([429, 503, 200])

    def answer(request, body):
        status = 503 if request.command == "POST" else next(answers)
        return status, b'{"id": 7, "title": "x"}'

    with serve(answer) as (url, seen):
        client = LabelStudio(url, "0" * 40)
        assert client.project(7)["title"] == "x"
        assert len(seen) == 3
        with pytest.raises(LabelStudioUnreachable, match="503"):
            client.import_tasks(7, image_tasks(1))
        assert len(seen) == 4


@pytest.mark.parametrize(
    ("content", "partly", "fix"),
    [
        (b'{"detail": "database is locked"}', True, "end what keeps its SQLite file open"),
        (b'{"detail": "server closed the connection unexpectedly"}', True, "see .* that its database runs"),
        (b"<html>", False, "answers 500 to all requests: see .* that its database runs"),
    ],
)
def test_a_label_studio_without_its_database_is_away_and_no_task_is_blamed_for_it(
    content, partly, fix, monkeypatch
):
    monkeypatch.setattr(connection, "RETRIES", 0)

    def answer(request, body):
        works = partly and request.path == "/api/version"
        return (200, b'{"release": "1.23.2"}') if works else (500, content)

    with serve(answer) as (url, _):
        client = LabelStudio(url, "0" * 40)
        for ask in (lambda: client.task(1, 7), lambda: list(client.tasks(7))):
            with pytest.raises(LabelStudioUnreachable, match=fix):
                ask()


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (413, "raise the limit of the proxy before Label Studio"),
        (403, "no reason; see its log, and that of the proxy"),
    ],
)
def test_a_proxy_that_refuses_with_a_page_is_named(status, fix):
    with serve(lambda request, body: (status, b"")) as (url, _), pytest.raises(RequestRefused, match=fix):
        LabelStudio(url, "0" * 40).import_tasks(7, image_tasks(1))


def test_a_server_that_is_no_label_studio_is_named():
    with serve(lambda request, body: (200, b"<html>hello</html>")) as (url, _):
        with pytest.raises(LabelStudioError, match="really a Label Studio"):
            LabelStudio(url, "0" * 40).project(1)
        with pytest.raises(LabelStudioError, match="really a Label Studio"):
            LabelStudio(url, jwt.encode({"exp": 9_999_999_999}, "x" * 32)).project(1)


@pytest.mark.parametrize(
    ("release", "words"),
    [(b"{}", "really a Label Studio"), (b'{"release": "1.16.0"}', "has no personal access tokens")],
)
def test_a_server_without_the_route_of_personal_tokens_is_none_or_an_old_one(release, words):
    def answer(request, body):
        return (200, release) if request.path == "/api/version" else (404, b'{"detail": "Not found."}')

    with serve(answer) as (url, _), pytest.raises(LabelStudioError, match=words):
        LabelStudio(url, jwt.encode({"exp": 9_999_999_999}, "x" * 32)).project(1)


def test_a_redirected_write_is_an_error():
    with (
        serve(lambda request, body: (200, b"{}")) as (there, _),
        serve(lambda request, body: (302, (there + request.path).encode())) as (here, _),
        pytest.raises(LabelStudioError, match=f"redirects to {there}"),
    ):
        LabelStudio(here, "0" * 40).update_project(1, title="x")


def test_a_right_that_the_account_lacks_is_named_with_what_to_do():
    detail = {"detail": "You do not have permission to perform this action."}
    allowed = []

    def answer(request, body):
        return (200, b'{"task_ids": [1]}') if allowed else (403, json.dumps(detail).encode())

    with serve(answer) as (url, _):
        client = LabelStudio(url, "0" * 40)
        for ask, right in (
            (lambda: client.import_tasks(7, [{"data": {}}]), "import tasks or files"),
            (lambda: client.create_project("x", "<View/>"), "make projects"),
            (lambda: client.ensure_webhook(7, "http://b/webhook", {}), "see webhooks"),
            (lambda: list(client.tasks(7)), "see tasks and predictions"),
            (lambda: client.update_task(7, {}), "change or delete tasks"),
        ):
            with pytest.raises(
                RightMissing,
                match=rf"^the account of LABEL_STUDIO_API_KEY may not {right} .*: give it a role there",
            ):
                ask()
        allowed.append(True)
        assert client.import_tasks(7, [{"data": {}}]) == [1]  # nothing is remembered of the refusal


def test_what_does_not_exist_is_not_found(client):
    with pytest.raises(NotFound):
        client.project(999_999)
    with pytest.raises(NotFound):
        client.next_task(999_999)
    with pytest.raises(NotFound):
        client.submit(999_999, [])
    client.delete_webhook(999_999)


# Tasks


def test_import_keeps_order_and_answers_ids(client, project, monkeypatch):
    monkeypatch.setattr("cdsel_backend.labelstudio.tasks.IMPORT_CHUNK", 7)
    monkeypatch.setattr(connection, "PAGE", 5)
    ids = client.import_tasks(project, image_tasks(20))
    assert client.import_tasks(project, []) == []
    listed = list(client.tasks(project))
    assert [task["id"] for task in listed] == ids
    assert [task["data"]["number"] for task in listed] == list(range(20))
    assert listed[0]["data"]["image"] == "http://127.0.0.1/0.jpg"


def test_paging_loses_nothing_when_tasks_go_meanwhile(client, project, monkeypatch):
    monkeypatch.setattr(connection, "PAGE", 5)
    ids = client.import_tasks(project, image_tasks(20))
    listing = client.tasks(project)
    seen = [next(listing)["id"] for _ in range(5)]
    for task in ids[:5]:
        client.request("DELETE", f"/api/tasks/{task}/")
    assert seen + [task["id"] for task in listing] == ids


def test_cloud_addresses_are_listed_as_imported(client, project):
    client.import_tasks(project, [{"data": {"image": "s3://bucket/a.jpg"}}])
    assert [task["data"]["image"] for task in client.tasks(project)] == ["s3://bucket/a.jpg"]


def test_a_task_without_its_image_is_refused_by_name(client, project):
    with pytest.raises(LabelStudioError, match=r'item 1.*"image" key is expected'):
        client.import_tasks(project, [*image_tasks(1), {"data": {"picture": "x"}}])
    assert list(client.tasks(project)) == []


def test_tasks_come_in_order_and_annotations_with_them(client, project):
    ids = client.import_tasks(project, image_tasks(3))
    for turn, task_id in enumerate(ids):
        task = client.next_task(project)
        assert task["id"] == task_id
        client.submit(task_id, SPACE.result_for("benign") if turn else [], skip=turn == 0, seconds=2.5)
    # Skipped tasks come round again to the one who skipped them, unless the project says otherwise.
    found = {task["id"]: task["annotations"] for task in client.tasks(project, with_annotations=True)}
    skipped, labelled, _ = (found[task_id][0] for task_id in ids)
    assert skipped["was_cancelled"]
    assert not labelled["was_cancelled"]
    assert SPACE.label_of(labelled["result"]) == "benign"
    assert isinstance(labelled["completed_by"], int)
    assert labelled["updated_at"]
    assert all("annotations" not in task for task in client.tasks(project))


def test_an_exhausted_project_has_no_next_task(client, project):
    assert client.next_task(project) is None


# Projects


def test_projects_are_listed_and_changed(client, project):
    client.update_project(project, description="of ours", sampling="Sequential sampling")
    found = {row["id"]: row for row in client.projects()}
    assert found[project]["description"] == "of ours"
    assert client.project(project)["sampling"] == "Sequential sampling"
    assert client.project(project)["label_config"] == queue_config(CONFIG)


def test_a_model_version_can_be_set_once_predictions_carry_it(client, project):
    ids = client.import_tasks(project, image_tasks(1))
    with pytest.raises(LabelStudioError, match="Model version"):
        client.update_project(project, model_version="v1")
    client.import_predictions(project, [prediction(ids[0], "benign")])
    client.update_project(project, model_version="v1")
    assert client.project(project)["model_version"] == "v1"


# Predictions


def prediction(task: int, label: str, score: float = 0.5) -> dict[str, Any]:
    result = [
        {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}},
    ]
    return {"task": task, "result": result, "score": score, "model_version": "v1"}


def test_predictions_are_imported_and_listed(client, project):
    ids = client.import_tasks(project, image_tasks(30))
    assert client.import_predictions(project, [prediction(task, "malignant", 0.25) for task in ids]) == 30
    found = list(client.predictions(project))
    assert sorted(row["task"] for row in found) == ids
    assert {(row["model_version"], row["score"]) for row in found} == {("v1", 0.25)}
    assert client.import_predictions(project, []) == 0


def test_invalid_predictions_are_named_and_the_others_kept(client, project):
    good, unknown, high = client.import_tasks(project, image_tasks(3))
    with pytest.raises(PredictionsRefused, match="took 1 of 3") as caught:
        client.import_predictions(
            project,
            [prediction(good, "benign"), prediction(unknown, "purple"), prediction(high, "benign", 2.5)],
        )
    assert set(caught.value.reasons) == {unknown, high}
    assert "purple" in caught.value.reasons[unknown]
    assert [row["task"] for row in client.predictions(project)] == [good]


def test_a_prediction_for_a_foreign_task_imports_nothing(client, project):
    (task,) = client.import_tasks(project, image_tasks(1))
    with pytest.raises(LabelStudioError, match="invalid"):
        client.import_predictions(project, [prediction(task, "benign"), prediction(999_999, "benign")])
    assert list(client.predictions(project)) == []


# Webhooks and backends


def test_a_webhook_is_made_once_adopted_and_mended(client, project):
    url, headers = "http://127.0.0.1:9/webhook", {"Authorization": "Basic abc"}
    first = client.ensure_webhook(project, url, headers)
    assert client.ensure_webhook(project, url, headers) == first
    (hook,) = client.webhooks(project)
    assert (hook["headers"], hook["send_for_all_actions"]) == (headers, True)

    chosen = {"send_for_all_actions": False, "actions": ["ANNOTATION_CREATED"], "is_active": False}
    client.send("PATCH", f"/api/webhooks/{first}/", chosen)
    assert client.ensure_webhook(project, url, {"Authorization": "Basic xyz"}) == first
    (hook,) = client.webhooks(project)
    assert hook["is_active"]
    assert hook["headers"] == {"Authorization": "Basic xyz"}
    assert (hook["send_for_all_actions"], hook["actions"]) == (False, ["ANNOTATION_CREATED"])


def test_double_webhooks_are_removed_and_strangers_kept(client, project):
    url = "http://127.0.0.1:9/webhook"
    for address in (url, url, "http://127.0.0.1:9/other"):
        client.send("POST", "/api/webhooks/", {"project": project, "url": address})
    client.ensure_webhook(project, url, {})
    assert sorted(hook["url"] for hook in client.webhooks(project)) == ["http://127.0.0.1:9/other", url]


def test_a_backend_behind_basic_auth_gets_its_events(client, project):
    """Connected as a person would, it is called with the password everywhere, webhook included, and once."""
    pair = "Basic " + base64.b64encode(b"cdsel:secret").decode()

    def answer(request, body):
        if request.headers.get("Authorization") != pair and request.path != "/health":
            return 401, b"{}"
        return 200, b'{"model_version": "none yet", "status": "UP"}'

    with serve(answer) as (url, seen):
        arguments = (project, url, "cdsel", '{"budget": 60}', ("cdsel", "secret"))
        backend = client.connect_backend(*arguments)
        assert client.connect_backend(*arguments) == backend
        client.ensure_webhook(project, f"{url}/webhook", {"Authorization": pair})
        assert len(client.webhooks(project)) == 1
        (row,) = client.get("/api/ml", {"project": project})
        assert row["extra_params"] == '{"budget": 60}'
        (task,) = client.import_tasks(project, image_tasks(1))
        client.submit(task, SPACE.result_for("benign"))
        events = [request for request in seen if request[1] == "/webhook"]
        assert len(events) == 2  # TASKS_CREATED, ANNOTATION_CREATED
        assert all(headers["authorization"] == pair for _, _, headers in events)
        called = len(seen)
        (listed,) = client.backends(project)
        assert [listed[key] for key in ("url", "title", "extra_params")] == [url, "cdsel", '{"budget": 60}']
        assert len(seen) == called, "the list called a backend, so Label Studio saved the row anew"
        client.request("DELETE", f"/api/ml/{backend}")
        assert client.backends(project) == []


def test_local_storage_is_added_once(client, project, studio):
    folder = studio.document_root / f"client-{project}"
    folder.mkdir()
    first = client.add_local_storage(project, str(folder))
    assert client.add_local_storage(project, f"{folder}/") == first
    with pytest.raises(LabelStudioError, match="does not exist"):
        client.add_local_storage(project, f"{folder}-absent")

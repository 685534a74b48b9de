"""Every attack that once worked, replayed against a running `cdsel serve` and a real Label Studio."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from backend import Backend, eventually
from conftest import LABEL_CONFIG
from flask import Flask
from PIL import Image
from serving import running
from werkzeug.exceptions import TooManyRequests

from cdsel_backend.demo.process import local_environment
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.server.door import Door
from cdsel_backend.server.machine_checkup import check_login
from cdsel_backend.settings import ServerSettings, accept

JSON = {"Content-Type": "application/json"}
LOGIN = ("studio", "correct horse")
SETTINGS = {"backbone": "test_efficientnet", "backbone_weights": "random", "budget": 6, "round_size": 3}


class Trap:
    """A server of the attacker's: what it was sent, and where it is. It redirects /to?<address>."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = url.removeprefix("http://")
        self.seen: list[tuple[str, dict[str, str]]] = []


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            trap.seen.append((f"{self.command} {self.path}", dict(self.headers)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as address:
        trap = Trap(address)
        yield trap


@pytest.fixture(scope="module")
def backend(tmp_path_factory, studio):
    """One with a login, as on a network."""
    folder = tmp_path_factory.mktemp("secure")
    folder.chmod(0o755)  # as an earlier version left it
    user, password = LOGIN
    given = {"BASIC_AUTH_USER": user, "BASIC_AUTH_PASS": password, "CDSEL_POLL_SECONDS": "3"}
    with Backend(folder, studio.url, studio.token, **given) as running:
        yield running


@pytest.fixture(scope="module")
def project(client, backend, studio):
    """A connected pool of six images; one that no library can even ask for among them."""
    folder = studio.document_root / "secure-pool"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (64, 64), (number * 30, 90, 200 - number * 20)).save(folder / f"{number}.png")
    pool = client.create_project("Secure pool", LABEL_CONFIG)
    client.add_local_storage(pool, str(folder))
    images = [f"/data/local-files/?d=secure-pool/{number}.png" for number in range(8)]
    client.import_tasks(
        pool, [{"data": {"image": image, "site": "a"}} for image in [*images, "http://xn--/"]]
    )
    client.connect_backend(pool, backend.url, "cdsel", json.dumps(SETTINGS), LOGIN)
    return pool


def status(backend, project):
    return backend.status(project) or {}


# 1, 2: the token, the addresses


def test_nothing_is_sent_to_an_address_that_a_caller_names(client, backend, project, trap):
    stranger = client.create_project("Nobody connected this", LABEL_CONFIG, description="as it was")
    eventually(lambda: status(backend, project).get("step"), "the project was never connected")
    setup = {"schema": LABEL_CONFIG, "hostname": trap.url, "access_token": "x"}
    evil = json.dumps({"budget": 10_000_000, "backbone": "hf-hub:evil/model"})
    for number in (f"{stranger}.17", str(stranger), f"{project}.17", "999999"):
        for headers in ({}, {"Host": trap.host}, {"X-Forwarded-Host": trap.host}):
            for extra, code in (("", 200), (evil, 422)):  # the backbone is refused to the caller's face
                answer = httpx.post(
                    f"{backend.url}/setup",
                    json={**setup, "project": number, "extra_params": extra},
                    headers=headers,
                    auth=LOGIN,
                    timeout=60,
                )
                assert answer.status_code == code
    time.sleep(6)  # a token was sent within that time
    assert trap.seen == []
    assert client.project(stranger)["description"] == "as it was"
    assert client.webhooks(stranger) == []
    known = backend.get("/projects.json")
    assert [one["project"] for one in known] == [project]
    assert known[0]["budget"] == SETTINGS["budget"]
    assert {hook["url"] for hook in client.webhooks(project)} == {f"{backend.url}/webhook"}


@pytest.mark.parametrize(
    "value", ["hf-hub:evil/model", "hf_hub:evil/m", "local-dir:/tmp", "/etc/passwd", "../x", "a\0/b"]
)
def test_no_project_names_what_this_machine_reads(value, monkeypatch):
    monkeypatch.setenv("CDSEL_ALLOWED_WEIGHTS", "hf-hub:timm/, /models/")
    for name in ("backbone", "backbone_weights"):
        accepted, problems = accept({name: value}, {}, layer="extra parameters")
        assert (accepted, len(problems)) == ({}, 1)
    for name, good in (
        ("backbone", "hf-hub:timm/resnet18"),
        ("backbone", "resnet18.a1_in1k"),
        ("backbone_weights", "/models/a"),
    ):
        assert accept({name: good}, {}, layer="extra parameters")[0] == {name: good}
    for bad in ("hf-hub:timm/../evil/m", "/models/../etc/passwd", "hf-hub:timm-evil/m"):
        assert accept({"backbone": bad}, {}, layer="dashboard")[0] == {}


# 3, 10: the start


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ({"LABEL_STUDIO_URL": ""}, [], "set LABEL_STUDIO_URL"),
        ({"BASIC_AUTH_PASS": "x"}, [], "BASIC_AUTH_USER is not"),
        ({"BASIC_AUTH_USER": "x"}, [], "BASIC_AUTH_PASS is not"),
        ({}, ["--host", "0.0.0.0"], "there is no login"),
        ({}, ["--host", "::"], "there is no login"),
        ({"LABEL_STUDIO_URL": "http://me:pw@studio"}, [], "without a user"),
    ],
)
def test_a_start_that_would_be_open_is_refused(tmp_path, given, options, words):
    env = local_environment() | {"LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": "0" * 40}
    env |= {"CDSEL_DATA_DIR": str(tmp_path), **given}
    command = [sys.executable, "-m", "cdsel_backend.cli", "serve", *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_clock_that_was_set_back_locks_nobody_out(tmp_path, monkeypatch):
    user, password = LOGIN
    door = Door(ServerSettings(data_dir=tmp_path, basic_auth_user=user, basic_auth_pass=password))
    with Flask("door").test_request_context("/"):
        for _ in range(10):
            assert not door.is_right(user, "wrong")
        with pytest.raises(TooManyRequests):
            door.is_right(user, password)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 5)  # as clocks are put right
        with pytest.raises(TooManyRequests):
            door.is_right(user, password)
        monkeypatch.setattr(time, "time", lambda: now() - 86_400)
        assert door.is_right(user, password)


@pytest.mark.parametrize(
    ("address", "level"),
    [("https://cdsel.example.org/x", "warning"), ("http://localhost:9090", "ok"), ("", "ok")],
)
def test_a_proxy_that_lets_the_network_in_without_a_login_is_named(address, level):
    """`cdsel serve` says so at its start, `cdsel doctor` when it is asked."""
    server = ServerSettings(label_studio_url="http://studio", label_studio_api_key="0" * 40)
    found = check_login(server, ["http://127.0.0.1:9090", address])
    assert (found.level, address in found.message or level == "ok") == (level, True)


def test_files_are_for_this_account_and_answers_tell_no_version(backend, project):
    assert backend.folder.stat().st_mode & 0o777 == 0o700
    for file in backend.folder.glob("*.sqlite3*"):
        assert file.stat().st_mode & 0o777 == 0o600, file
    for path in ("/health", "/login", "/static/app.css", "/nothing", "/projects"):
        headers = httpx.get(backend.url + path, timeout=60).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers


def test_a_setting_shows_no_secret_of_itself():
    server = ServerSettings(
        label_studio_api_key="SECRET",
        basic_auth_user="u",
        basic_auth_pass="SECRET",
        database="pg://u:SECRET@h/d",
    )
    assert "SECRET" not in repr(server)


def test_a_name_that_leads_here_is_refused(backend):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"):
        assert httpx.get(f"{backend.url}/login", headers={"Host": host}, timeout=60).status_code == 400, host
    for host in ("localhost", "127.0.0.1:9090", "[::1]:9090"):
        assert httpx.get(f"{backend.url}/login", headers={"Host": host}, timeout=60).status_code == 200, host


# 4: passwords


def test_a_webhook_holds_no_password_and_its_token_opens_nothing_else(client, backend, project):
    (hook,) = eventually(
        lambda: [one for one in client.webhooks(project) if one["headers"]],
        "no token was set",
        details=backend.tail,
    )
    (token,) = hook["headers"].values()
    assert "correct horse" not in json.dumps(hook)
    event = {"action": "ANNOTATION_CREATED", "project": {"id": project}}
    assert (
        httpx.post(f"{backend.url}/webhook", json=event, headers=hook["headers"], timeout=60).status_code
        == 201
    )
    assert httpx.post(f"{backend.url}/webhook", json=event, timeout=60).status_code == 401
    forged = dict.fromkeys(hook["headers"], f"{token[:-1]}{'0' if token[-1] != '0' else '1'}")
    assert httpx.post(f"{backend.url}/webhook", json=event, headers=forged, timeout=60).status_code == 401
    for path in ("/setup", "/predict", "/train"):
        assert (
            httpx.post(backend.url + path, json=event, headers=hook["headers"], timeout=60).status_code == 401
        ), path
    assert httpx.get(f"{backend.url}/projects", headers=hook["headers"], timeout=60).status_code == 401


# 5, 6: tasks that lie


def test_one_bad_task_costs_only_itself_and_a_copy_of_the_queue_is_none(client, backend, project):
    ready = eventually(
        lambda: (one := status(backend, project)).get("queue_project") and one["open"] and one,
        "there was never a queue",
        details=backend.tail,
        seconds=240,
    )
    bad = [one for one in ready["unusable"] if "xn--" in str(one)]
    assert len(bad) == 1
    queue = ready["queue_project"]
    image = "/data/local-files/?d=secure-pool/0.png"
    lies = [
        {"image": image, "cdsel_item": [1], "cdsel_rank": {}},
        {"image": image, "cdsel_item": {"a": 1}, "cdsel_rank": "x"},
        {"image": image, "cdsel_item": True, "cdsel_rank": 1.5},
        {"image": image, "cdsel_item": 2**70, "cdsel_rank": 10**30},
    ]
    client.import_tasks(queue, [{"data": lie} for lie in lies])
    copy = client.create_project("A copy", LABEL_CONFIG, description=client.project(queue)["description"])
    task = next(one for one in client.tasks(queue) if type(one["data"]["cdsel_item"]) is int)
    choice = parse_label_space(LABEL_CONFIG).result_for("benign")
    client.submit(task["id"], choice)
    client.submit(task["id"] + 1, [{"nonsense": [1]}, *choice])
    eventually(
        lambda: status(backend, project).get("labelled", 0) >= 1, "the label was lost", details=backend.tail
    )
    client.request("DELETE", f"/api/projects/{queue}/")
    fresh = eventually(
        lambda: (one := status(backend, project)).get("queue_project") not in (None, queue) and one,
        "there was no new queue",
        details=backend.tail,
    )
    assert fresh["queue_project"] != copy
    assert list(client.tasks(copy)) == []


# 7: images


def test_no_image_address_reaches_the_own_network_or_takes_the_token_along(client, studio, trap):
    port = trap.host.rpartition(":")[2]
    reader = ImageReader(LabelStudio(studio.url, studio.token))
    hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "[::1]")
    hosts += (
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "example.org@127.0.0.1",
        "169.254.169.254",
    )
    hosts += (
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[2002:7f00:1::]",
    )
    for host in hosts:
        with pytest.raises(
            ImageUnavailable, match=r"CDSEL_IMAGE_HOSTS|has no address|is no address|Invalid IPv4"
        ) as refused:
            reader.read(f"http://{host}:{port}/x.png", 1)
        assert "refused" not in str(refused.value)
    assert trap.seen == []
    for path in (
        "/api/token/",
        "/api/projects/",
        "/data/../api/token/",
        "/data/%2e%2e/api/token/",
        "/user/account",
    ):
        with pytest.raises(ImageUnavailable):
            reader.read(path, 1)
    with pytest.raises(ImageUnavailable):
        reader.read(f"//{trap.host}/x.png", 1)
    assert trap.seen == []


def test_a_redirect_of_label_studios_own_leads_nowhere_private(trap):
    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{trap.url}/stolen")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as server, running(server) as address:
        reader = ImageReader(LabelStudio(address, "0" * 40))
        with pytest.raises(ImageUnavailable, match="CDSEL_IMAGE_HOSTS"):
            reader.read("/tasks/1/presign/?fileuri=x", 1)
    assert trap.seen == []


# 8, 9: too much


def test_large_and_deep_bodies_are_refused_at_once(backend, project):
    start = time.monotonic()
    sent = httpx.post(
        f"{backend.url}/webhook",
        content=b'{"a":"' + b"x" * 20_000_000,
        auth=LOGIN,
        headers=JSON,
        timeout=60,
    )
    assert sent.status_code == 413
    with contextlib.suppress(httpx.TransportError):  # the connection may be closed while we send
        sent = httpx.post(
            f"{backend.url}/webhook", content=b"x" * 200_000_000, auth=LOGIN, headers=JSON, timeout=60
        )
        assert sent.status_code == 413
    assert time.monotonic() - start < 60
    for body in (b"[" * 100_000, b'{"a":' * 9000 + b"1" + b"}" * 9000, b'{"action":"' + b"A" * 500 + b'"}'):
        for path in ("/webhook", "/setup", "/train"):
            answer = httpx.post(backend.url + path, content=body, auth=LOGIN, headers=JSON, timeout=60)
            assert answer.status_code in (400, 413), (path, answer.text)
    for number in ("9" * 5000, str(2**63), str(2**31)):
        answer = httpx.get(f"{backend.url}/projects/{number}", auth=LOGIN, timeout=60)
        assert answer.status_code == 400


def test_half_open_connections_do_not_stop_the_others(backend, project):
    port = backend.port
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        for one in held:
            one.sendall(b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
        start = time.monotonic()
        assert httpx.get(f"{backend.url}/health", timeout=60).status_code == 200
        assert time.monotonic() - start < 30  # and 200 more such would be waited for 120 s each
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize(("hard", "connections", "soft"), [(64, 32, 64), (4096, 1000, 4096)])
def test_connections_leave_open_files_to_everything_else(hard, connections, soft):
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, {hard}))"
    ask = "from cdsel_backend.server.listen import connections as c; print(c(), r.getrlimit(r.RLIMIT_NOFILE)[0])"
    done = subprocess.run(
        [sys.executable, "-c", f"{limit}; {ask}"], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == [str(connections), str(soft)]


def test_nothing_is_kept_of_projects_that_are_not_connected(backend, project):
    for number in range(1000, 1030):
        event = {"action": "ANNOTATION_CREATED", "project": {"id": number}}
        assert httpx.post(f"{backend.url}/webhook", json=event, auth=LOGIN, timeout=60).status_code == 202
    for wrong in (True, 1.0, "1", -1, 0, 2**40, None, [1]):
        event = {"action": "ANNOTATION_CREATED", "project": {"id": wrong}}
        assert httpx.post(f"{backend.url}/webhook", json=event, auth=LOGIN, timeout=60).status_code == 202, (
            wrong
        )


# 4 again, last: this machine's guesses are refused for a minute afterwards


def test_the_dashboard_is_entered_by_a_form_left_for_good_and_not_guessed(backend, project):
    page = {"Accept": "text/html"}
    with httpx.Client(base_url=backend.url, headers=page, timeout=60) as browser:
        asked = browser.get("/projects")
        assert asked.headers["Location"] == "/login?next=/projects"
        assert sign_in(browser, "wrong").status_code == 401
        entered = sign_in(browser, LOGIN[1], back="//evil.example/x")
        assert entered.headers["Location"] == "/projects"  # nowhere else
        cookie = browser.cookies["cdsel_session"]
        page_shown = browser.get("/projects")
        assert page_shown.status_code == 200
        assert "Sign out" in page_shown.text
        assert browser.post("/logout").status_code == 400  # no token of a form: another site
        assert browser.post("/logout", data={"csrf_token": token_in(page_shown.text)}).status_code == 303
    stolen = httpx.get(f"{backend.url}/projects", headers=page, cookies={"cdsel_session": cookie}, timeout=60)
    assert stolen.status_code == 303
    with httpx.Client(base_url=backend.url, headers=page, timeout=60) as guesser:
        codes = [sign_in(guesser, f"guess {number}").status_code for number in range(15)]
        assert 429 in codes
        assert sign_in(guesser, LOGIN[1]).status_code == 429  # not even the right one, for a while
    answers = [
        httpx.get(f"{backend.url}/versions", auth=("studio", str(n)), timeout=60).status_code
        for n in range(15)
    ]
    assert 429 in answers
    assert "Retry-After" in httpx.get(f"{backend.url}/versions", auth=("studio", "x"), timeout=60).headers


def sign_in(browser: httpx.Client, password: str, back: str = "") -> httpx.Response:
    token = token_in(browser.get("/login").text)
    form = {"csrf_token": token, "user": LOGIN[0], "password": password, "next": back}
    return browser.post("/login", data=form)


def token_in(page: str) -> str:
    return page.partition('name="csrf_token" value="')[2].partition('"')[0]

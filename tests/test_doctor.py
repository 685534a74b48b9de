"""`cdsel doctor`, against a real Label Studio: what is well, each thing that can be wrong, and the mend."""

from __future__ import annotations

import email.utils
import json
import re
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler

import jwt
import pytest
import torch
import waitress
from backend import eventually
from click.testing import CliRunner
from conftest import LABEL_CONFIG
from test_client import serve

from cdsel_backend.cli import main
from cdsel_backend.demo.process import free_port
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.checkup import check_studio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.project.addresses import webhook
from cdsel_backend.project.connect import Connector
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.webhooks import ensure_webhooks
from cdsel_backend.server import machine_checkup
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings, read_server_settings
from cdsel_backend.store import State, Store
from cdsel_backend.store.data_folder import claim_folder


@pytest.fixture
def backend(tmp_path, studio):
    """The web part of a backend on a port of its own, with its store."""
    server = ServerSettings(data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=studio.token)
    store, stop = Store(server.database_url), threading.Event()
    connecting = threading.Thread(target=Connector(server, store).run, args=(stop,))
    connecting.start()
    http = waitress.create_server(create_app(server, store), host="127.0.0.1", port=free_port())
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.effective_port}"
    http.close()
    stop.set()
    connecting.join()
    store.close()


@pytest.fixture
def environment(monkeypatch, tmp_path, studio):
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
    monkeypatch.setenv("CDSEL_DATA_DIR", str(tmp_path))
    return monkeypatch


def examine(*options):
    """What doctor says, by subject, and its exit status."""
    done = CliRunner().invoke(main, ["doctor", "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    found: dict[str, list[dict]] = {}
    for row in json.loads(done.stdout):
        assert bool(row["fix"]) == (row["level"] != "ok"), row
        found.setdefault(row["subject"], []).append(row)
    return found, done.exit_code


def of(found, subject, project):
    return [row for row in found[subject] if row["project"] == project]


@pytest.fixture
def connected(client, backend, pool_project, environment):
    client.connect_backend(pool_project.id, backend, title="cdsel", extra_params="")
    server = read_server_settings()
    store = Store(server.database_url)
    project = eventually(lambda: store.project_of(pool_project.id), "it was never connected")
    client.ensure_webhook(pool_project.id, *webhook(server, State(store, project.id)))
    store.close()
    return pool_project.id


def test_all_is_well_and_the_probes_leave_nothing_behind(client, connected):
    def rows():
        hooks = {one["id"]: one for one in client.get("/api/webhooks/")}
        projects = {row["id"] for row in client.projects()}
        return hooks, projects, {row["id"] for row in client.get("/api/ml", {"project": connected})}

    before = rows()
    found, status = examine()
    assert rows() == before
    own = [row for rows in found.values() for row in rows if row["project"] in (None, connected)]
    assert {row["subject"] for row in own if row["level"] != "ok"} <= {"disk", "device"}
    assert status == 0
    server = (
        "Label Studio",
        "token",
        "rights",
        "clock",
        "login",
        "weights",
        "data folder",
        "backend",
        "ML_BLOCK_LOCAL_IP",
        "SSRF_PROTECTION_ENABLED",
        "database",
        "versions",
    )
    for subject in server:
        assert [row["level"] for row in found[subject]] == ["ok"], subject
    for subject in ("connection", "webhook", "labeling config", "storage", "images"):
        assert [row["level"] for row in of(found, subject, connected)] == ["ok"], subject


@pytest.mark.parametrize("token", ["f" * 40, "nonsense"])
def test_a_bad_token_is_told(environment, token):
    """Label Studio shows its version to anybody: the token must be asked for by itself."""
    environment.setenv("LABEL_STUDIO_API_KEY", token)
    found, status = examine()
    (row,) = found["Label Studio"]
    assert (row["level"], status) == ("problem", 1)
    assert "LABEL_STUDIO_API_KEY" in row["message"]
    assert "Personal Access Token" in row["fix"]
    assert "Personal Access Token" not in row["message"], "the fix is there once"


def test_nobody_at_the_address_no_token_and_a_bad_setting(environment):
    environment.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{free_port()}")
    found, status = examine()
    assert (found["Label Studio"][0]["level"], status) == ("problem", 1)
    assert "LABEL_STUDIO_URL" in found["Label Studio"][0]["message"]
    environment.delenv("LABEL_STUDIO_API_KEY")
    environment.setenv("CDSEL_BUDGET", "lots")
    environment.setenv("CDSEL_IMAGE_ROOT", "/data=/mnt")
    found, status = examine()
    assert "LABEL_STUDIO_API_KEY" in found["Label Studio"][0]["message"]
    assert "CDSEL_BUDGET = 'lots' is refused" in found["settings"][0]["message"]
    assert "did you mean CDSEL_IMAGE_ROOTS?" in found["settings"][1]["message"]


def test_orphans_and_doubles_are_removed_after_asking_and_nothing_else(client, connected, backend):
    hook = {"project": connected, "send_payload": True, "send_for_all_actions": True, "is_active": True}
    gone = f"http://127.0.0.1:{free_port()}/webhook"
    with serve(lambda request, body: (200, b"[]")) as (alive, _):
        double = client.send("POST", "/api/webhooks/", {**hook, "url": f"{backend}/webhook"})["id"]
        orphan = client.send("POST", "/api/webhooks/", {**hook, "url": gone})["id"]
        foreign = client.send("POST", "/api/webhooks/", {**hook, "url": f"{alive}/webhook"})["id"]
        other = client.send("POST", "/api/webhooks/", {**hook, "url": gone.replace("/webhook", "/else")})[
            "id"
        ]
        found, status = examine()
        rows = {row["webhook"] for row in of(found, "webhook", connected) if "webhook" in row}
        assert rows == {double, orphan}
        assert status == 0  # warnings only

        refused = CliRunner().invoke(main, ["doctor", "--fix"], input="n\n" * 9)
        assert "Remove?" in refused.output
        here = {one["id"] for one in client.webhooks(connected)}
        assert here >= {double, orphan, foreign, other}

        examine("--fix", "--yes")
        left = {one["id"] for one in client.webhooks(connected)}
    assert here - left == {double, orphan}
    kept = [one for one in client.webhooks(connected) if one["url"] == f"{backend}/webhook"]
    assert len(kept) == 1
    assert CliRunner().invoke(main, ["doctor", "--json", "--fix"]).exit_code == 2  # it could not ask


def test_a_webhook_without_the_token_and_one_that_is_missing(client, connected, environment, backend):
    client.ensure_webhook(connected, f"{backend}/webhook", {})
    found, status = examine()
    (row,) = of(found, "webhook", connected)
    assert (row["level"], status) == ("problem", 1)
    assert "lacks the token" in row["message"]
    for hook in client.webhooks(connected):
        client.delete_webhook(hook["id"])
    (row,) = of(examine()[0], "webhook", connected)
    assert row["level"] == "problem"
    assert "no webhook" in row["message"]


def test_a_disconnected_backend_and_a_deleted_project(client, connected, browser):
    (one,) = client.get("/api/ml", {"project": connected})
    client.request("DELETE", f"/api/ml/{one['id']}")
    (row,) = of(examine()[0], "connection", connected)
    assert row["level"] == "problem"
    browser.delete(f"/api/projects/{connected}")
    (row,) = of(examine()[0], "project", connected)
    assert "deleted" in row["message"]


def test_images_without_their_storage_and_a_labeling_config_that_cannot_be_used(client, connected):
    for storage in client.get("/api/storages/localfiles", {"project": connected}):
        client.request("DELETE", f"/api/storages/localfiles/{storage['id']}")
    (row,) = of(examine()[0], "images", connected)
    assert row["level"] == "problem"
    assert "Local storage" in row["message"]
    text = '<View><Text name="t" value="$site"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    client.update_project(connected, label_config=text)
    (row,) = of(examine()[0], "labeling config", connected)
    assert row["level"] == "problem"
    assert "<Image>" in row["message"]


def test_a_gpu_that_is_not_there_and_a_folder_that_is_full_or_closed(environment, tmp_path, monkeypatch):
    environment.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{free_port()}")
    environment.setenv("CDSEL_DEVICE", "cuda")
    found, _ = examine()
    assert found["device"][0]["level"] == ("ok" if torch.cuda.is_available() else "problem")
    monkeypatch.setattr(machine_checkup, "MIN_FREE_BYTES", 1 << 60)
    assert examine()[0]["disk"][0]["level"] == "problem"


def test_both_switches_of_a_label_studio_as_it_comes(studio, tmp_path, monkeypatch):
    folder = tmp_path / "studio"
    shutil.copytree(studio.data_dir, folder, ignore=shutil.ignore_patterns("files", "media", "*.log"))
    monkeypatch.setenv("CDSEL_DATA_DIR", str(tmp_path))
    both = {"ML_BLOCK_LOCAL_IP": "true", "SSRF_PROTECTION_ENABLED": "true"}
    with LocalStudio(folder, environment=both) as guarded:
        monkeypatch.setenv("LABEL_STUDIO_URL", guarded.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", guarded.token)
        found, status = examine()
        assert status == 1
        for switch in both:
            (row,) = found[switch]
            assert row["level"] == "problem"
            assert f"{switch}=false" in row["fix"]
            assert "from 1.23.1 on" in row["message"]
        check_that_a_refused_webhook_is_no_end(guarded, tmp_path)


def check_that_a_refused_webhook_is_no_end(guarded, folder):
    """Where no webhook may lead to us it is said, and labels come by polling."""
    client = LabelStudio(guarded.url, guarded.token)
    pool = client.create_project("Guarded", LABEL_CONFIG)
    server = ServerSettings(
        data_dir=folder / "other", label_studio_url=guarded.url, public_url="http://127.0.0.1:9090"
    )
    server.data_dir.mkdir()
    store = Store.open(server)
    project = store.connect_project(
        guarded.url, pool, label_config=LABEL_CONFIG, queue_project=pool, backbone="b"
    )
    (sentence,) = ensure_webhooks(Context(store, server, client), State(store, project), [pool])
    assert "SSRF_PROTECTION_ENABLED=false" in sentence
    assert client.webhooks(pool) == []
    store.close()


def test_a_token_that_ends_soon_a_clock_that_is_off_and_an_account_that_may_not_make_projects(monkeypatch):
    soon, far = (
        jwt.encode({"exp": int(time.time()) + 86400 * days, "token_type": "refresh"}, "x" * 32)
        for days in (3, 300)
    )
    late = email.utils.formatdate(time.time() - 900, usegmt=True)
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: late)
    release, statuses = "1.24.0", {"POST /api/projects/": (403, b'{"detail": "no"}')}

    def answer(request, body):
        path = f"{request.command} {request.path}"
        if path == "POST /api/token/refresh/":
            return 200, json.dumps({"access": far}).encode()
        if path == "GET /api/version":
            return 200, json.dumps({"release": release}).encode()
        return statuses.get(path, (200, b'{"email": "ann@example.org"}'))

    with serve(answer) as (url, _):
        checks = {row.subject: row for row in check_studio(LabelStudio(url, soon), soon)}
    assert [row.level for row in checks.values()] == ["warning", "warning", "problem", "warning"]
    assert "none as new as this" in checks["Label Studio"].message
    assert "ann@example.org" in checks["token"].message
    assert "Personal Access Token" in checks["token"].fix
    assert "may not make projects" in checks["rights"].message
    assert re.search(r"9\d\d s ahead", checks["clock"].message)


def test_a_data_folder_of_another_database_and_a_network_whose_weights_are_not_there(environment, tmp_path):
    environment.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{free_port()}")
    environment.setenv("CDSEL_BACKBONE", "resnet_of_my_own")
    server = read_server_settings()
    store = Store(server.database_url)
    claim_folder(store, tmp_path)
    store.close()
    (tmp_path / "folder.id").write_text("another\n")
    found, status = examine()
    assert status == 1
    assert "is not the data folder" in found["data folder"][0]["message"]
    assert "resnet_of_my_own" in found["weights"][0]["message"]
    assert found["login"][0]["level"] == "ok"


def test_a_person_reads_one_line_each(environment):
    environment.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{free_port()}")
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    lines = [line for line in done.output.splitlines() if line]
    assert all(line.split()[0] in ("ok", "warning", "problem", "fix:") for line in lines)
    assert "Traceback" not in done.output

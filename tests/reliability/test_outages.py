"""What goes away under a running worker is noticed, said once, and taken up again without a restart."""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
import time

import jwt
import pytest
from backend import eventually
from conftest import LABEL_CONFIG
from fake_studio import TOKEN, fake_studio
from sqlalchemy.exc import OperationalError
from test_slow import BUDGET, connect, picture, pushed, working

from cdsel_backend.labelstudio import connection
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError, TokenRefused
from cdsel_backend.labelstudio.tokens import not_accepted
from cdsel_backend.project.sentences.steps import next_step
from cdsel_backend.reconcile import worker as worker_module
from cdsel_backend.reconcile.clock import is_over
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import sync
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.activity import Step
from cdsel_backend.store.facts import STUDIO_FACT
from cdsel_backend.store.faults import sentence


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Label Studio, a store, and a project of it with pictures."""
    monkeypatch.setattr(worker_module, "LONGEST_PAUSE", 1.0)
    monkeypatch.setattr(worker_module, "LONGEST_REST", 0.5)
    monkeypatch.setattr(worker_module, "DATABASE_PAUSE", 0.3)
    with fake_studio() as studio:
        store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
        yield studio, store, connect(studio, store, "pool", [picture(number) for number in range(6)])
        store.close()


def test_the_first_look_at_a_new_project_goes_by_the_labeling_config_that_it_reads(project, tmp_path):
    studio, store, number = project
    server = ServerSettings(data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=TOKEN)
    context = Context(store, server, LabelStudio(studio.url, TOKEN))
    assert sync(context, context.read_state(number))
    assert State(store, number).item_count == 6


def test_a_token_that_is_replaced_in_its_file_is_used_without_a_restart(project, tmp_path, monkeypatch):
    studio, store, number = project
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_FILE", str(file))
    with working(studio, tmp_path) as worker:
        eventually(lambda: pushed(store, number) == BUDGET, "no round")
        studio.token = "1" * 40  # the former one is revoked
        fact = eventually(
            lambda: (found := store.fact(STUDIO_FACT)) and not found["reachable"] and found, "unseen"
        )
        assert "is not accepted" in fact["problem"]
        assert f"write it into {file}" in fact["problem"]
        state = eventually(
            lambda: (found := State(store, number)).project.activity.step is Step.STANDS_STILL and found,
            "it seems to be at work",
        )
        assert "kept by Label Studio, and learned then" in next_step(state, images=6, read=6)
        studio.submit(studio.next(state.project.queue_project)["id"], [], skip=True)
        worker.failures[number] = 99, time.monotonic() + 3600  # the next try is far
        file.write_text("")  # as an editor does before it writes
        eventually(lambda: worker.server.label_studio_api_key == "", "not read")
        file.write_text("1" * 40)
        eventually(lambda: store.fact(STUDIO_FACT)["reachable"], "the new token is not used")
        eventually(lambda: not store.project(number).problems, "the problem stays")
        eventually(lambda: State(store, number).skipped, "what was answered meanwhile is not taken in")
        step = eventually(
            lambda: (now := store.project(number).activity.step) is not Step.STANDS_STILL and now, "it stays"
        )
        assert step is Step.WAITING_FOR_LABELS


@pytest.mark.parametrize(
    ("token", "answers"),
    [
        ("a.personal.token", lambda path: (500, "<html>")),  # its own middleware fails, whatever is asked
        (TOKEN, lambda path: (200, {"active_organization": None}) if "whoami" in path else (404, {})),
    ],
)
def test_an_account_that_was_removed_from_its_organisation_is_named(token, answers, monkeypatch):
    monkeypatch.setattr(connection.SyncClientWrapper, "get_headers", lambda self: {"Authorization": "x"})
    monkeypatch.setattr(connection, "RETRIES", 0)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY_FILE", raising=False)
    with fake_studio() as studio:
        client = LabelStudio(studio.url, TOKEN)
        client._token = token
        studio.open_paths = {"/api/version"}
        ordinary = studio.answer
        studio.answer = lambda method, path, query, body: (
            ordinary(method, path, query, body) if path == "/api/version" else answers(path)
        )
        studio.open_paths = {"/api/version", "/api/current-user/whoami", "/api/projects/1/"}
        with pytest.raises(
            TokenRefused, match=r"belongs to no organisation .* set LABEL_STUDIO_API_KEY to it"
        ):
            client.project(1)
        studio.answer = lambda method, path, query, body: (500, {}) if "projects" in path else (200, {})
        with pytest.raises(
            LabelStudioError
        ) as failed:  # one route of it that fails says nothing of the account
            client.project(1)
        assert not isinstance(failed.value, TokenRefused)


@pytest.mark.parametrize(
    "reason", ["No active account found for the given token.", "User inactive or deleted."]
)
def test_a_token_of_an_account_that_was_deactivated_says_so(reason):
    message = not_accepted("http://127.0.0.1:9", TOKEN, reason)  # where nobody says which release it is
    assert "its account was deactivated or deleted: have it activated again" in message
    assert "deactivated" not in not_accepted("http://127.0.0.1:9", TOKEN, "Token is blacklisted")


def test_a_project_that_is_gone_or_of_another_label_studio_stands_still_and_says_so(project, tmp_path):
    studio, store, number = project
    other = store.connect_project("http://former:8080", 7, label_config=LABEL_CONFIG)
    with working(studio, tmp_path):
        eventually(lambda: pushed(store, number) == BUDGET, "no round")
        kept = dict(studio.projects)
        studio.projects.clear()
        for one, words in ((number, "is not in Label Studio any more"), (other, "http://former:8080")):
            eventually(lambda one=one: store.project(one).activity.step is Step.STANDS_STILL, "at work?")
            assert words in str(store.project(one).problems)
        assert "not in Label Studio any more" in next_step(State(store, number), images=6, read=6)
        studio.projects.update(kept)
        eventually(lambda: store.project(number).activity.step is Step.WAITING_FOR_LABELS, "it stays")
        eventually(lambda: not store.project(number).problems, "still said to be gone")


def test_a_personal_token_that_is_revoked_is_noticed_though_its_access_token_is_good(monkeypatch):
    monkeypatch.setattr(connection, "ACCESS_SECONDS", 0.0)

    def token(kind):
        return jwt.encode({"exp": time.time() + 300, "token_type": kind}, "k" * 32, algorithm="HS256")

    access, revoked = token("access"), []
    with fake_studio() as studio:
        answer, studio.token = studio.answer, access

        def answers(method, path, query, body):
            if path == "/api/token/refresh/":
                return (401, {"detail": "Token is blacklisted"}) if revoked else (200, {"access": access})
            return answer(method, path, query, body)

        studio.answer, studio.open_paths = answers, {"/api/token/refresh/"}
        client = LabelStudio(studio.url, token("refresh"))
        assert client.version() == "1.23.2"
        revoked.append(True)
        with pytest.raises(TokenRefused, match="blacklisted"):
            client.version()
    assert connection.ACCESS_SECONDS < 60


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(project, tmp_path, monkeypatch, caplog):
    studio, store, number = project
    full, tried = [True], []
    append = type(store.vectors_kept).append

    def no_room(*arguments):
        tried.append(1)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(*arguments)

    monkeypatch.setattr(type(store.vectors_kept), "append", no_room)
    with working(studio, tmp_path), caplog.at_level(logging.WARNING):
        words = eventually(lambda: len(tried) > 2 and store.project(number).problems.get("worker"), "unseen")
        assert words == [f"a step failed: {sentence(OSError(errno.ENOSPC, ''))}"]
        assert "Traceback" not in caplog.text
        full.clear()
        eventually(lambda: pushed(store, number) == BUDGET, "it did not go on")
        eventually(lambda: not store.project(number).problems, "the problem stays")


def test_a_deleted_database_is_noticed_and_taken_up_again_when_it_is_back(project, tmp_path, caplog):
    studio, store, number = project
    file = tmp_path / "cdsel.sqlite3"
    client = create_app(ServerSettings(data_dir=tmp_path), store).test_client()
    with working(studio, tmp_path) as worker:
        eventually(lambda: pushed(store, number) == BUDGET, "no round")
        with sqlite3.connect(file) as source, sqlite3.connect(tmp_path / "backup") as target:
            source.backup(target)
        for name in ("", "-wal", "-shm"):
            file.with_name(f"{file.name}{name}").unlink(missing_ok=True)
        for path, accept in (
            ("/health", ""),
            ("/projects", "text/html"),
            ("/projects/1/status.json", "application/json"),
        ):
            answer = client.get(path, headers={"Accept": accept})
            assert answer.status_code == 503, path
            assert "was deleted while it was in use" in answer.text
        eventually(lambda: "was deleted while it was in use" in caplog.text, "the worker does not notice")
        assert not file.exists(), "nobody makes an empty one"
        shutil.copy(tmp_path / "backup", file)
        eventually(lambda: client.get("/health").status_code == 200, "it is not taken up again")
        assert pushed(store, number) == BUDGET
        turns = worker.moves
        eventually(lambda: worker.moves > turns + 2, "the worker does not go on")


def test_a_locked_database_is_said_in_a_sentence():
    fault = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))
    assert sentence(fault).startswith("the database is locked by another program")
    assert "SELECT" not in sentence(fault)


def test_a_clock_that_was_set_back_holds_nothing_up(project, tmp_path):
    studio, store, number = project
    assert is_over(since=100_000, seconds=30, now=10_000)
    assert not is_over(since=9_990, seconds=30, now=10_000)
    ahead = time.time() + 25 * 3600
    with working(studio, tmp_path):
        eventually(lambda: pushed(store, number) == BUDGET, "no round")
    store.update_project(number, pool_synced_at=ahead, queue_synced_at=ahead)
    left_out = next(row.id for row in store.items(number) if row.id not in State(store, number).pushed)
    store.note_unusable([(left_out, "its host was away", ahead + 600)])
    assert store.take_lease(f"project:{number}", "one who died in the future")
    with store.engine.begin() as done:
        done.exec_driver_sql(f"UPDATE leases SET expires_at = {ahead}")
    queue = State(store, number).project.queue_project
    with working(studio, tmp_path):
        studio.submit(studio.next(queue)["id"], [], skip=True)
        eventually(lambda: State(store, number).skipped, "the answer is not taken in", seconds=60)
        eventually(lambda: not store.items_by_id([left_out])[left_out].problem, "the image waits for a day")
    assert State(store, number).project.queue_synced_at < ahead

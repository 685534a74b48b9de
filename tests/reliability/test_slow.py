"""One slow thing never starves the rest: hosts that never answer, answers that trickle, storage that hangs."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from backend import eventually
from conftest import LABEL_CONFIG
from fake_studio import TOKEN, fake_studio
from PIL import Image

from cdsel_backend.labelstudio import images
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioUnreachable
from cdsel_backend.labelstudio.deadline import timed, within
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.pool import suspension
from cdsel_backend.pool.suspension import HostSuspended, Suspensions
from cdsel_backend.reconcile import worker as worker_module
from cdsel_backend.reconcile.worker import Worker
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

HANGS, TRICKLES = b"", b"HTTP/1.1 200 OK\r\n"
HEALTHY, IMAGES, BUDGET = 4, 6, 4
SETTINGS = {"budget": BUDGET, "round_size": BUDGET, "preannotate": False, "view": "fast", "features": "last"}


@contextmanager
def host(says):
    """A server that accepts, says this and goes on byte by byte, or says nothing; its URL, and when it was asked."""
    ended, asked = threading.Event(), []

    def answer(connection):
        with connection:
            asked.append(time.monotonic())
            try:
                connection.sendall(says)
                while says and not ended.wait(0.02):
                    connection.sendall(b"X-More: ")
            except OSError:
                return
            ended.wait()

    def accept():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)


def reader():
    return ImageReader(LabelStudio("http://127.0.0.1:9", TOKEN, image_hosts="127.0.0.1"))


def picture(number):
    """An inline picture."""
    data = io.BytesIO()
    Image.effect_noise((32, 32), 20 + number).convert("RGB").save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


# one deadline


@pytest.mark.parametrize("says", [HANGS, TRICKLES, TRICKLES + b"Content-Length: 100000\r\n\r\n"])
def test_one_deadline_from_the_connection_to_the_last_byte(says, monkeypatch):
    monkeypatch.setattr(images, "MAX_SECONDS", 0.4)
    with host(says) as (url, _):
        begun = time.monotonic()
        with pytest.raises(ImageUnavailable, match="did not arrive within"):
            reader().read(f"{url}/a.png", 1)
        assert time.monotonic() - begun < 20


def test_a_request_to_label_studio_has_a_deadline_too(monkeypatch):
    monkeypatch.setattr("cdsel_backend.labelstudio.connection.PATIENCE", 0.4)
    with host(TRICKLES) as (url, _):
        begun = time.monotonic()
        with pytest.raises(LabelStudioUnreachable):
            LabelStudio(url, TOKEN).request("GET", "/api/version", timeout=1)
        assert time.monotonic() - begun < 20


def test_deadlines_may_be_nested_and_end_with_their_block():
    client = timed(httpx.Client(timeout=5))
    with fake_studio() as studio:
        with within(0.0), within(60), pytest.raises(httpx.TimeoutException):
            client.get(f"{studio.url}/api/version")
        assert client.get(f"{studio.url}/api/version").status_code == 200


# hosts that are left alone


def test_a_host_is_suspended_for_longer_and_longer_and_tried_by_one_request():
    now = [0.0]
    known = Suspensions(lambda: now[0])
    assert known.timed_out("slow") is known.timed_out("slow") is None
    known.admit("slow")
    assert known.in_trouble() == []
    pauses = []
    for _ in range(9):
        pauses.append(known.timed_out("slow").retry_after)
        with pytest.raises(HostSuspended, match="slow did not answer"):
            known.admit("slow")
        known.admit("other")
        now[0] += pauses[-1]
        known.admit("slow")  # one tries it
        with pytest.raises(HostSuspended):
            known.admit("slow")  # the others wait for that
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    known.answered("slow")
    known.admit("slow")
    assert known.in_trouble() == []


def test_many_requests_that_were_under_way_count_once():
    known = Suspensions()
    pauses = [fault.retry_after for _ in range(8) if (fault := known.timed_out("slow"))]
    assert len(pauses) == 6
    assert max(pauses) <= suspension.FIRST_SUSPENSION


def test_after_three_time_outs_a_host_is_not_asked_and_one_that_answers_anything_is(monkeypatch):
    monkeypatch.setattr(images, "MAX_SECONDS", 0.1)
    one = reader()
    with host(HANGS) as (url, asked):
        for _ in range(2):
            with pytest.raises(ImageUnavailable):
                one.read(f"{url}/a.png", 1)
        for _ in range(3):
            with pytest.raises(HostSuspended, match="did not answer 3 times in a row and is asked again at"):
                one.read(f"{url}/b.png", 1)
        assert len(asked) == 3
    with fake_studio() as studio:  # 401 is an answer
        for _ in range(5):
            with pytest.raises(ImageUnavailable, match="answered 401"):
                one.read(f"{studio.url}/a.png", 1)


# the worker


@contextmanager
def working(studio, folder):
    """A worker that goes round the projects of a Label Studio."""
    server = ServerSettings(
        data_dir=folder,
        label_studio_url=studio.url,
        label_studio_api_key=TOKEN,
        poll_seconds=1,
        image_hosts="127.0.0.1",
        device="cpu",
    )
    worker, stop = Worker(server), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join(60)
        worker.store.close()


def connect(studio, store, name, addresses):
    """A project whose images are at these addresses; returns our id."""
    pool = studio.add_project(name, LABEL_CONFIG, [{"image": address, "site": "a"} for address in addresses])
    return store.connect_project(
        studio.url, pool, backend_url="http://127.0.0.1:9", layers={"extra parameters": SETTINGS}
    )


def pushed(store, project):
    return len(State(store, project).open)


def test_an_image_host_that_never_answers_takes_no_round_from_other_projects(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_SECONDS", 600.0)
    monkeypatch.setattr("cdsel_backend.labelstudio.hosts.READ_SECONDS", 600.0)
    monkeypatch.setattr(worker_module, "TURN_SECONDS", 1.0)
    monkeypatch.setattr(worker_module, "SLOW_SECONDS", 2.0)
    monkeypatch.setattr(worker_module, "END_SECONDS", 0.1)
    with host(HANGS) as (url, asked), fake_studio() as studio:
        store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
        slow = connect(studio, store, "slow", [f"{url}/{number}.png" for number in range(IMAGES)])
        others = [
            connect(studio, store, f"p{one}", [picture(IMAGES * one + number) for number in range(IMAGES)])
            for one in range(HEALTHY)
        ]
        with working(studio, tmp_path) as worker:
            for project in others:  # each waits 600 s for the slow one, if it waits
                eventually(lambda project=project: pushed(store, project) == BUDGET, "no round", seconds=240)
            assert asked
            assert slow in worker.turns
            eventually(lambda: list(worker.turns) == [slow], "other turns do not end")
            words = eventually(lambda: store.project(slow).problems.get("slow"), "nothing is said")
            assert "at one step (embed)" in words[0]
        store.close()


@pytest.mark.slow
def test_a_suspended_host_is_a_problem_and_an_event_and_a_round_comes_without_its_images(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(images, "MAX_SECONDS", 0.3)
    # Longer than a busy machine may take for the round: the host is tried again only after it.
    monkeypatch.setattr(suspension, "FIRST_SUSPENSION", 20.0)
    monkeypatch.setattr(worker_module, "LONGEST_REST", 0.5)
    with host(HANGS) as (url, asked), fake_studio() as studio:
        store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
        addresses = [f"{url}/{number}.png" for number in range(10)]
        project = connect(studio, store, "mixed", addresses + [picture(number) for number in range(IMAGES)])
        with working(studio, tmp_path):
            eventually(lambda: pushed(store, project) == BUDGET, "no round", seconds=120)
            words = store.project(project).problems["hosts"]
            assert len(words) == 1
            assert "did not answer 3 times in a row" in words[0]
            sources = State(store, project).sources
            assert "IMAGE_HOST_SUSPENDED" in {event.action for event in store.events(sources)}
            before = len(asked)
            eventually(lambda: len(asked) > before, "it was never tried again", seconds=60)
        store.close()

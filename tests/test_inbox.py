"""No webhook waits for whoever writes into the database, and none is lost by that."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy.exc import StatementError
from test_layout import filled

from cdsel_backend.server.inbox import Inbox
from cdsel_backend.store.database import writing


def actions(store):
    return [event.action for event in store.events([1])]


def test_an_event_is_numbered_where_nobody_writes(store):
    filled(store, 3)
    assert Inbox(store).add(1, "TASKS_CREATED", {}, wait=30) == store.newest_event() > 0


def test_an_event_is_answered_while_the_worker_writes_and_kept_afterwards(store):
    filled(store, 3)
    inbox, begun, done = Inbox(store), threading.Event(), threading.Event()

    def commit_slowly():
        with writing(store.engine):
            begun.set()
            done.wait(60)

    worker = threading.Thread(target=commit_slowly)
    worker.start()
    begun.wait(60)
    start = time.process_time(), time.monotonic()
    numbers = [inbox.add(1, f"EVENT_{n}", {}) for n in range(5)]
    took = time.monotonic() - start[1]
    assert numbers == [0] * 5  # nothing could be written, and yet
    assert (
        took < 30
    )  # 5 x .05 s, on a machine that does other things as well; the worker would hold it for 60
    assert actions(store) == []
    done.set()
    worker.join()
    deadline = time.monotonic() + 60
    while len(actions(store)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert actions(store)[::-1] == [f"EVENT_{n}" for n in range(5)]


def test_what_cannot_be_written_is_an_error_for_who_waits(store):
    filled(store, 3)
    with pytest.raises(StatementError, match="JSON"):
        Inbox(store).add(1, "EVENT", {"no JSON": object()}, wait=30)

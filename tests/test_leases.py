"""Leases keep two workers apart, and stop the one that lost its own; on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import suppress

import numpy as np
import pytest
from sqlalchemy import select, update

from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioUnreachable
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.reconcile import worker as worker_module
from cdsel_backend.reconcile.deaths import LONGEST_PAUSE, forget_death, last_death, note_death
from cdsel_backend.reconcile.worker import Worker
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import LeaseLost, PoolTask, Store, schema
from cdsel_backend.store.database import writing
from cdsel_backend.store.leases import LEASE_SECONDS, project_lease, training_lease
from cdsel_backend.store.records import Became, Outcome

DAY = 25 * 3600.0


@pytest.fixture
def store(database_url, tmp_path):
    store = Store(database_url, tmp_path / "vectors")
    yield store
    store.close()


@pytest.fixture
def project(store):
    project = store.connect_project("http://studio", 1)
    store.sync_pool(project, [PoolTask(1, {"image": "/1.jpg"}, "/1.jpg")])
    return project


def set_end(store, name, seconds):
    """Let a lease end so many seconds from now, as if it had been given long ago or by a clock that was ahead."""
    with writing(store.engine) as connection:
        values = {"expires_at": time.time() + seconds}
        connection.execute(update(schema.leases).where(schema.leases.c.name == name).values(values))


def contents(store):
    """Every row of every table but the leases."""
    with store.engine.connect() as connection:
        return {
            table.name: connection.execute(select(table)).all()
            for table in schema.metadata.sorted_tables
            if table.name != "leases"
        }


def test_one_holder_at_a_time(store):
    assert store.take_lease("project:1", "a")
    assert store.take_lease("project:1", "a")
    assert not store.take_lease("project:1", "b")
    assert store.take_lease("project:2", "b")
    store.release_lease("project:1", "b")
    assert not store.take_lease("project:1", "b")
    store.release_lease("project:1", "a")
    assert store.take_lease("project:1", "b", -1)
    assert store.take_lease("project:1", "a")  # an ended lease is free


def test_only_a_lease_that_nobody_took_is_renewed(store):
    store.take_lease("project:1", "a", -1)
    assert store.renew_lease("project:1", "a")
    assert not store.take_lease("project:1", "b")
    set_end(store, "project:1", -1)
    store.take_lease("project:1", "b")
    assert not store.renew_lease("project:1", "a")
    store.release_lease("project:1", "b")
    assert not store.renew_lease("project:1", "a")  # what it had read may have changed


def test_a_clock_that_was_set_back_blocks_nobody(store):
    store.take_lease("project:1", "a")
    store.take_lease(training_lease(1), "a")
    assert store.training_runs(1)
    for name in ("project:1", training_lease(1)):
        set_end(store, name, DAY)
    assert not store.training_runs(1)
    assert store.take_lease("project:1", "b")
    assert not store.take_lease("project:1", "a")


def test_a_clock_that_is_set_right_by_a_moment_ends_no_lease(store):
    store.take_lease("project:1", "a")
    set_end(store, "project:1", LEASE_SECONDS + 5)
    assert not store.take_lease("project:1", "b")


def test_on_postgresql_the_clocks_of_the_workers_do_not_matter(new_postgresql, monkeypatch):
    store = Store(new_postgresql())
    store.take_lease("project:1", "a")
    now = time.time
    for wrong in (-DAY, DAY):
        with monkeypatch.context() as patch:
            patch.setattr("cdsel_backend.store.leases.time.time", lambda wrong=wrong: now() + wrong)
            assert not store.take_lease("project:1", "b")
            assert store.renew_lease("project:1", "a")
    store.close()


WRITES = {
    "event": lambda store, project: store.add_event(1, "TASKS_CREATED", {}),
    "fact": lambda store, project: store.set_fact("name", 1),
    "project": lambda store, project: store.update_project(project, backbone="b"),
    "problems": lambda store, project: store.note_problems(project, "worker", ["amiss"]),
    "pool": lambda store, project: store.sync_pool(project, []),
    "vectors": lambda store, project: store.add_vectors("b", [(1, "0" * 64, np.ones(2))]),
    "unusable": lambda store, project: store.note_unusable([(1, "404", 0.0)]),
    "labels": lambda store, project: store.replace_labels(
        project,
        1,
        [
            {
                "annotation": 1,
                "item": 1,
                "label": "a",
                "problem": None,
                "skipped": False,
                "annotator": "",
                "updated_at": "",
            }
        ],
    ),
    "round": lambda store, project: store.add_round(
        project, 1, [], strategy="random", seed=0, model_version=None
    ),
    "training": lambda store, project: store.add_training(
        project, version=None, round=0, labels={}, outcome=Outcome(Became.NO_MODEL), metrics={}
    ),
    "champion": lambda store, project: store.set_champion(project, "v1", who="worker"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_nothing_is_written_under_a_lease_that_was_lost(store, project, write):
    name = project_lease(project)
    store.take_lease(name, "a", -1)
    under = store.under(name, "a")
    under.note_problems(project, "metadata", ["no site"])  # ended, but nobody took it
    store.take_lease(name, "b")
    before = contents(store)
    with pytest.raises(LeaseLost):
        write(under, project)
    assert contents(store) == before
    store.release_lease(name, "b")
    with pytest.raises(LeaseLost):
        write(under, project)
    assert under.project(project).problems == {"metadata": ["no site"]}  # it may read
    write(store, project)
    assert contents(store) != before


def test_whoever_takes_a_lease_waits_for_the_transaction_under_it(store, project):
    name = project_lease(project)
    store.take_lease(name, "a", -1)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(store.take_lease(name, "b")))
    with writing(store.under(name, "a").engine) as connection:
        thread.start()
        thread.join(0.5)
        assert not taken
        connection.execute(update(schema.projects).values(title="still mine"))
    thread.join()
    assert taken == [True]
    assert store.project(project).title == "still mine"


def test_nothing_is_sent_to_label_studio_under_a_lease_that_was_lost(store):
    store.take_lease("project:1", "a", -1)
    under = store.under("project:1", "a")
    studio = LabelStudio("http://127.0.0.1:9", "0" * 40).with_permit(under.confirm_lease)
    with pytest.raises(LabelStudioUnreachable):  # nobody is there
        studio.send("POST", "/api/projects", {})
    assert not store.take_lease("project:1", "b"), "it was renewed for the request"
    set_end(store, "project:1", -1)
    store.take_lease("project:1", "b")
    with pytest.raises(LeaseLost):
        studio.send("POST", "/api/projects", {})
    with pytest.raises(LabelStudioUnreachable):
        studio.get("/api/projects")


def test_a_worker_that_lost_its_lease_in_a_step_leaves_the_project_to_the_other(
    store, project, tmp_path, monkeypatch
):
    server = ServerSettings(
        data_dir=tmp_path,
        database=store.engine.url.render_as_string(hide_password=False),
        label_studio_api_key="0" * 40,
    )
    worker = Worker(server)
    taken_over = []

    def step(context, number):
        set_end(store, project_lease(number), -1)  # away for too long
        taken_over.append(store.take_lease(project_lease(number), "other"))
        context.store.update_project(number, title="stale")
        raise AssertionError("the step went on")

    monkeypatch.setattr(worker_module, "reconcile", step)
    assert not worker._turn(store.project(project))
    assert taken_over == [True]
    assert (store.project(project).title, store.project(project).problems) == ("", {})
    assert not store.take_lease(project_lease(project), "third"), "the other still has it"
    worker.store.close()


def take_in_turns(url, barrier, name, log):
    store = Store(url)
    barrier.wait(60)
    for _ in range(20):
        if store.take_lease("project:1", name):
            under = store.under("project:1", name)
            log.put(under.fact("owner"))
            under.set_fact("owner", name)
            log.put(under.fact("owner") == name)
            under.set_fact("owner", None)
            store.release_lease("project:1", name)
    store.close()


def test_processes_that_race_for_a_lease_never_meet(database_url):
    start = multiprocessing.get_context("fork")
    barrier, log = start.Barrier(3), start.SimpleQueue()
    processes = [
        start.Process(target=take_in_turns, args=(database_url, barrier, name, log)) for name in "abc"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    seen = []
    while not log.empty():
        seen.append(log.get())
    assert seen
    assert set(seen) == {None, True}


def test_every_worker_knows_of_a_death(store, project):
    assert last_death(store, project) is None
    assert note_death(store, project, "labels", killed=True, first_pause=10) == 10
    assert note_death(store, project, "labels", killed=False, first_pause=10) == 20
    death = last_death(store, project)
    assert (death.times, death.killed) == (2, True)
    assert death.waits("labels")
    assert not death.waits("other labels")
    assert note_death(store, project, "labels", killed=False, first_pause=2 * LONGEST_PAUSE) == LONGEST_PAUSE
    forget_death(store, project)
    assert last_death(store, project) is None


def test_a_clock_that_was_set_back_after_a_death_keeps_no_training_waiting(store, project, monkeypatch):
    note_death(store, project, "labels", killed=True, first_pause=10)
    now = time.time
    monkeypatch.setattr("cdsel_backend.reconcile.deaths.time.time", lambda: now() - DAY)
    assert not last_death(store, project).waits("labels")


def test_a_setting_that_is_changed_while_label_studio_is_read_stays(store, project):
    paused, go_on = threading.Event(), threading.Event()

    def lower(layers):
        paused.set()
        go_on.wait(60)
        return {**layers, "dashboard": {"budget": 7}}, [
            {
                "who": "ann",
                "name": "budget",
                "old": 9,
                "old_source": "default",
                "new": 7,
                "new_source": "dashboard",
            }
        ]

    read = {"extra parameters": {"budget": 90}}
    with ThreadPoolExecutor(2) as threads:
        changed = threads.submit(store.change_layer, project, lower)
        assert paused.wait(60)
        connected = threads.submit(store.connect_project, "http://studio", 1, layers=read)
        with suppress(TimeoutError):
            connected.result(0.5)  # it waits, or is done: then it was lost
        go_on.set()
        changed.result(60)
        connected.result(60)
    assert store.project(project).layers == {**read, "dashboard": {"budget": 7}}


def test_what_several_keep_of_one_project_at_once_is_all_kept(store, project):
    sources = [store.add_source(project, f"/{name}.csv", {}) for name in "ab"]
    origins = [f"step {number}" for number in range(8)]

    def keep(number):
        source = sources[number % 2]
        new = store.take_items(source, [SourceItem(f"{name}.png", f"{name}.png", {}) for name in range(300)])
        store.note_problems(project, origins[number], ["is wrong"])
        return new[0]

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(keep, range(8))) == 600  # each image of a source once
    found = store.items(project)
    assert len({item.task for item in found}) == len(found) == 601
    assert store.embedding_progress(project) == (0, 0, 601)
    assert sorted(one.origin for one in store.problems(project)) == origins

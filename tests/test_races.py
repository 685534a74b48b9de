"""What comes between a look and what follows from it: nothing is lost, and nothing older is written over it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import LABEL_CONFIG
from world import POOL, QUEUE, World

from cdsel_backend.pool.source import SourceItem
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile import intake, taking_out, training, training_process
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.directives import withdraw_excluded
from cdsel_backend.reconcile.idle import Standing, rests, settle
from cdsel_backend.reconcile.intake import sync
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import check_champion, train
from cdsel_backend.reconcile.training_process import train_apart
from cdsel_backend.store.activity import Request
from cdsel_backend.store.records import Directive, ReadImage
from cdsel_backend.store.setup_calls import MOST_HOSTS, MOST_SETUP_CALLS


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def first_round(world):
    """A round that is selected, pushed and labelled; nothing is trained."""
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    world.label(world.state().open)


@pytest.fixture
def looks(world, monkeypatch):
    """The looks at Label Studio, each as whether the pool was due; the clock; and what comes `meanwhile`."""
    taken = SimpleNamespace(taken=[], now=1_700_000_000.0, meanwhile=lambda: None)
    monkeypatch.setattr("time.time", lambda: taken.now)

    def look(context, state, due, now):
        taken.taken.append(due.pool)
        synced = {"pool_synced_at": now} if due.pool else {}
        context.store.update_project(state.project.id, **synced, queue_synced_at=now)
        taken.meanwhile()
        return context.read_state(state.project.id)

    monkeypatch.setattr(intake, "_look", look)
    monkeypatch.setattr(intake, "name_annotators", lambda context, state: None)
    assert world.step(sync)
    return taken


def test_a_request_that_comes_after_the_look_waits_for_the_labels_that_it_is_about(world, looks):
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    some = sorted(world.state().open)[:7]
    world.label(some)
    world.store.add_event(POOL, Request.TRAIN, {})
    assert world.step(sync)
    assert world.step(train)
    assert not world.step(sync)
    # Label Studio has three labels more, which the next look brings; who gave them asks for a training.
    world.store.add_event(POOL, Request.TRAIN, {})
    world.store.add_event(POOL, Request.SELECT, {})
    assert not world.step(train_apart)
    assert not world.step(select_round)
    asked = [event.action for event in world.store.open_events([POOL])]
    assert asked == [Request.TRAIN, Request.SELECT], "nobody has looked what they are about"
    looks.meanwhile = lambda: world.label(sorted(world.state().open)[:3])
    assert world.step(sync)
    assert world.step(train)
    assert [row.label_count for row in world.state().trainings] == [7, 10]


def test_a_training_process_answers_what_was_asked_before_it_was_started(world, looks, monkeypatch):
    first_round(world)
    world.store.add_event(POOL, Request.TRAIN, {})
    world.step(sync)
    started = []
    monkeypatch.setattr(world.context.trainings, "start", lambda *arguments: started.append(arguments))
    assert world.step(train_apart)
    ((_, _, target, *arguments),) = started
    world.store.add_event(POOL, Request.TRAIN, {})  # while the process starts
    monkeypatch.setattr(
        training_process, "_ending_with", lambda *_: training_process.closing(SimpleNamespace(close=int))
    )
    target(0, *arguments)
    assert len(world.state().trainings) == 1
    assert len(world.store.open_events([POOL])) == 1


@pytest.mark.parametrize("behind", [0.0, 30.0])
def test_the_pool_is_looked_at_once_more_after_an_event_about_it(world, looks, behind):
    """It tells of an import before others can see it; and the web server may run by a clock that is behind ours."""
    poll = world.server.poll_seconds

    def is_at_rest():
        settle(world.context, world.project, Standing.of(world.context, world.project))
        return rests(world.context, world.project)

    looks.now += 1
    assert not world.step(sync)
    looks.now -= behind
    world.store.add_event(POOL, "TASKS_CREATED", {})
    looks.now += behind
    assert world.step(sync)
    assert looks.taken == [True, True]
    assert not world.step(sync)
    looks.now += poll / 2
    assert is_at_rest()
    assert not world.step(sync)
    looks.now += 1 + poll / 2
    assert not is_at_rest()
    assert world.step(sync)
    assert looks.taken == [True, True, True]
    for _ in range(3):
        looks.now += 1 + poll
        assert world.step(sync)
    assert looks.taken[3:] == [False] * 3


def look_at_pool(world, monkeypatch, **instead):
    """Look at the pool without Label Studio, with these functions of `intake` and answers instead of its own."""
    answers = {
        "known_project": {"title": "pool", "label_config": LABEL_CONFIG},
        "config_in_force": (LABEL_CONFIG, None),
        "rename_queues": None,
        "list_tasks": None,
        "ensure_webhooks": [],
        "find_queues": None,
        "look_up": None,
    }
    for name, answer in (answers | instead).items():
        monkeypatch.setattr(intake, name, answer if callable(answer) else lambda *_, answer=answer: answer)
    monkeypatch.setattr(intake.connection, "look", lambda *_: False)
    world.store.update_project(world.project, pool_synced_at=1.0)
    intake.sync_pool(world.context, world.state(), 2.0)


def test_the_pool_is_listed_by_the_labeling_config_that_was_just_read(world, monkeypatch):
    """Labels that are there are read in another way then, and not only at the look after the next."""
    newer = LABEL_CONFIG.replace("<Choice ", '<Choice value="newer"/><Choice ', 1)
    listed = []
    look_at_pool(
        world,
        monkeypatch,
        config_in_force=(newer, None),
        list_tasks=lambda _, state, space: listed.append(state.project.label_config),
    )
    assert listed == [newer]


def test_a_queue_that_is_taken_back_has_its_webhook_at_once(world, monkeypatch):
    """As after a kill between making it and noting it; at the next look its labels had come late for five minutes."""
    found = []
    look_at_pool(
        world,
        monkeypatch,
        find_queues=lambda _, state: world.store.update_project(state.project.id, queue_project=77),
        ensure_webhooks=lambda _context, _state, sources: found.extend(sources) or [],
    )
    assert sorted(found) == sorted([POOL, 77])


def test_a_round_that_is_selected_while_a_model_is_trained_has_a_training_of_its_own(world, monkeypatch):
    first_round(world)
    train_model = training.train_model

    def slow(*arguments):
        world.step(detect_confounders)
        world.step(select_round)
        world.push()
        return train_model(*arguments)

    monkeypatch.setattr(training, "train_model", slow)
    world.store.add_event(POOL, Request.TRAIN, {})
    assert world.step(train)
    assert world.state().trainings[-1].round == 1
    assert len(world.state().rounds) == 2


def test_a_version_that_is_promoted_while_the_champion_is_looked_at_stays(world, monkeypatch):
    world.round()
    world.round()
    first, second = world.state().versions
    world.store.set_champion(world.project, second, who="ann")

    def load(folder):
        world.store.set_champion(world.project, first, who="ann")
        raise training.ModelFormatError(f"{folder} is damaged")

    monkeypatch.setattr(training, "load", load)
    assert world.step(check_champion)
    assert world.state().project.champion == first
    assert "model" not in world.state().project.problems
    before = world.state()
    assert not world.store.replace_champion(world.project, None, instead_of=second)
    assert world.store.replace_champion(world.project, None, instead_of=before.project.champion)
    assert world.state().project.champion is None


@pytest.fixture
def pool(store):
    """A project with a source outside Label Studio, of two images."""
    project = store.connect_project("http://studio", POOL, queue_project=QUEUE, backbone="b")
    source = store.add_source(project, "/data/pool.csv", {})
    store.take_items(source, [SourceItem(name, name, {}, stamp="1") for name in "ab"])
    return SimpleNamespace(project=project, source=source)


@pytest.mark.parametrize("change", ["another file", "another way to read it", "taken out"])
def test_what_was_read_of_a_file_is_not_kept_where_the_source_lists_another_by_then(store, pool, change):
    due = store.without_vector(pool.project, limit=9, now=time.time())
    if change == "another file":
        store.take_items(pool.source, [SourceItem("a", "a", {}, stamp="2")])
    elif change == "another way to read it":
        store.add_source(pool.project, pool.source.address, {"frame": 3})
    else:
        store.withdraw(pool.project, [due[0].id])
    read = [ReadImage(row.id, f"{row.id:064}", np.ones(3, np.float32), {}, None) for row in due]
    kept = store.keep_read("b", read, due_at={row.id: row.due_at for row in due})
    store.note_unusable([(due[0].id, "no image", 5.0)], due_at={due[0].id: due[0].due_at})
    row, other = store.items(pool.project)
    assert (row.content_hash, row.problem) == (None, None)
    assert due[0].id not in kept
    assert row.due_at == (None if change == "taken out" else 1.0)
    assert (other.content_hash is None) == (change == "another way to read it")
    for row in store.without_vector(pool.project, limit=9, now=time.time()):
        read = [ReadImage(row.id, f"{row.id + 10:064}", np.ones(3, np.float32), {}, None)]
        assert store.keep_read("b", read, due_at={row.id: row.due_at})
    assert not store.without_vector(pool.project, limit=9, now=time.time())


@pytest.mark.parametrize("change", ["none", "label", "draft"])
def test_what_is_submitted_while_an_image_is_taken_out_of_the_queue_is_not_deleted_with_its_task(
    world, monkeypatch, change
):
    """The database may keep us waiting between the look at a task and its end."""
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    item = min(world.state().open)
    world.store.direct(world.project, [item], Directive.EXCLUDED, who="ann")
    task, deleted = {"id": 901}, []
    take_out = world.store.take_out

    def meanwhile(*arguments):
        task.update({"label": {"annotations": [1]}, "draft": {"drafts": [1]}}.get(change, {}))
        take_out(*arguments)

    monkeypatch.setattr(world.store, "take_out", meanwhile)
    monkeypatch.setattr(taking_out, "task_of", lambda *_: dict(task))
    world.context.studio = SimpleNamespace(delete_task=deleted.append)
    assert world.step(withdraw_excluded) == (change == "none")
    assert deleted == ([901] if change == "none" else [])


def test_an_older_listing_of_a_source_takes_nothing_away_from_a_newer_one(store, tmp_path):
    """The worker lists a table, and `cdsel pool add` lists it with a row more."""
    table = tmp_path / "pool.csv"
    table.write_text("path,site\na.png,1\nb.png,1\n")
    project = store.connect_project("http://studio", POOL, queue_project=POOL)
    source = store.add_source(project, str(table), {"image": "path"})
    by_worker = take_in(store, source, tmp_path)
    assert next(by_worker) == (2, 2, 0)
    assert list(take_in(store, source, tmp_path)) == [], "the worker's is enough for another worker"

    def waiting():
        list(by_worker)
        table.write_text("path,site\na.png,2\nb.png,1\nc.png,1\n")

    assert list(take_in(store, source, tmp_path, again=True, waiting=waiting))[-1] == (3, 1, 1)
    stale = store.source(source.id)
    kept = store.add_source(project, str(table), {"image": "path", "frame": 2})
    list(take_in(store, kept, tmp_path, again=True))
    assert stale.options != store.source(source.id).options
    assert [(row.key, row.data["site"], row.gone) for row in store.items(project)] == [
        ("a.png", "2", False),
        ("b.png", "1", False),
        ("c.png", "1", False),
    ]


def test_calls_of_setup_for_connected_projects_are_kept_however_many_wait(store):
    """Each is looked at for a quarter of a minute: a script that changes the settings of all projects makes many."""
    for number in range(1, 61):
        store.connect_project("http://studio", number)
    for number in range(1, 200):
        store.note_setup_call(number, "ours:9090", "")
    called = [call.source for call in store.setup_calls()]
    assert called == [*range(1, 61), *range(61, 61 + MOST_SETUP_CALLS)]
    for number in range(20):
        store.note_setup_call(7, f"host-{number}", "")
    assert [call.source for call in store.setup_calls()].count(7) == MOST_HOSTS

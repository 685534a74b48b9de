"""Training runs in a process of its own: what its death does to everything else."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from world import World

from cdsel_backend.demo.process import free_port
from cdsel_backend.pool.decode_journal import FOLDER
from cdsel_backend.project.serving import load_champion, model_folder
from cdsel_backend.project.versions import kept
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.processes import TrainingProcesses
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import check_champion
from cdsel_backend.reconcile.training_process import ORIGIN, explain_apart, train_apart
from cdsel_backend.store.activity import Request
from cdsel_backend.store.leases import explaining_lease
from cdsel_backend.training import load

PATIENCE = 120.0


@pytest.fixture
def world(tmp_path):
    """A world whose second round is labelled and due for training, with a champion from the first."""
    world = World(tmp_path)
    world.context.trainings = TrainingProcesses(first_pause=0.0)
    assert world.round()
    world.step(select_round)
    world.push()
    world.label(world.state().open)
    world.step(detect_confounders)
    yield world
    world.context.trainings.stop()


def start(world):
    assert world.step(train_apart)
    return world.context.trainings.process_id(world.project)


def wait_for_end(world):
    until = time.monotonic() + PATIENCE
    while not world.context.trainings.any_ended():
        assert time.monotonic() < until, "the training process does not end"
        time.sleep(0.02)
    assert world.step(train_apart)  # looks at the end


def problems(world):
    return world.state().project.problems.get(ORIGIN, [])


def kill(world, after):
    """Start a training, kill it so many seconds later; returns whether that was before its end."""
    trained = len(world.state().trainings)
    number = start(world)
    time.sleep(after)
    os.kill(number, signal.SIGKILL)
    wait_for_end(world)
    assert not world.step(check_champion), "what serves is whole"
    assert load_champion(world.server, world.state()) is not None
    return len(world.state().trainings) == trained


def check_whole(world, trainings):
    """Every version that is kept can be loaded, and nothing else lies in the model folder."""
    state = world.state()
    versions = kept(state)
    assert len(state.trainings) == trainings
    folder = model_folder(world.server, world.project)
    assert sorted(path.name for path in folder.iterdir()) == sorted(versions)
    for version in versions:
        load(folder / version)
    assert problems(world) == []


def test_a_training_goes_on_in_its_own_process_while_the_loop_does_other_things(world):
    champion = world.state().project.champion
    number = start(world)
    assert number != os.getpid()
    assert not world.step(train_apart)  # one at a time
    assert not world.step(select_round)  # the next round waits for its model
    assert world.state().project.champion == champion
    wait_for_end(world)
    assert len(world.state().trainings) == 2
    assert not world.step(train_apart)  # the same labels are not trained on twice
    assert world.step(select_round)
    check_whole(world, 2)
    # What a fine-tune decodes is noted by this process, too: nothing else here keeps a journal.
    assert list((world.server.data_dir / FOLDER).glob("*.journal"))


@pytest.mark.slow
def test_what_a_training_tells_is_computed_apart_once_its_model_has_chosen(world):
    """Nobody waits for it: labels come in, the queue is filled, and the champion serves meanwhile."""
    start(world)
    wait_for_end(world)
    assert "insight" not in world.state().trainings[-1].metrics
    assert world.step(explain_apart)
    assert not world.step(explain_apart)  # one at a time
    assert world.step(select_round), "the next round does not wait for it"
    wait_for_end(world)
    assert world.state().trainings[-1].metrics["insight"]["curve"]
    assert not world.step(explain_apart)
    check_whole(world, 2)


def begin_to_explain(world):
    start(world)
    wait_for_end(world)
    assert world.step(explain_apart)


def test_an_explanation_that_is_killed_is_not_tried_again_and_costs_nothing_else(world):
    begin_to_explain(world)
    os.kill(world.context.trainings.process_id(world.project), signal.SIGKILL)
    wait_for_end(world)
    assert world.state().trainings[-1].metrics["insight"] is None
    assert not world.step(explain_apart)
    check_whole(world, 2)


@pytest.mark.slow
def test_an_explanation_ends_with_its_worker_and_the_next_worker_computes_it(world):
    begin_to_explain(world)
    (project,) = world.context.trainings.stop()
    world.store.release_lease(explaining_lease(project), world.context.trainings.holder)
    assert world.step(explain_apart)
    wait_for_end(world)
    assert world.state().trainings[-1].metrics["insight"]["curve"]


def test_the_same_labels_give_the_same_champion_bit_for_bit(tmp_path):
    """Whatever order the labels came in, and however often a training was killed on the way."""
    found = []
    for name in ("once", "piecemeal"):
        world = World(tmp_path / name)
        world.context.trainings = TrainingProcesses(first_pause=0.0)
        world.step(detect_confounders)
        world.step(select_round)
        world.push()
        items = sorted(world.state().open)
        for part in [items] if name == "once" else [items[15:], items[:4], items[4:15]]:
            world.label(part)
        if name == "piecemeal":
            os.kill(start(world), signal.SIGKILL)
            wait_for_end(world)
        world.step(detect_confounders)
        start(world)
        wait_for_end(world)
        folder = model_folder(world.server, world.project) / world.state().project.champion
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
        world.context.trainings.stop()
    assert set(found[0]) == {"model.safetensors", "model.json", "checksums.json"}
    assert found[0] == found[1]


def test_a_training_of_the_head_alone_needs_no_torch():
    """It costs each training process a second to load and 180 MB of memory."""
    code = "import sys; from cdsel_backend.reconcile import rounds, training_process; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_process_that_waits_for_a_training_ends_with_whoever_keeps_it():
    trainings = TrainingProcesses()
    trainings.keep_warm(os.getpid)
    process = trainings._idle.process
    assert process.is_alive()
    del trainings
    gc.collect()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_killed_trainings_take_nothing_along(world):
    for after in (0.0, 0.5, 1.0):
        assert kill(world, after)
        assert "killed by signal 9" in problems(world)[0]
    start(world)
    wait_for_end(world)
    check_whole(world, 2)


@pytest.mark.slow
def test_after_a_training_was_killed_the_same_labels_are_learnt_without_a_fine_tune(world):
    layers = world.state().project.layers
    world.store.update_project(world.project, layers={**layers, "dashboard": {"training": "backbone"}})
    assert kill(world, 0.0)
    start(world)
    wait_for_end(world)
    training = world.state().trainings[-1]
    assert training.version
    assert "was killed" in training.metrics["fine_tune"]["why"]
    assert "was killed" in world.state().project.problems["fine-tune"][0]
    check_whole(world, 2)


@pytest.mark.slow
def test_fifty_trainings_killed_at_random_moments(world):
    """The moments are spread over a little more than a whole training, so that saving and recording are hit, too."""
    begun = time.monotonic()
    start(world)
    wait_for_end(world)
    whole = time.monotonic() - begun
    draw, caught, items = random.Random(1), 0, iter(sorted(world.truth.keys() - world.state().labels.keys()))
    for _ in range(50):
        if not world.state().changed_labels:  # at first, and after a kill that came too late
            world.label([next(items) for _ in range(2)])
            world.store.add_request(world.project, Request.TRAIN, who="test")
            world.step(detect_confounders)
        caught += kill(world, draw.uniform(0, 1.1 * whole))
    assert caught >= 25
    print(f"{caught} of 50 killed before their end; a whole training takes {whole:.1f} s")
    world.label([next(items)])
    world.store.add_request(world.project, Request.TRAIN, who="test")
    trained = len(world.state().trainings)
    start(world)
    wait_for_end(world)
    check_whole(world, trained + 1)


def test_the_same_labels_wait_after_a_death_and_not_where_the_database_was_away_and_new_ones_never(world):
    world.context.trainings = TrainingProcesses(first_pause=1000.0)
    server = world.context.server
    nowhere = f"postgresql+psycopg://127.0.0.1:{free_port()}/none"
    world.context.server = server.model_copy(update={"database": nowhere})
    start(world)
    wait_for_end(world)
    world.context.server = server
    assert problems(world) == []
    os.kill(start(world), signal.SIGKILL)
    wait_for_end(world)
    assert not world.step(train_apart)
    assert "tried again in 1000 s" in problems(world)[0]
    assert world.step(select_round), "the queue goes on without the new model"
    world.push()
    world.label(sorted(world.state().open)[:1])
    start(world)
    wait_for_end(world)
    check_whole(world, 2)


def test_a_training_that_raises_says_so_on_the_page(world):
    folder = model_folder(world.server, world.project) / world.state().project.champion
    (folder / "model.safetensors").unlink()
    start(world)
    wait_for_end(world)
    assert "model.safetensors" in problems(world)[0]

"""The queue never runs dry: the next round is chosen while images of the last are open."""

from __future__ import annotations

import json
import time

import pytest
from backend import eventually
from test_loop import submit_next
from world import World

from cdsel_backend.labelstudio import queue
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.reconcile import rounds
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.rounds import refill, select_round
from cdsel_backend.reconcile.training import train, training_due
from cdsel_backend.store.leases import training_lease

HOLDER = "a training"
IMAGES_MEANWHILE = 15  # that she could have labelled while the first round was made, at the least


@pytest.fixture
def world(tmp_path):
    """A world with a champion whose second round is pushed and half labelled."""
    world = World(tmp_path, refill_at=0.5)
    assert world.round()
    assert world.step(select_round)
    world.push()
    world.label(sorted(world.state().open)[:10])
    return world


def test_a_training_and_the_next_round_begin_while_half_a_round_is_open(world):
    state = world.state()
    assert (state.low_water, len(state.open), state.runs_low, state.runs_dry) == (10, 10, True, False)
    assert training_due(world.context, state)
    assert world.step(train)
    assert not training_due(world.context, world.state()), "one training a round"
    assert world.step(select_round)
    assert len(world.state().waiting) == 20


def test_the_last_round_of_the_budget_is_trained_on_once_it_is_labelled(world):
    world.step(train)
    world.step(select_round)
    world.push()
    world.label(world.state().open)
    assert not world.state().room
    assert world.step(train)
    assert not training_due(world.context, world.state())


def test_while_a_model_is_trained_the_queue_gets_what_it_needs_and_the_new_model_chooses_the_rest(
    world, monkeypatch
):
    asked = []
    monkeypatch.setattr(queue, "adopt", lambda *_: False)  # nobody pushes to a Label Studio here
    monkeypatch.setattr(
        queue, "push", lambda *_, most: asked.append(most) or push(world, world.state().waiting[:most])
    )
    monkeypatch.setattr(rounds, "open_queues", lambda *_: False)
    monkeypatch.setattr(rounds, "Display", lambda *_: None)
    assert world.store.take_lease(training_lease(world.project), HOLDER)
    assert not world.step(refill), "ten open images last for a while: the model is waited for"
    assert not world.step(select_round)
    world.label(sorted(world.state().open)[:6])
    assert world.step(refill)
    provisional = [row.item for row in world.state().waiting]
    assert world.step(refill)
    assert asked == [6], "ten are open again, and the rest waits"
    pushed = world.state().pushed
    assert not world.step(refill)
    assert world.step(train)
    assert not world.step(select_round), "the lease is not given back yet"
    world.store.release_lease(training_lease(world.project), HOLDER)
    before = world.state()
    assert world.step(select_round)
    after = world.state()
    chosen = [row.item for row in after.waiting]
    assert len(chosen) == 14
    assert chosen != provisional[6:], "the new model chose others"
    assert after.pushed == pushed
    assert [row.rank for row in after.selections] == [row.rank for row in before.selections]
    assert after.rounds[-1].model_version == after.project.champion
    assert not world.step(select_round)
    world.push()
    assert len(world.state().used) == world.state().settings.budget


def push(world, rows):
    world.store.mark_selections(world.project, {row.item: {"queue_task": 900 + row.rank} for row in rows})
    return True


def test_a_round_is_waited_for_to_its_end_where_the_setting_is_0(tmp_path):
    world = World(tmp_path)
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    world.label(sorted(world.state().open)[:19])
    assert not world.state().runs_low
    assert not world.state().runs_dry
    assert not training_due(world.context, world.state())
    assert not world.step(select_round)


def test_an_annotator_with_a_queue_of_her_own_does_not_wait_for_a_slower_one(tmp_path):
    world = World(tmp_path, refill_at=0.5, annotators={"ann@example.org": 30, "bob@example.org": 30})
    users = {"ann@example.org": 1, "bob@example.org": 2}
    world.store.set_annotators(
        world.project, {email: {"user": user, "queue_project": 100 + user} for email, user in users.items()}
    )
    world.step(detect_confounders)
    world.step(select_round)
    rows = world.state().waiting
    world.store.mark_selections(
        world.project,
        {row.item: {"queue_task": 900 + row.rank, "annotator": sorted(users)[row.rank % 2]} for row in rows},
    )
    assert not world.state().runs_low
    world.label(sorted(world.state().placed["ann@example.org"])[:5])
    assert len(world.state().open) == 15
    assert world.state().runs_low
    assert world.step(select_round)


@pytest.mark.slow
def test_an_annotator_never_meets_an_empty_queue_while_budget_is_left(pool_project, backend, studio):
    """She labels an image a second, or as fast as this machine is, never waiting for a round."""
    client, budget = LabelStudio(studio.url, studio.token), 30
    begun = time.monotonic()
    settings = {"budget": budget, "round_size": 10, "group": "patient_id", "refill_at": 0.5}
    client.connect_backend(pool_project.id, backend.url, title="cdsel", extra_params=json.dumps(settings))

    def status():
        return backend.status(pool_project.id)

    ready = eventually(lambda: status().get("open") and status(), "no round came", details=backend.tail)
    pace = max(1.0, (time.monotonic() - begun) / IMAGES_MEANWHILE)
    ranks = []
    while len(ranks) < budget:
        data = submit_next(client, ready["queue_project"], pool_project.truth)
        assert data is not None, f"dry after {len(ranks)} labels\n{backend.tail()}"
        ranks.append(data["cdsel_rank"])
        time.sleep(pace)
        eventually(lambda: status().get("labelled", 0) >= len(ranks) - 2, "labels are not seen")
    assert ranks == list(range(1, budget + 1))
    assert submit_next(client, ready["queue_project"], pool_project.truth) is None
    eventually(
        lambda: status()["labelled"] == budget and status()["champion"], "no model", details=backend.tail
    )

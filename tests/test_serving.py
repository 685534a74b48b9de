"""The one door for predictions."""

from __future__ import annotations

import numpy as np
import pytest
from world import POOL, QUEUE, World

from cdsel_backend.project.embedded import read_pool
from cdsel_backend.project.serving import Predictions, load_champion, predict
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State
from cdsel_backend.training import ModelFormatError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    assert world.round()
    assert world.round()
    return world


def test_the_door_says_what_the_champion_says_of_the_whole_pool(world):
    state = world.state()
    pool = read_pool(state)
    whole = predict(load_champion(world.server, state), pool, np.arange(len(pool.ids)))
    asked = [int(pool.ids[7]), int(pool.ids[2]), 10**9]
    found = Predictions(world.server, world.store).of_items(state, asked)
    assert list(found) == sorted(asked[:2])
    # On some processors the last digits depend on how many images are asked about together.
    np.testing.assert_allclose(found[asked[0]], whole[7], rtol=1e-6)
    np.testing.assert_allclose(found[asked[1]], whole[2], rtol=1e-6)


def test_tasks_of_the_queue_stand_for_those_of_the_pool(world):
    before = world.state().project.layers
    world.store.update_project(world.project, layers={**before, "dashboard": {"preannotate_from": 0.0}})
    service, state = Service(world.server, world.store), world.state()
    selected = state.selections[0]
    task = world.store.items_by_id([selected.item])[selected.item].task
    of_pool = service.predictions(state.project, POOL, [{"id": task}, {"id": 99_999}, {}])
    of_queue = service.predictions(state.project, QUEUE, [{"id": selected.queue_task}])
    assert of_queue == of_pool[:1]
    assert of_queue[0]["result"]
    # An annotator gets no answer that the model is not sure of, or none at all; whoever asks for the pool gets it.
    for settings in ({"preannotate_from": 1.0}, {"preannotate": False}):
        world.store.update_project(world.project, layers={**before, "dashboard": settings})
        (unsure,) = service.predictions(state.project, QUEUE, [{"id": selected.queue_task}])
        assert unsure == {**of_queue[0], "result": []}
        assert service.predictions(state.project, POOL, [{"id": task}]) == of_pool[:1]
    world.store.update_project(world.project, layers=before)
    assert [one["result"] for one in of_pool[1:]] == [[], []]
    assert {one["model_version"] for one in of_pool} == {state.project.champion}


def test_a_task_that_has_the_number_of_another_gets_no_answer_of_the_other(world):
    service, state = Service(world.server, world.store), world.state()
    selected = state.selections[0]
    item = world.store.items_by_id([selected.item])[selected.item]
    own = {"id": item.task, "data": item.data, "created_at": "2026-01-01T00:00:00Z"}
    world.store.sync_pool(
        world.project,
        [
            PoolTask(row.task, row.data, row.image, "2026-01-01T00:00:00Z")
            for row in world.store.items(world.project)
        ],
    )
    later = own | {"data": {**item.data, "image": "/later.jpg"}, "created_at": "2026-01-02T00:00:00Z"}
    moved = own | {"data": {**item.data, "image": "/moved.jpg"}}  # the same task, whose data were changed
    assert service.predictions(state.project, POOL, [later])[0]["result"] == []
    assert service.predictions(state.project, POOL, [moved]) == service.predictions(
        state.project, POOL, [own]
    )
    other = next(row for row in world.store.items(world.project) if row.id != item.id)
    reused = {"id": selected.queue_task, "data": {**other.data, "cdsel_item": other.task, "cdsel_rank": 1}}
    assert service.predictions(state.project, QUEUE, [reused])[0]["result"] == []
    assert service.predictions(
        state.project, QUEUE, [reused | {"data": {**item.data, "cdsel_item": item.task}}]
    )[0]["score"]


def test_only_so_many_models_stay_in_memory(world, tmp_path):
    door = Predictions(world.server, world.store, kept=1)
    first = door.model(world.state())
    assert door.model(world.state()) is first
    versions = [row.version for row in world.state().trainings if row.version]
    assert len(versions) == 2
    world.store.set_champion(world.project, versions[0], who="test")
    assert door.model(world.state()) is not first
    world.store.set_champion(world.project, versions[1], who="test")
    assert door.model(world.state()) is not first  # it was let go, and loaded again
    elsewhere = Predictions(ServerSettings(data_dir=tmp_path, label_studio_api_key="0" * 40), world.store)
    with pytest.raises(ModelFormatError):
        elsewhere.of_items(State(world.store, world.project), [1])


def test_no_champion_says_nothing(tmp_path):
    world = World(tmp_path)
    assert Predictions(world.server, world.store).of_items(world.state(), [1]) is None
    assert Service(world.server, world.store).predictions(world.state().project, POOL, [{"id": 1}]) == []

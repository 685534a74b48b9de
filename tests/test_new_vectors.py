"""A project whose images are read in another way than before: nothing is lost, and no model meets foreign vectors."""

from __future__ import annotations

import numpy as np
import pytest
from world import SIZE, World

from cdsel_backend.project.serving import load_champion
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train, training_due


@pytest.fixture
def world(tmp_path):
    """A project with a champion, whose images then all have vectors of another backbone, wider ones."""
    world = World(tmp_path)
    assert world.round()
    assert load_champion(world.server, world.state()) is not None
    wide = np.hstack([world.vectors, np.random.default_rng(2).normal(size=(SIZE, 8))])
    rows = world.state().items
    world.store.add_vectors("c", [(row.id, f"{n:064}", wide[n]) for n, row in enumerate(rows)])
    world.store.update_project(world.project, backbone="c")
    return world


def test_a_champion_of_other_vectors_waits_for_a_training_on_the_new_ones(world):
    before = world.state()
    assert load_champion(world.server, before) is None
    assert world.context.predictions.model(before) is None
    assert world.context.predictions.of_items(before, [row.id for row in before.items]) is None
    world.step(detect_confounders)
    assert training_due(world.context, world.state())  # though no label changed
    assert world.step(train)
    after = world.state()
    assert after.labels == before.labels
    assert after.project.champion != before.project.champion
    assert load_champion(world.server, after) is not None
    assert not training_due(world.context, after)
    assert world.step(select_round)


def test_labels_too_few_for_new_vectors_are_tried_once(world):
    world.store.replace_labels(world.project, 4, [])  # all were withdrawn meanwhile
    assert world.step(train)
    assert world.state().project.champion is None
    assert not training_due(world.context, world.state())

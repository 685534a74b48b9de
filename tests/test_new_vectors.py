"""A project whose images are read in another way than before: nothing is lost, and no model meets foreign vectors."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from world import SIZE, World

from cdsel_backend.cli import main
from cdsel_backend.project.serving import load_champion
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import _do
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train, training_due
from cdsel_backend.store import Store
from cdsel_backend.store.data_folder import OtherFolder, claim_folder


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


@pytest.mark.parametrize("left", [0, 100])
def test_vectors_that_are_lost_are_made_again(tmp_path, left):
    """The folder was deleted, or restored from before the last images came; another folder says nothing of them."""
    world = World(tmp_path)
    assert world.round()
    claim_folder(world.store, tmp_path)
    labels, shelf = world.state().labels, world.server.vectors_folder / "b"
    if left:
        for file, size in (("000000.f16", 32), ("000000.key", 40)):
            os.truncate(shelf / file, left * size)
    else:
        shutil.rmtree(shelf)
    world.store = Store.open(world.server)  # as after a start
    world.context = Context(world.store, world.server, None)

    (tmp_path / "folder.id").rename(tmp_path / "away")
    with pytest.raises(OtherFolder, match="is not the data folder of this database"):
        _do(select_round, world.context, world.state())
    assert world.store.embedding_progress(world.project)[0] == SIZE
    (tmp_path / "away").rename(tmp_path / "folder.id")
    assert _do(select_round, world.context, world.state())
    assert world.store.embedding_progress(world.project)[0] == left
    (sentence,) = world.state().project.problems["embedding"]
    assert (
        f"{SIZE - left} images are embedded again, because vectors are missing in {shelf.parent}" in sentence
    )
    assert world.state().labels == labels

    (shelf.parent / "c").mkdir(parents=True)
    (shelf.parent / "c/form.json").write_text("{")
    done = CliRunner().invoke(main, ["pool", "verify"], env={"CDSEL_DATA_DIR": str(tmp_path)})
    assert "form.json is damaged" in done.output
    assert "delete the folder" in done.output
    assert "Traceback" not in done.output

"""Model versions: what is written beside them, their names, and which are kept; through `cdsel models`."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner
from world import World

from cdsel_backend.project.serving import model_folder
from cdsel_backend.project.versions import NEWEST, aliases, kept, predecessors, provenance
from cdsel_backend.reconcile.training import train
from cdsel_backend.server.installation import Installation
from cdsel_backend.server.models_command import models
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.training.model_files import load


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Thirteen trainings: one at the end of a round, and one after each of twelve labels that were changed."""
    world = World(tmp_path_factory.mktemp("versions"), retrain_every=1)
    assert world.round()
    for day, item in enumerate(sorted(world.labels)[:12], start=2):
        world.label([item], at=f"2026-01-{day:02}", wrong=True)
        assert world.step(train)
    return world


@pytest.fixture
def cdsel(trained, monkeypatch):
    monkeypatch.setenv("CDSEL_DATA_DIR", str(trained.server.data_dir))
    monkeypatch.delenv("CDSEL_DATABASE_URL", raising=False)
    return lambda *words: CliRunner().invoke(models, words)


def saw(trained, row):
    return trained.store.training_labels(trained.project, row.number)


def test_files_are_kept_of_the_champion_the_newest_and_the_last_promoted(trained):
    state = trained.state()
    folder = model_folder(trained.server, trained.project)
    made = [row.version for row in state.trainings]
    assert len(made) == 13
    assert {path.name for path in folder.iterdir()} == kept(state)
    assert set(made[-NEWEST:]) | {state.project.champion} <= kept(state) < set(made)
    for version in kept(state):
        load(folder / version)
    # Every training saw every label: of the others only how many is kept.
    assert {row.version for row in state.trainings if saw(trained, row)} == kept(state)
    assert all(row.label_count for row in state.trainings)


def test_a_version_says_what_it_was_made_from(trained, cdsel):
    row = trained.state().trainings[-1]
    labels = saw(trained, row)
    shown = json.loads(cdsel("show", row.version).output)
    made_from = shown["made_from"]
    assert made_from["backbone"] == "b"
    assert made_from["seed"] == 0
    assert made_from["labels"] == row.label_count == len(labels) == shown["labels"]
    assert made_from["settings"]["budget"] == 60
    assert set(made_from["libraries"]) > {"python", "torch", "timm"}
    in_another_order = dict(sorted(labels.items(), reverse=True))
    assert provenance(trained.state(), in_another_order)["label_snapshot"] == made_from["label_snapshot"]
    other = labels | {next(iter(labels)): "something else"}
    assert provenance(trained.state(), other)["label_snapshot"] != made_from["label_snapshot"]


def test_a_version_whose_files_were_removed_is_not_promoted(trained, cdsel):
    gone = next(row.version for row in trained.state().trainings if row.version not in kept(trained.state()))
    answer = cdsel("promote", gone)
    assert answer.exit_code == 2
    assert f"the files of {gone} were removed" in answer.output
    assert cdsel("promote", "nonsense").exit_code == 2


def test_champion_and_candidate_are_names(trained, cdsel):
    earlier, newest = (row.version for row in trained.state().trainings[-2:])
    assert cdsel("promote", earlier).exit_code == 0
    assert aliases(trained.state()) == {"champion": earlier, "candidate": newest}
    lines = {line.split()[1]: line[0] for line in cdsel("list").output.splitlines() if line[0] in "*+"}
    assert lines == {earlier: "*", newest: "+"}
    assert json.loads(cdsel("show", "candidate").output)["version"] == newest
    assert f"{newest} serves now" in cdsel("promote", "candidate").output
    changes = len(trained.state().champion_changes)
    assert f"{newest} serves already" in cdsel("promote", newest).output
    assert len(trained.state().champion_changes) == changes, "there is nothing to go back to"
    assert aliases(trained.state()) == {"champion": newest}


def test_going_back_retraces_what_served_by_training_and_by_hand(tmp_path):
    world = World(tmp_path)
    for _ in range(3):
        assert world.round()
    first, second, third = (row.version for row in world.state().trainings)
    serve = lambda version: world.store.set_champion(world.project, version, who="admin")  # noqa: E731
    assert predecessors(world.state()) == [second, first]
    serve(first)
    assert predecessors(world.state()) == [third, second]
    serve(third)  # going back
    serve(second)  # and further
    serve(first)
    assert predecessors(world.state()) == []
    serve(third)
    assert predecessors(world.state()) == [first]


def test_of_two_label_studios_with_a_project_of_that_number_the_one_in_the_settings_is_meant(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    here, elsewhere = (
        store.connect_project(url, 3) for url in ("http://here.example", "http://there.example")
    )
    installation = lambda url: Installation(ServerSettings(data_dir=tmp_path, label_studio_url=url), store)  # noqa: E731
    store.update_project(here, queue_project=5)
    for number in (3, None):
        assert installation("http://here.example").state(number).project.id == here
        assert installation("http://there.example").state(number).project.id == elsewhere
    assert installation("http://third.example").state(5).project.id == here, "by its queue"
    with pytest.raises(
        click.UsageError, match="several Label Studios have a project 3: set LABEL_STUDIO_URL"
    ):
        installation("http://third.example").state(3)
    with pytest.raises(click.UsageError, match="project 4 is not connected"):
        installation("http://here.example").state(4)
    store.remove_project(here)
    assert installation("http://here.example").state(3).project.id == elsewhere
    store.remove_project(elsewhere)
    store.connect_project("http://here.example", 7)
    for number in (3, 5):
        with pytest.raises(click.UsageError, match=f"project {number} is not connected"):
            installation("http://here.example").state(number)
    store.close()

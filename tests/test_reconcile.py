"""The loop's steps that need no Label Studio: learning, selecting, and what they do when things are wrong."""

from __future__ import annotations

import re
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from world import POOL, QUEUE, SIZE, World

from cdsel_backend.labelstudio.placing import plan
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.project.audit import audit_rows
from cdsel_backend.project.embedded import read_pool
from cdsel_backend.project.sentences.models import early_training, outcome
from cdsel_backend.project.serving import load_champion, model_folder, predict
from cdsel_backend.project.versions import predecessors
from cdsel_backend.reconcile import loop, training
from cdsel_backend.reconcile.confounders import detect_confounders, update_report
from cdsel_backend.reconcile.current import Current
from cdsel_backend.reconcile.embedding import embed
from cdsel_backend.reconcile.idle import rests
from cdsel_backend.reconcile.loop import check_settings, waiting_for
from cdsel_backend.reconcile.rounds import preannotate, select_round
from cdsel_backend.reconcile.training import check_champion, held_out_metrics, not_worse, train
from cdsel_backend.reconcile.tuning import embed_tuned
from cdsel_backend.store import PoolTask, Store
from cdsel_backend.store.activity import Activity, Request, Step
from cdsel_backend.store.leases import training_lease
from cdsel_backend.store.problems import DISCONNECTED
from cdsel_backend.store.records import Became, Directive, Outcome
from cdsel_backend.training import HeadModel, Pool, TrainingLabels, TunedModel, load, save, train_head


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_site_is_named_and_the_identifier_left_out(tmp_path):
    world = World(tmp_path, seed=1)
    assert world.step(detect_confounders)
    assert not world.step(detect_confounders)  # nothing moved
    verdicts = {one["variable"]: one["verdict"] for one in world.state().project.report["findings"]}
    assert verdicts["id"] == "left out"
    assert world.round()
    verdicts = {one["variable"]: one["verdict"] for one in world.state().project.report["findings"]}
    assert verdicts["site"] == "confounder"


def test_a_metadata_field_that_comes_later_is_looked_at(world):
    world.step(detect_confounders)
    rows = world.state().items
    tasks = [PoolTask(row.task, {**row.data, "ward": "AB"[row.id % 2]}, row.image) for row in rows]
    world.store.sync_pool(world.project, tasks)
    assert world.step(detect_confounders)
    assert "ward" in {one["variable"] for one in world.state().project.report["findings"]}


def test_same_state_and_seed_give_the_same_selection_and_model(tmp_path):
    worlds = [World(tmp_path / name) for name in "ab"]
    for world in worlds:
        world.round()
        world.round()
    first, second = worlds
    rows = [
        [(row.item, row.rank, row.sentence, row.gain) for row in world.state().selections] for world in worlds
    ]
    assert rows[0] == rows[1]
    version = first.state().project.champion
    assert version == second.state().project.champion
    one, two = (model_folder(world.server, world.project) / version / "model.safetensors" for world in worlds)
    assert one.read_bytes() == two.read_bytes()


def test_rounds_go_on_until_the_budget_and_every_label_is_trained_on_once(world):
    for _ in range(3):
        assert world.round()
    state = world.state()
    assert not world.step(select_round)
    assert (state.left, len(state.labels), len(state.selections)) == (0, 60, 60)
    assert [row.label_count for row in state.trainings] == [20, 40, 60]
    assert not world.step(train)


def test_training_waits_for_the_round_or_enough_labels_or_a_request(tmp_path):
    world = World(tmp_path, retrain_every=8)
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    queued = sorted(world.state().open)
    world.label(queued[:7])
    assert not world.step(train)
    world.label(queued[:8])
    assert world.step(train)
    world.label(queued[:9])
    assert not world.step(train)
    world.store.add_event(POOL, Request.TRAIN, {})
    assert world.step(train)
    world.store.add_event(POOL, Request.TRAIN, {})
    assert not world.step(train)  # never twice for the same labels
    assert world.store.open_events([POOL]) == []
    world.label(queued)
    assert world.step(train)
    world.label(queued[:8], wrong=True, at="2026-01-02")  # edits count as changes
    assert world.step(train)
    assert [row.label_count for row in world.state().trainings] == [8, 9, 20, 20]


def test_the_report_tells_how_far_the_champion_goes_by_a_variable(tmp_path):
    world = World(tmp_path, retrain_every=20)

    def site():
        findings = world.state().project.report["findings"]
        return next(one for one in findings if one["variable"] == "site")

    world.label([row.id for row in world.state().items])
    assert world.step(detect_confounders)
    assert site()["dependence_p"] is None
    assert world.step(train)
    assert not world.step(detect_confounders), "the queue does not wait for it"
    assert world.step(update_report)  # another model serves
    assert 0 < site()["dependence_p"] <= 1
    assert not world.step(update_report)


def test_labels_of_images_that_cannot_be_read_yet_are_learnt_once_they_can(tmp_path):
    world = World(tmp_path, retrain_every=20)
    rows = world.state().items
    moved = [PoolTask(row.task, row.data, f"{row.image}?moved") for row in rows]  # to be read again
    world.store.sync_pool(world.project, moved)

    def embed(part):
        world.store.add_vectors("b", [(rows[n].id, f"{n:064}", world.vectors[n]) for n in part])

    world.store.note_unusable([(row.id, "answered 404", 0.0) for row in rows])
    world.label([row.id for row in rows[:100]])  # from before there was a storage
    world.store.add_event(POOL, Request.TRAIN, {})
    assert not world.step(train)
    assert world.state().trainings == []
    embed(range(60))
    assert world.state().changed_labels == 60
    assert world.step(detect_confounders)
    assert world.step(train)
    assert not world.step(train)
    assert world.step(update_report)  # another model serves
    assert not world.step(update_report)
    embed(range(60, 160))
    assert world.state().changed_labels == 40
    world.step(detect_confounders)
    assert world.step(train)
    assert [row.label_count for row in world.state().trainings] == [60, 100]
    world.store.sync_pool(world.project, moved[50:])
    assert world.state().changed_labels == 0  # what has left the pool changes nothing


def test_training_waits_for_the_labels_that_label_studio_asks_for_unless_somebody_asks(tmp_path):
    world = World(tmp_path, retrain_every=1)
    world.store.update_project(world.project, least_labels=30)
    assert not world.round()  # all 20 of it are labelled
    assert world.step(select_round), "rounds go on without a model"
    world.push()
    queued = sorted(world.state().open)
    world.label(queued[:9])
    assert not world.step(train)
    assert early_training(world.state()) == []
    world.store.add_event(POOL, Request.TRAIN, {})
    assert world.step(train)
    assert "29 labels are fewer than the 30" in early_training(world.state())[0]
    world.label(queued[:10])
    assert world.step(train)
    assert early_training(world.state()) == []


def test_a_setting_that_is_refused_by_now_is_named_until_it_is_mended(world):
    good = world.state().project.layers
    world.store.update_project(
        world.project, layers={"extra parameters": {**good["extra parameters"], "strategy": "gone"}}
    )
    assert not world.step(check_settings)
    assert "strategy = 'gone' is refused" in world.state().project.problems["settings"][0]
    world.store.update_project(world.project, layers=good)
    world.step(check_settings)
    assert "settings" not in world.state().project.problems


def test_a_cap_without_a_group_is_named(tmp_path):
    world = World(tmp_path, group_cap=2)
    world.step(check_settings)
    assert world.state().project.problems["settings"][0].startswith("group_cap does nothing without group")


def test_a_round_keeps_the_cap_of_a_group_that_labelled_images_count_for(tmp_path):
    world = World(tmp_path, group="site", group_cap=14)
    for _ in range(3):
        world.step(detect_confounders)
        world.step(select_round)
        world.push()
        world.label(world.state().open)
    state = world.state()
    site = {row.id: row.data["site"] for row in state.items}
    assert Counter(site[item] for item in state.labels) == {"north": 14, "south": 14}
    assert not world.step(select_round)


@pytest.mark.parametrize("bound", [{"group": "site", "group_cap": 5}, {"near_duplicate": 0.01}, {}])
def test_what_cannot_be_selected_is_not_searched_again_until_something_changes(tmp_path, monkeypatch, bound):
    world = World(tmp_path, round_size=100, **{"budget": 500, **bound})
    world.step(detect_confounders)
    while world.step(select_round):
        world.push()
        world.label(world.state().open)
        world.step(detect_confounders)
    assert len(world.state().labels) < SIZE if bound else len(world.state().labels) == SIZE
    assert waiting_for(world.state()).step is Step.POOL_USED
    world.store.add_event(POOL, Request.SELECT, {})
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "vectors", lambda *_: pytest.fail("the whole pool was read again"))
        assert not world.step(select_round)
    assert world.store.open_events([POOL]) == []
    if bound:
        layers = {**world.state().project.layers, "dashboard": dict.fromkeys(bound)}
        world.store.update_project(world.project, layers=layers)
    else:
        tasks = [PoolTask(row.task, row.data, row.image) for row in world.state().items]
        more = PoolTask(999, {"image": "/999.jpg", "site": "north", "id": "x999"}, "/999.jpg")
        world.store.sync_pool(world.project, [*tasks, more])
        assert not world.step(select_round)  # it has no vector yet
        world.store.add_vectors("b", [(world.state().items[-1].id, f"{999:064}", world.vectors[0] + 1)])
    assert world.step(select_round)


def test_an_open_image_that_left_the_pool_is_not_asked_for_in_every_pass(world, monkeypatch):
    world.round()
    world.step(select_round)
    world.push()
    state = world.state()
    gone, *rest = sorted(state.open)
    tasks = [PoolTask(row.task, row.data, row.image) for row in state.items if row.id != gone]
    world.store.sync_pool(world.project, tasks)
    shown = {"predicted_by": state.project.champion}
    world.store.mark_selections(world.project, dict.fromkeys(rest, shown))
    monkeypatch.setattr(world.store, "vectors", lambda *_: pytest.fail("the whole pool was read"))
    assert not world.step(preannotate)
    folder = model_folder(world.server, world.project)
    base = load(folder / state.project.champion)
    save(TunedModel(base, base, {"w": np.zeros(1, dtype=np.float32)}, "t", {}), folder / "tuned")
    world.store.update_project(world.project, champion="tuned")
    hashes = {row.id: row.content_hash for row in state.items}
    world.store.add_vectors("t", [(item, hashes[item], np.ones(3)) for item in rest])
    assert not world.step(embed_tuned)


@pytest.mark.parametrize("strategy", ["confounder_aware", "stratified"])
def test_no_reason_of_a_round_names_a_class_though_metadata_do(tmp_path, strategy):
    world = World(tmp_path, strategy=strategy, confounders=["dx"])
    tasks = [
        PoolTask(row.task, {**row.data, "dx": world.truth[row.id]}, row.image) for row in world.state().items
    ]
    world.store.sync_pool(world.project, tasks)
    world.step(detect_confounders)
    assert world.step(select_round)
    rows = world.state().selections
    assert not [row.sentence for row in rows if re.search("benign|malignant", row.sentence)]
    assert {row.reason["stratum"] for row in rows} & {
        "dx benign",
        "dx malignant",
    }  # it is known, and not told


def test_a_round_draws_the_random_share_that_is_set(tmp_path):
    for share, drawn in ((0.0, 0), (0.5, 10), (1.0, 20)):
        world = World(tmp_path / str(share), random_share=share)
        world.step(detect_confounders)
        assert world.step(select_round)
        reasons = [row.reason for row in world.state().selections]
        assert sum(reason["drawn_at_random"] for reason in reasons) == drawn


def test_a_round_leaves_out_what_is_as_similar_as_is_set(tmp_path):
    def closest(**settings):
        world = World(tmp_path / str(len(settings)), strategy="margin", strength=0, **settings)
        world.step(select_round)
        place = {row.id: n for n, row in enumerate(world.state().items)}
        standardised = (world.vectors - world.vectors.mean(axis=0)) / world.vectors.std(axis=0)
        chosen = standardised[[place[row.item] for row in world.state().selections]]
        unit = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        return np.triu(unit @ unit.T, 1).max()

    assert closest() > 0.55
    assert closest(near_duplicate=0.5) < 0.51  # vectors are kept in half precision


def test_nothing_is_selected_while_images_are_open_unless_asked(world):
    world.step(detect_confounders)
    world.step(select_round)
    assert not world.step(select_round)
    world.push()
    assert not world.step(select_round)
    world.store.add_event(POOL, Request.SELECT, {})
    assert world.step(select_round)
    assert world.store.open_events([POOL]) == []
    assert len(world.state().rounds) == 2


def test_a_budget_raised_while_a_short_round_is_open_is_used_at_once_and_only_once(tmp_path):
    world = World(tmp_path, budget=25)
    world.round()
    assert world.step(select_round)  # the budget has room for 5 of 20
    world.push()

    def raise_to(budget):
        layers = {**world.state().project.layers, "dashboard": {"budget": budget}}
        world.store.update_project(world.project, layers=layers)

    assert not world.step(select_round)
    raise_to(28)
    assert world.step(select_round)
    world.push()
    assert not world.step(select_round)
    raise_to(150)
    assert world.step(select_round)
    world.push()
    assert not world.step(select_round)  # a whole round is open: the next one waits for its labels
    rows = world.state().selections
    assert [sum(row.round == n for row in rows) for n in (1, 2, 3, 4)] == [20, 5, 3, 20]
    assert [row.rank for row in rows] == [*range(1, 49)]
    assert len({row.item for row in rows}) == 48


def test_paused_selects_nothing(tmp_path):
    world = World(tmp_path, paused=True)
    world.step(detect_confounders)
    assert not world.step(select_round)


def test_too_few_classes_give_no_model_say_why_and_do_not_stop_the_rounds(world):
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    for item in world.truth:
        world.truth[item] = "benign"
    world.label(world.state().open)
    assert world.step(train)
    (training,) = world.state().trainings
    assert training.version is None
    assert training.outcome.became is Became.NO_MODEL
    assert "two classes" in outcome(training.outcome)
    assert not world.step(train)
    assert world.step(select_round)


def test_labels_of_images_that_cannot_be_used_give_no_model_and_it_says_so(world):
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    labelled = list(world.state().open)
    world.label(labelled)
    world.store.note_unusable([(item, "its file is truncated", time.time() + 60) for item in labelled[1:]])
    assert world.step(train)
    said = outcome(world.state().trainings[-1].outcome)
    assert "the only label says" in said
    assert (
        " 19 labels of images that left the pool, cannot be used or are not embedded yet do not count" in said
    )


def test_a_metadata_name_that_no_task_has_is_said(tmp_path):
    world = World(tmp_path, confounders=["sight"], group="patient")
    world.step(detect_confounders)
    (words,) = world.state().project.problems.values()
    assert "'sight'" in words[0]
    assert "site" in words[0]
    assert "'patient'" in words[1]


def test_an_admin_forces_a_variable_in(tmp_path):
    world = World(tmp_path, confounders=["site"])
    world.step(detect_confounders)
    verdicts = {one["variable"]: one["verdict"] for one in world.state().project.report["findings"]}
    assert verdicts["site"] == "forced in"


def measured(balanced, worst=None, fair=None, width=0.0):
    values = {
        "balanced_accuracy": balanced,
        "worst_group_accuracy": worst,
        "group_balanced_accuracy": fair,
    }
    intervals = {name: [value - width / 2, value + width / 2] for name, value in values.items() if value}
    return {**values, "intervals": intervals}


@pytest.mark.parametrize(
    ("candidate", "champion", "promoted"),
    [
        (measured(0.70), measured(0.71), True),  # within the margin
        (measured(0.70), measured(0.75), False),
        (measured(0.70, width=0.2), measured(0.75), True),  # too few labels to tell
        (measured(0.60, 0.60, 0.66), measured(0.80, 0.20, 0.65), True),  # the champion lives on the shortcut
        (measured(0.80, 0.20, 0.65), measured(0.60, 0.60, 0.66), False),
        (measured(0.70, 0.60, 0.60), measured(0.70, 0.60, 0.66), False),
        (measured(0.70, 0.60, 0.66), measured(None), True),
    ],
)
def test_a_candidate_is_promoted_when_it_is_not_worse(candidate, champion, promoted):
    assert not_worse(candidate, champion) is promoted


def with_settings(world, **settings):
    layers = world.state().project.layers
    world.store.update_project(
        world.project, layers={**layers, "extra parameters": {**layers["extra parameters"], **settings}}
    )


@pytest.mark.parametrize("before", [None, "identity"])  # identity: there is no such field
def test_a_champion_is_not_judged_on_what_it_was_trained_on_when_the_group_changes(tmp_path, before):
    """Its vectors tell each image apart, so what it has seen it knows by heart."""
    world = World(tmp_path, budget=160, confounders=[], group=before)
    noise = np.random.default_rng(3).normal(size=(SIZE, 300))
    world.store.add_vectors(
        "c", [(row.id, f"{n:064}", noise[n]) for n, row in enumerate(world.state().items)]
    )
    world.store.update_project(world.project, backbone="c")
    items = sorted(world.truth)

    def learn(count):
        world.label(items[:count])
        world.store.add_event(POOL, Request.TRAIN, {})
        world.step(detect_confounders)
        assert world.step(train)

    learn(120)
    pool = read_pool(world.state())
    trained = pool.ids[pool.labelled & ~pool.held_out]
    with_settings(world, group="id")
    pool = read_pool(world.state())
    held_out, tested = pool.labelled & pool.held_out, pool.unseen_by(before)
    assert np.isin(pool.ids[held_out], trained).any()
    assert 0 < tested.sum() < held_out.sum()
    assert not np.isin(pool.ids[tested], trained).any()
    assert (pool.unseen_by("id") == held_out).all()
    learn(130)
    learn(140)
    outcomes = [row.outcome for row in world.state().trainings]
    assert outcome(outcomes[1]).startswith("promoted without a comparison: the setting `group` changed")
    assert world.state().project.champion in ("cdsel-3-v2", "cdsel-3-v3")
    assert "comparison" not in outcome(outcomes[2])


def test_another_image_of_a_patient_that_a_model_was_trained_on_does_not_judge_it(tmp_path):
    world = World(tmp_path, group="site")
    world.label(sorted(world.truth))
    pool = read_pool(world.state())
    assert not pool.unseen_by(None).any()  # both sites have images on either side when each is alone


@pytest.mark.parametrize("word", ["unknown", "N/A", " ", None, 7])
def test_images_without_a_patient_are_each_alone(tmp_path, word):
    world = World(tmp_path, group="patient")
    rows = world.state().items
    patients = [word if n % 3 == 0 else f"p{n // 2}" for n in range(SIZE)]
    world.store.sync_pool(
        world.project,
        [
            PoolTask(row.task, {**row.data, "patient": patient}, row.image)
            for row, patient in zip(rows, patients, strict=True)
        ],
    )
    world.store.add_vectors("b", [(row.id, f"{n:064}", world.vectors[n]) for n, row in enumerate(rows)])
    pool = read_pool(world.state())
    assert np.bincount(pool.groups).max() == (54 if word == 7 else 2)


@pytest.mark.parametrize("moment", ["train_model", "load_version"])
def test_a_champion_chosen_while_a_training_runs_is_what_it_is_compared_with(world, monkeypatch, moment):
    """Before the comparison, and just before its outcome is recorded."""
    world.round()
    world.round()
    first, second = (row.version for row in world.state().trainings)
    assert world.state().project.champion == second
    real = {name: getattr(training, name) for name in ("train_model", "load_version")}
    compared = []

    def load(server, state, version):
        compared.append(version)
        return real["load_version"](server, state, version)

    monkeypatch.setattr(training, "load_version", load)
    hooked = getattr(training, moment)

    def with_an_admin(*arguments, **options):
        found = hooked(*arguments, **options)
        if world.state().project.champion == second:
            world.store.set_champion(world.project, first, who="admin")
        return found

    monkeypatch.setattr(training, moment, with_an_admin)
    world.round()
    assert compared == ([first] if moment == "train_model" else [second, first])
    third = world.state().trainings[-1]
    assert third.outcome == Outcome(Became.PROMOTED, predecessors(world.state())[0])
    assert world.state().project.champion == third.version
    assert predecessors(world.state()) == [first]


@pytest.mark.parametrize("damage", ["flip a bit", "remove a file", "foreign file"])
def test_a_damaged_champion_is_named_and_the_one_before_it_serves(world, damage):
    world.round()
    before = world.state().project.champion
    world.round()
    now = world.state().project.champion
    assert before != now, [row.outcome for row in world.state().trainings]
    assert not world.step(check_champion)
    folder = model_folder(world.server, world.project)
    file = folder / now / "model.safetensors"
    if damage == "flip a bit":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "remove a file":
        file.unlink()
    else:
        file.write_bytes(b"not a model")
    assert world.step(check_champion)
    assert world.state().project.champion == before
    assert "model.safetensors" in world.state().project.problems["model"][0]
    for path in (folder / before).iterdir():
        path.unlink()
    assert world.step(check_champion)
    assert world.state().project.champion is None
    assert world.round()  # the next training brings one back
    assert world.state().project.champion
    assert "model" not in world.state().project.problems


def test_the_champion_keeps_its_correction_for_age_when_the_pool_grows(tmp_path):
    world = World(tmp_path, budget=160, round_size=120, confounders=["age"])
    rng = np.random.default_rng(0)
    rows = world.state().items
    age = {
        row.id: int(rng.integers(*((61, 90) if row.data["site"] == "north" else (20, 60)))) for row in rows
    }
    tasks = [PoolTask(row.task, {**row.data, "age": age[row.id]}, row.image) for row in rows]

    def sync(tasks):
        world.store.sync_pool(world.project, tasks)
        added = np.vstack([world.vectors, np.zeros((1, 16))])
        rows = world.store.items(world.project)
        world.store.add_vectors("b", [(row.id, f"{n:064}", added[n]) for n, row in enumerate(rows)])

    sync(tasks)
    world.round()
    state = world.state()
    model, pool = load_champion(world.server, state), read_pool(state)
    every = np.arange(len(pool.ids))
    tested = pool.labelled & pool.held_out
    before, metrics = predict(model, pool, every), held_out_metrics(model, pool, tested)
    sync([*tasks, PoolTask(999, {"image": "/new.jpg", "site": "north", "id": "new", "age": 95}, "/new.jpg")])
    grown = read_pool(world.state())
    levels = [next(c for c in one.columns if c.name == "age").levels for one in (pool, grown)]
    assert levels[0] != levels[1]
    np.testing.assert_array_equal(predict(model, grown, every), before)
    again = held_out_metrics(model, grown, np.append(tested, False))
    assert again["balanced_accuracy"] == metrics["balanced_accuracy"] > 0.5


def test_a_fine_tune_that_fails_leaves_the_head_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("CDSEL_ALLOWED_WEIGHTS", "/nowhere.safetensors")
    world = World(tmp_path, training="backbone", backbone_weights="/nowhere.safetensors")
    assert world.round()
    state = world.state()
    assert state.trainings[0].outcome == Outcome(Became.PROMOTED)
    assert isinstance(load_champion(world.server, state), HeadModel)
    assert "/nowhere.safetensors" in state.trainings[0].metrics["fine_tune"]["why"]
    assert "the fine-tune failed (BackboneError" in state.project.problems["fine-tune"][0]
    with_settings(world, training="head")
    assert world.round()
    assert "fine-tune" not in world.state().project.problems


def test_a_fine_tuned_model_answers_with_the_mean_of_both_heads_where_an_image_has_both_vectors(world):
    world.label(sorted(world.truth)[:60])
    pool = read_pool(world.state())
    own = pool.vectors
    tuned = np.abs(own)
    base, head = (
        train_head(Pool(vectors, pool.confounders), TrainingLabels(pool.labels, pool.classes))
        for vectors in (own, tuned)
    )
    seen = np.arange(10, 20)
    items = pool.items(seen)
    world.store.add_vectors(
        "t", [(one.id, one.content_hash, tuned[i]) for one, i in zip(items, seen, strict=True)]
    )
    model = TunedModel(base, head, {"w": np.zeros(1, dtype=np.float32)}, "t", {})
    answers = predict(model, read_pool(world.state()), np.arange(30))
    columns = [column.take(np.arange(30)) for column in pool.columns]
    one, other = base.predict(own[:30], columns), head.predict(tuned[:30], columns)
    np.testing.assert_allclose(answers[seen], (one[seen] + other[seen]) / 2)
    rest = np.setdiff1d(np.arange(30), seen)
    np.testing.assert_array_equal(answers[rest], one[rest])
    assert np.abs(one[seen] - other[seen]).max() > 0.01


def put(world, **settings):
    """Set settings on the dashboard."""

    def change(before):
        after = {**before, "dashboard": settings}
        return after, audit_rows(before, after, tuple(settings), who="test")

    world.store.change_layer(world.project, change)


def test_a_backbone_that_cannot_be_loaded_costs_the_new_images_only(world, monkeypatch):
    """A name that is mistyped in the middle, or a hub that is away: annotators need not wait for it."""
    world.round()
    before = world.state().project.backbone
    put(world, backbone="resnet51")
    assert not world.step(embed)
    state = world.state()
    assert state.project.backbone == before
    assert "timm has no model named 'resnet51'" in state.project.problems["backbone"][0]
    monkeypatch.setattr("cdsel_backend.pool.backbones.load_backbone", None)  # it is not tried again at once
    assert not world.step(embed)
    assert world.step(select_round)
    world.store.start_backbone(world.project, "")  # where nothing is embedded yet, nothing can go on
    with pytest.raises(BackboneError, match="resnet51"):
        world.step(embed)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Site ", "did you mean 'site'?"),
        ("pateint", "the fields are id and site"),
        (
            "site.name",
            "what lies inside the field 'site' is not read: give it a field of its own in the tasks",
        ),
    ],
)
def test_a_field_that_no_task_has_is_named_with_the_nearest(world, name, words):
    put(world, ignore=[name])
    world.step(detect_confounders)
    (said,) = world.state().project.problems["metadata"]
    assert said == f"ignore: no task has a metadata field {name!r}; {words}"


def resting(world, monkeypatch):
    """Take passes of the loop, without Label Studio, until nothing is due.

    Returns the whole passes, one a list item, and what each is to call at its end.
    """
    passes, late = [], []

    def last(context, state):
        passes.append(1)
        for call in late:
            call()
        return False

    monkeypatch.setattr(loop, "STEPS", (*loop.STEPS, last))
    monkeypatch.setattr(
        world.context, "backbone", lambda settings: SimpleNamespace(fingerprint="b", problems=())
    )
    now = time.time()
    world.store.update_project(world.project, pool_synced_at=now, queue_synced_at=now)
    world.context.looked[world.project] = frozenset()
    world.step(detect_confounders)
    world.step(select_round)
    world.push()
    for _ in range(20):
        if not loop.reconcile(world.context, world.project):
            passes.clear()
            return passes, late
    raise AssertionError("it never rests")


def test_a_pass_in_which_nothing_is_due_takes_no_step(world, monkeypatch):
    passes, _ = resting(world, monkeypatch)
    another = world.store.connect_project("http://studio", 77)
    for change in (
        lambda: None,
        lambda: world.store.add_event(77, "ANNOTATION_CREATED", {}),
        lambda: world.store.update_project(another, title="Another"),
        lambda: world.store.update_project(world.project, activity=Activity(Step.TRAINING, 1, 2).to_json()),
    ):
        change()
        assert not loop.reconcile(world.context, world.project)
    assert not passes
    world.store.update_project(world.project, layers={"extra parameters": {"budget": 30, "refill_at": 0}})
    assert not loop.reconcile(world.context, world.project)
    assert passes


def test_while_a_model_is_trained_nothing_is_read_again_either(world, monkeypatch):
    passes, _ = resting(world, monkeypatch)
    for take in (world.store.take_lease, world.store.release_lease):
        take(training_lease(world.project), "a process")
        passes.clear()
        for _ in range(3):
            assert not loop.reconcile(world.context, world.project)
        assert len(passes) == 1


def test_a_pass_reads_the_state_once_and_again_where_a_step_or_somebody_else_wrote(world, monkeypatch):
    """To read a state of 50,000 labels takes long, and a pass has twenty steps."""
    passes, _ = resting(world, monkeypatch)
    read = []
    answers = world.store.answers
    monkeypatch.setattr(world.store, "answers", lambda project: read.append(1) or answers(project))
    monkeypatch.setattr(world.store, "labels", lambda project: pytest.fail("every label is read as a record"))
    world.context.at_rest.clear()
    assert not loop.reconcile(world.context, world.project)
    assert (len(passes), len(read)) == (1, 1)
    current = Current(world.context, world.project)
    state = current.state()
    assert current.state() is state
    for change in (
        lambda: world.store.add_event(QUEUE, "ANNOTATION_CREATED", {}),
        lambda: world.store.update_project(world.project, layers={"dashboard": {"seed": 5}}),
        lambda: world.store.direct(world.project, [next(iter(world.truth))], Directive.FIRST, who="a"),
        lambda: world.label(list(world.truth)[:1]),
    ):
        change()
        state, former = current.state(), state
        assert state is not former
    another = Store.open(world.server)
    another.undo_directives(world.project, who="b")
    another.close()
    assert current.state() is not state


@pytest.mark.parametrize(
    "come",
    [
        lambda world: world.store.add_event(QUEUE, "ANNOTATION_CREATED", {}),
        lambda world: world.store.update_project(world.project, layers={"dashboard": {"seed": 5}}),
    ],
)
def test_what_comes_in_the_middle_of_a_pass_is_not_slept_over(world, monkeypatch, come):
    """A webhook or a setting that comes when the steps which would see it are over is seen in the pass that follows."""
    _, late = resting(world, monkeypatch)
    world.context.at_rest.clear()
    late.append(lambda: come(world))
    assert not loop.reconcile(world.context, world.project)
    assert not rests(world.context, world.project)


def test_nothing_is_selected_or_pushed_where_label_studio_has_this_backend_no_more(world):
    world.step(detect_confounders)
    world.step(select_round)
    world.store.note_problems(world.project, DISCONNECTED, ["removed"])
    assert world.state().waiting
    assert plan(world.state(), 10) == []
    world.push()
    world.label(world.state().open)
    world.store.add_event(POOL, Request.SELECT, {})
    assert not world.step(select_round)
    assert waiting_for(world.state()).step is Step.DISCONNECTED
    world.store.note_problems(world.project, DISCONNECTED, [])
    assert world.step(select_round)

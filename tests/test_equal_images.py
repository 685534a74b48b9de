"""Files of equal bytes at several addresses: one image for the queue, the budget and the split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from world import POOL, QUEUE, World, rows_of

from cdsel_backend.pool.columns import MISSING, Column
from cdsel_backend.project.embedded import read_pool
from cdsel_backend.project.sentences.problems import conflicting_labels
from cdsel_backend.reconcile import equal_images
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.insight import first_of_each, random_share
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.round import RoundPool
from cdsel_backend.selection import Pictures, Problem, SelectionOptions, select, strategies
from cdsel_backend.selection.methods import ji2025
from cdsel_backend.selection.neighbours import distinct
from cdsel_backend.server.app import create_app
from cdsel_backend.server.status import project_status
from cdsel_backend.store import PoolTask, State
from cdsel_backend.store.records import Directive
from cdsel_backend.training import TrainingLabels, is_held_out, one_side_each, train_head


def blank_scans(rng, *, blanks=270, others=30):
    """A problem whose pool is nine tenths one picture."""
    n = blanks + others
    blank = np.zeros(n, dtype=bool)
    blank[rng.permutation(n)[:blanks]] = True
    vectors = rng.standard_normal((n, 8)).astype(np.float32)
    vectors[blank] = vectors[np.flatnonzero(blank)[0]]
    site = Column("site", "categorical", ("north", "south"), np.where(blank, 0, np.arange(n) % 2))
    labels = np.where(np.arange(n) < 12, np.arange(n) % 2, -1)
    labels[blank] = -1
    return blank, Problem(
        vectors=vectors,
        columns=[site],
        labels=labels,
        n_classes=2,
        taken=labels >= 0,
        probabilities=np.column_stack([np.linspace(0.1, 0.5, n), np.linspace(0.9, 0.5, n)]),
        pictures=Pictures.of(np.where(blank, n, np.arange(n))),
    )


@pytest.mark.parametrize("strategy", strategies())
def test_a_picture_that_fills_the_pool_is_chosen_once_and_weighs_as_one(strategy):
    blank, problem = blank_scans(np.random.default_rng(0))
    free = 1 + int((~blank & ~problem.taken).sum())
    chosen = select(strategy, problem, len(problem))
    assert len(chosen) == free == len(set(chosen.indices.tolist()))
    (at,) = np.flatnonzero(blank[chosen.indices])
    assert chosen.reasons[at].copies == int(blank.sum()) - 1
    assert "the same file as 269 other images" in chosen.reasons[at].sentence
    # What is chosen is what is chosen of the pool without the further files.
    rows = np.flatnonzero(~problem.pictures.repeats(problem.taken))
    alone = Problem(
        vectors=problem.vectors[rows],
        columns=[column.take(rows) for column in problem.columns],
        labels=problem.labels[rows],
        n_classes=2,
        taken=problem.taken[rows],
        probabilities=problem.probabilities[rows],
    )
    picked = select(strategy, problem, 10).indices
    assert picked.tolist() == rows[select(strategy, alone, 10).indices].tolist()


def test_what_shows_a_taken_picture_is_not_free_and_takes_no_part_of_its_strata():
    pictures = Pictures.of(np.array([5, 5, 7, 8, 7, 5]))
    assert pictures.repeats(np.zeros(6, dtype=bool)).nonzero()[0].tolist() == [1, 4, 5]
    taken = np.array([False, True, False, False, True, False])
    assert pictures.repeats(taken).nonzero()[0].tolist() == [0, 2, 5]


def test_files_of_one_picture_are_on_one_side_whoever_it_is_said_to_be_of():
    keys = [f"patient={i}" for i in range(40)] + ["patient=0", "patient=0"]
    contents: list[str | None] = [f"c{i}" for i in range(40)] + ["c0", None]
    for first in range(40):
        for second in (1, 7, 33):
            of = [*contents]
            of[second] = of[first]
            found, held_out, shared = one_side_each(keys, of)
            assert held_out[first] == held_out[second]
            assert found[first] == found[second]
            own = is_held_out(keys)
            moved = np.flatnonzero(held_out != own)
            assert set(moved) <= {first, second}
            assert own[moved].all(), "nothing that was trained on is held out later"
            both = {first, second} if first != second else set()
            assert set(shared.nonzero()[0]) == both | ({40} if 0 in both else set())


def test_metadata_contradict_each_other_only_between_files_of_one_picture():
    site = Column("site", "categorical", ("a", "b", MISSING), np.array([0, 0, 1, 0, 2, 1]))
    left_out = Column("id", "categorical", ("1", "2"), np.array([0, 1, 0, 1, 0, 1]), excluded="identifies")
    folder = Column("folder", "categorical", ("x", "y"), np.array([0, 1, 0, 1, 0, 1]))
    images = np.array([1, 1, 2, 3, 2, 3])
    found = equal_images.differences(images, [site, left_out, folder])
    assert {name: rows.nonzero()[0].tolist() for name, rows in found.items()} == {"site": [3, 5]}
    assert equal_images.differences(np.arange(6), [site]) == {}


def test_a_training_counts_a_picture_once_however_many_files_show_it():
    """Labels speak for pictures; scores of the pool that counted files would shift a level of many copies."""
    blank, problem = blank_scans(np.random.default_rng(0))
    labels = np.where(np.arange(300) % 4 == 1, np.arange(300) // 4 % 2, -1)
    labels[blank] = -1
    labels[np.flatnonzero(blank)[0]] = 0
    pool = RoundPool(problem.vectors, problem.columns, ("a", "b"), pictures=problem.pictures)
    rows = np.flatnonzero(~problem.pictures.repeats(labels >= 0))
    alone = RoundPool(problem.vectors[rows], [c.take(rows) for c in problem.columns], ("a", "b"))
    alone.__dict__["representation"] = pool.representation
    given = TrainingLabels(labels, ("a", "b"))
    models = [train_head(pool, given), train_head(alone, given.take(rows))]
    np.testing.assert_allclose(*(model.offsets for model in models), atol=1e-6)


@pytest.fixture
def world(tmp_path):
    """A pool in which ten pictures were exported a second time, to another address; two of them under another site."""
    world = World(tmp_path, budget=200, round_size=200, group="id")
    first = world.store.items(world.project)[:10]
    again = [
        PoolTask(5000 + n, {**row.data, "image": f"/again{n}.jpg"}, f"/again{n}.jpg")
        for n, row in enumerate(first)
    ]
    for n in (0, 1):
        other = {"north": "south", "south": "north"}[again[n].data["site"]]
        again[n] = PoolTask(5000 + n, {**again[n].data, "site": other, "id": f"y{n}"}, again[n].image)
    world.store.change_pool(world.project, again)
    world.pairs = [
        (row.id, world.store.items_by_task(world.project, [5000 + n])[5000 + n].id)
        for n, row in enumerate(first)
    ]
    for one, other in world.pairs:
        content = world.store.items_by_id([one])[one].content_hash
        world.store.add_vectors("b", [(other, content, world.vectors[0])])
        world.truth[other] = world.truth[one]
    return world


def test_equal_files_are_asked_for_once_and_use_the_budget_once(world):
    one, other = world.pairs[3]
    world.store.replace_labels(world.project, POOL, rows_of({other: ("benign", "2026-01-01")}))
    change = world.store.direct(world.project, [world.pairs[4][1]], Directive.FIRST, who="me")
    assert change
    assert world.step(select_round)
    chosen = [row.item for row in world.state().selections]
    assert len(chosen) == 160 - 1
    assert one not in chosen, "its picture is labelled under the other address"
    assert chosen[0] == world.pairs[4][1], "the file that was put first stands for its picture"
    assert all(len({a, b} & set(chosen)) == (a != one) for a, b in world.pairs)
    world.push()
    state = world.state()
    assert (len(state.used), state.used_images) == (160, 160)
    world.label(state.open)
    assert not world.step(select_round)
    assert project_status(world.state())["repeats"] == 10


def test_the_random_share_speaks_for_pictures(world):
    one, other = world.pairs[0]
    labels = {one: ("benign", "1"), other: ("benign", "1"), world.pairs[1][0]: ("benign", "1")}
    world.store.replace_labels(world.project, POOL, rows_of(labels))
    pool = read_pool(world.state())

    class Unseen:
        rows = np.flatnonzero(pool.labelled)

    share = random_share(pool, Unseen)
    assert share.size == 160
    assert first_of_each(pool.vectors.positions[Unseen.rows], share).tolist() == [True, True, False]
    drawn = replace(share, drawn=np.array([False, False, True]), round=np.array([3, 1, 2]))
    assert first_of_each(pool.vectors.positions[Unseen.rows], drawn).tolist() == [False, True, True]


def test_a_selected_image_whose_copy_is_labelled_meanwhile_is_not_pushed(world):
    assert world.step(select_round)
    chosen = {row.item for row in world.state().selections}
    pairs = [pair if pair[0] in chosen else pair[::-1] for pair in world.pairs]
    labelled, skipped = pairs[0][1], pairs[1][1]
    world.store.replace_labels(
        world.project, POOL, rows_of({labelled: ("benign", "2026-01-01"), skipped: (None, "2026-01-01")})
    )
    state = world.state()
    assert state.repeated == {pairs[0][0], pairs[1][0]}
    assert chosen - {row.item for row in state.waiting} == state.repeated
    page = create_app(world.context.server, world.store).test_client().get(f"/projects/{POOL}/activity").text
    assert "2 selected images are not pushed: another task with the same file is labelled" in page
    world.push()
    assert chosen - world.state().pushed == {pairs[0][0], pairs[1][0]}
    assert world.state().used_images == len(chosen) - 1
    world.store.replace_labels(world.project, POOL, [])
    assert {row.item for row in world.state().waiting} == {pairs[0][0], pairs[1][0]}, (
        "a label can be taken back"
    )


def test_contradicting_metadata_and_labels_of_one_picture_are_named(world):
    world.step(detect_confounders)
    (sentence,) = world.state().project.problems[equal_images.ORIGIN]
    assert sentence.startswith(
        "2 pictures of the pool are there several times, byte for byte, with different metadata ('id' and 'site'), "
        "such as task 100 and task 5000: correct"
    )
    tasks = world.store.problem_tasks(world.project)[equal_images.ORIGIN]
    assert sorted(task.task for task in tasks) == [100, 101, 5000, 5001]
    pool = read_pool(world.state())
    sides = dict(
        zip(pool.ids.tolist(), zip(pool.held_out.tolist(), pool.groups.tolist(), strict=True), strict=True)
    )
    assert all(sides[a] == sides[b] for a, b in world.pairs)
    assert conflicting_labels(world.state()) == []
    (a, b), (c, d) = world.pairs[:2]
    given = {a: ("benign", "1"), b: ("malignant", "1"), c: ("benign", "1"), d: ("benign", "1")}
    world.store.replace_labels(world.project, QUEUE, rows_of(given))
    state = State(world.store, world.project)
    assert (len(state.used), state.used_images) == (4, 2)
    (sentence,) = conflicting_labels(state)
    assert sentence.startswith(
        "1 picture is in the pool several times, byte for byte, and labelled differently, such as task 100 "
        "and task 5000 (benign and malignant): correct"
    )


@pytest.mark.parametrize("strategy", ["maxherding", "uherding", "confounder_aware"])
def test_of_pictures_with_equal_vectors_the_first_covers_all(strategy):
    """As copies with other bytes have: they were taken for covered before any was chosen."""
    blank, problem = blank_scans(np.random.default_rng(0), blanks=2000, others=200)
    free = replace(problem, pictures=None, labels=np.full(2200, -1), taken=np.zeros(2200, dtype=bool))
    free = replace(free, probabilities=None, columns=[], options=SelectionOptions(random_share=0))
    chosen = select(strategy, free, 20)
    (at,) = np.flatnonzero(blank[chosen.indices])
    assert at == 0
    assert 2000 <= chosen.reasons[0].covers < 2100


def test_ji2025_places_each_vector_once(monkeypatch):
    sizes = []
    real = ji2025.reduce_to_plane

    def measured(vectors, how, rng):
        sizes.append(len(vectors))
        return real(vectors, "pca", rng)

    monkeypatch.setattr(ji2025, "reduce_to_plane", measured)
    _, problem = blank_scans(np.random.default_rng(0), blanks=2000, others=40)
    free = replace(
        problem, pictures=None, labels=np.full(2040, -1), taken=np.zeros(2040, dtype=bool), probabilities=None
    )
    assert len(select("ji2025", free, 20)) == 20
    assert sizes == [41]


def test_equal_vectors_are_found_up_to_rounding():
    vectors = np.random.default_rng(0).standard_normal((9000, 5)).astype(np.float32)
    vectors[[7, 5000, 8999]] = vectors[3]
    vectors[5000] *= 1 + 1e-7
    first, which = distinct(vectors)
    assert len(first) == 8997
    assert which[[3, 7, 5000, 8999]].tolist() == [3] * 4
    np.testing.assert_array_equal(first, np.sort(first))
    assert all(len(distinct(np.full((4, 3), value, dtype=np.float32))[0]) == 1 for value in (0, 1e-30, 1e30))

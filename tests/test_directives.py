"""What an admin wants of single images: excluded ones are never selected, those put first come first, undo."""

from __future__ import annotations

import numpy as np
import pytest
from world import World

from cdsel_backend.project.embedded import read_pool
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.insight import random_share
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.selection import neutral_sentence
from cdsel_backend.store.records import Directive

EXCLUDED, FIRST = Directive.EXCLUDED, Directive.FIRST


@pytest.fixture
def world(tmp_path):
    """A world whose confounders are known, before its first round."""
    world = World(tmp_path, random_share=0.2)
    world.step(detect_confounders)
    return world


def selected(world):
    assert world.step(select_round)
    return world.state().selections


def test_an_image_that_was_put_first_comes_first_and_says_so(world):
    ids = sorted(world.truth)
    store, project = world.store, world.project
    assert store.direct(project, ids[40:42], FIRST, who="ann") == 2
    rows = selected(world)
    assert [row.item for row in rows[:2]] == ids[40:42]
    assert (len(rows), [row.rank for row in rows]) == (20, list(range(1, 21)))
    first = rows[0]
    assert first.sentence == "Put first by an administrator." == neutral_sentence(first.reason)
    assert first.reason["put_first"]
    assert not first.drawn_at_random
    assert not first.chosen_by_chance
    assert sum(row.drawn_at_random for row in rows) >= 1
    assert set(first.levels) == {"site"}


def test_images_put_first_stay_within_the_budget_and_come_in_the_order_in_which_that_was_said(world):
    ids = sorted(world.truth)
    world.store.direct(world.project, ids[100:125], FIRST, who="ann")
    world.store.direct(world.project, ids[:1], FIRST, who="ann")
    assert [row.item for row in selected(world)] == ids[100:120]
    world.push()
    world.label(world.state().open)
    rows = selected(world)[20:]
    assert [row.item for row in rows[:6]] == [*ids[120:125], ids[0]]


def test_an_excluded_image_is_never_selected_not_even_by_chance(world):
    ids = sorted(world.truth)
    world.store.direct(world.project, ids[3:], EXCLUDED, who="ann")
    rows = selected(world)
    assert {row.item for row in rows} == set(ids[:3])
    world.push()
    world.label(world.state().open)
    assert not world.step(select_round), "nothing is left"
    world.store.direct(world.project, ids[3:10], None, who="ann")
    assert {row.item for row in selected(world)} == set(ids[:10]), "what is let in again is looked for again"


def test_what_waits_to_be_pushed_is_not_pushed_once_it_is_excluded_and_waits_again_after_undo(world):
    rows = selected(world)
    item = rows[0].item
    world.store.direct(world.project, [item], EXCLUDED, who="ann")
    assert [row.item for row in world.state().waiting] == [row.item for row in rows[1:]]
    world.store.undo_directives(world.project, who="ann")
    assert [row.item for row in world.state().waiting] == [row.item for row in rows]


def test_undo_takes_one_change_of_many_images_back_and_done_twice_it_comes_again(world):
    ids = sorted(world.truth)
    store, project = world.store, world.project
    store.direct(project, ids[:2], FIRST, who="ann")
    store.direct(project, ids[1:4], EXCLUDED, who="bea")
    assert store.directives(project) == {ids[0]: FIRST, **dict.fromkeys(ids[1:4], EXCLUDED)}
    assert store.undo_directives(project, who="cleo") == 3
    assert store.directives(project) == {ids[0]: FIRST, ids[1]: FIRST}
    assert store.undo_directives(project, who="cleo") == 3
    assert store.directives(project, items=ids[:2]) == {ids[0]: FIRST, ids[1]: EXCLUDED}
    history = [(row.who, row.former, row.directive) for row in store.directive_changes(project, ids[1])]
    assert history == [
        ("ann", None, FIRST),
        ("bea", FIRST, EXCLUDED),
        ("cleo", EXCLUDED, FIRST),
        ("cleo", FIRST, EXCLUDED),
    ]


def test_every_change_is_in_the_audit_and_what_changes_nothing_is_not(world):
    ids = sorted(world.truth)
    store, project = world.store, world.project
    assert store.undo_directives(project, who="ann") == 0
    store.direct(project, ids[:2], EXCLUDED, who="ann")
    assert store.direct(project, ids[:2], EXCLUDED, who="ann") == 0
    store.direct(project, ids[:7], None, who="ann")
    store.direct(project, ids[:7], EXCLUDED, who="ann")
    assert [(row.who, row.name, row.new) for row in store.audit(project)] == [
        ("ann", "images excluded", "7 images: tasks 100, 101, 102, 103, 104, …"),
        ("ann", "images put back among the others", "tasks 100, 101"),
        ("ann", "images excluded", "tasks 100, 101"),
    ]


def test_an_image_of_another_project_is_left_alone(world):
    other = world.store.connect_project("http://studio", 9, label_config="")
    world.store.direct(world.project, sorted(world.truth)[:1], EXCLUDED, who="ann")
    assert world.store.directives(other) == {}
    assert world.store.undo_directives(other, who="ann") == 0


def test_the_random_share_speaks_for_what_could_be_drawn(world):
    ids = sorted(world.truth)
    world.store.direct(world.project, ids[:3], FIRST, who="ann")
    world.store.direct(world.project, ids[-10:], EXCLUDED, who="ann")
    rows = selected(world)
    world.push()
    world.label(world.state().open)
    pool = read_pool(world.state())
    labelled = np.flatnonzero(pool.labelled)

    class Unseen:
        rows = labelled

    share = random_share(pool, Unseen)
    assert share.size == 150
    by_item = dict(zip(pool.ids[labelled].tolist(), share.round.tolist(), strict=True))
    assert {by_item[row.item] for row in rows[:3]} == {1}
    assert {by_item[row.item] for row in rows[3:]} == {2}, "drawn after those that were put first"

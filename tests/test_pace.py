"""Minutes an image, what the budget in hours allows, and what a look at Label Studio brought."""

from __future__ import annotations

import pytest
from conftest import LABEL_CONFIG
from world import World, rows_of

from cdsel_backend.labels.pace import FEWEST_TIMES, measure_pace
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.reconcile.answers import label_rows
from cdsel_backend.reconcile.rounds import select_round


def test_idle_tabs_do_not_move_the_pace():
    times = [("1", 30.0)] * 6 + [("1", 40_000.0)] * 4 + [("2", 90.0)] * 5 + [("3", None), ("3", 5.0)]
    pace = measure_pace(times)
    assert pace.by_annotator["1"].seconds == 30.0
    assert pace.by_annotator["2"].seconds == 90.0
    assert "3" not in pace.by_annotator, "one time tells nothing"
    assert pace.every is not None
    assert (pace.every.count, pace.every.seconds) == (16, 90.0)
    assert pace.images_in(3600) == 40
    assert measure_pace([("1", 30.0)] * (FEWEST_TIMES - 1)).images_in(3600) is None


@pytest.mark.parametrize(
    ("lead_time", "seconds"), [(12.5, 12.5), (None, None), (0, None), (-3, None), ("x", None), (True, None)]
)
def test_the_time_of_an_annotation_is_kept_where_there_is_one(lead_time, seconds):
    annotation = {"id": 1, "result": [], "lead_time": lead_time, "updated_at": "2026-01-01"}
    (row,) = label_rows(7, [annotation], 3, parse_label_space(LABEL_CONFIG))
    assert row["seconds"] == seconds


def test_a_budget_in_hours_is_one_round_until_times_are_measured_and_then_what_they_allow(tmp_path):
    world = World(tmp_path, budget=100, round_size=10, budget_hours=1.0)
    assert (world.state().budget, world.state().left) == (10, 10)
    items = [row.id for row in world.store.items(world.project)][:6]
    rows = rows_of(dict.fromkeys(items, ("benign", "2026-01-01")))
    world.store.replace_labels(world.project, 1, [{**row, "seconds": 120.0} for row in rows])
    assert (world.state().budget, world.state().left) == (30, 24)
    world.store.replace_labels(world.project, 1, [{**row, "seconds": 6.0} for row in rows])
    assert world.state().budget == 100, "the smaller of both holds"


def test_an_answer_that_is_not_learned_uses_budget_and_is_told_from_skipped(tmp_path):
    world = World(tmp_path, budget=20, round_size=5)
    assert world.step(select_round)
    world.push()
    first, second, *_ = sorted(world.state().open)
    (unsure,) = rows_of({first: (None, "2026-01-01")})
    (skipped,) = rows_of({second: (None, "2026-01-01")})
    world.store.replace_labels(
        world.project,
        1,
        [
            {**unsure, "annotation": 1, "ignored": "cannot tell"},
            {**skipped, "annotation": 2, "skipped": True},
        ],
    )
    state = world.state()
    assert state.undecided == {first}
    assert state.skipped == {first, second}
    assert (len(state.open), state.left, state.labels) == (3, 15, {})


def test_an_event_says_what_the_look_brought(tmp_path):
    world = World(tmp_path)
    pool = world.state().project.pool_project
    number = world.store.add_event(pool, "ANNOTATION_CREATED", {})
    sent = world.store.add_event(pool, "TASKS_PUSHED", {"tasks": [1]}, handled=True, seconds=2.0)
    world.store.handle_events([number], {"answers": 1, "withdrawn": 0, "images": 0})
    found = {event.id: event for event in world.store.events([pool])}
    assert found[number].result == {"answers": 1, "withdrawn": 0, "images": 0}
    assert found[sent].handled_at - found[sent].received_at == pytest.approx(2.0)
    assert world.store.open_events([pool]) == []

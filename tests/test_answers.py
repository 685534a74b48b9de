"""An answer to another question is neither a label nor skipped."""

from __future__ import annotations

from conftest import LABEL_CONFIG
from world import QUEUE, World

from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.reconcile.answers import label_rows, other_answers_problem

SPACE = parse_label_space(LABEL_CONFIG)


def test_an_answer_to_another_question_is_told_apart_from_skipped(tmp_path):
    world = World(tmp_path)
    items = [row.id for row in world.state().items[:3]]
    other = [{"from_name": "quality", "to_name": "image", "type": "choices", "value": {"choices": ["bad"]}}]
    given = ({"result": other}, {"result": []}, {"result": other + SPACE.result_for("benign")})
    rows = [
        row
        for number, (item, one) in enumerate(zip(items, given, strict=True), start=1)
        for row in label_rows(900 + number, [{"id": number, **one}], item, SPACE)
    ]
    world.store.replace_labels(world.project, QUEUE, rows)
    state = world.state()
    assert (state.other_answers, state.skipped, state.labels) == (
        {items[0]},
        {items[1]},
        {items[2]: "benign"},
    )
    assert state.used == {items[2]}
    (words,) = other_answers_problem(state, SPACE)
    assert "quality (1)" in words
    assert "tasks 901" in words

"""An answer to another question is neither a label nor skipped."""

from __future__ import annotations

from conftest import LABEL_CONFIG
from world import POOL, QUEUE, World

from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.reconcile.answers import label_rows, other_answers_problem
from cdsel_backend.reconcile.rounds import select_round

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
    assert world.step(select_round)
    world.push()
    pushed = world.state()
    first, second = sorted(pushed.open)[:2]
    free = pushed.left
    tasks = {row.item: row.queue_task for row in pushed.tasks}
    answers = [{"id": 8, "result": other}], [{"id": 9, "result": []}]
    answered = [
        row
        for item, given in zip((first, second), answers, strict=True)
        for row in label_rows(tasks[item], given, item, SPACE)
    ]
    world.store.replace_labels(world.project, QUEUE, [*rows, *answered])
    # The one that is answered otherwise makes room for another; the skipped one may still be labelled.
    assert world.state().left == free + 1
    assert first not in world.state().open
    # In the pool project alone it does not: the task of the queue is handed out all the same.
    world.store.replace_labels(world.project, QUEUE, [*rows, *answered[1:]])
    world.store.replace_labels(
        world.project, POOL, label_rows(77, [{"id": 70, "result": other}], first, SPACE)
    )
    assert first in world.state().open & world.state().other_answers
    assert world.state().left == free
    (words,) = other_answers_problem(state, SPACE)
    assert "quality (1)" in words
    assert "tasks 901" in words

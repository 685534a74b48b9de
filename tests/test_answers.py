"""An answer to another question is neither a label nor skipped."""

from __future__ import annotations

import pytest
from conftest import LABEL_CONFIG
from world import POOL, QUEUE, World

from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig, parse_label_space
from cdsel_backend.reconcile.answers import HIDDEN, label_rows, other_answers_problem
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
    (problem,) = other_answers_problem(state, SPACE)
    assert "quality (1)" in problem
    assert "(task 901)" in problem


def asked_when(condition, around=""):
    """The space of a multiple choice that Label Studio shows only sometimes."""
    return parse_label_space(
        '<View><Image name="image" value="$image"/><Choices name="quality" toName="image">'
        '<Choice value="good" alias="OK"/><Choice value="poor"/></Choices>'
        '<RectangleLabels name="box" toName="image"><Label value="lesion"/></RectangleLabels>'
        f'<View {around}><Choices name="findings" toName="image" choice="multiple" {condition}>'
        '<Choice value="nodule"/><Choice value="mass"/></Choices></View></View>',
        learn="findings",
    )


def part(control, kind, *names, **more):
    return {"from_name": control, "to_name": "image", "type": kind, "value": {kind: [*names], **more}}


GOOD, POOR = part("quality", "choices", "OK"), part("quality", "choices", "poor")
BOX = part("box", "rectanglelabels", "lesion", x=1, y=1, width=9, height=9)


@pytest.mark.parametrize(
    ("condition", "shown", "hidden"),
    [
        ('visibleWhen="choice-selected" whenTagName="quality" whenChoiceValue="good"', [GOOD], [POOR]),
        ('visibleWhen="choice-selected" whenTagName="quality" whenChoiceValue="great, OK"', [GOOD], [POOR]),
        ('visibleWhen="choice-selected" whenTagName="quality"', [POOR], [BOX]),
        ('visibleWhen="choice-unselected" whenTagName="quality" whenChoiceValue="poor"', [GOOD], [POOR]),
        ('visibleWhen="choice-unselected" whenTagName="quality" whenChoiceValue="poor"', [], [POOR, BOX]),
        ('visibleWhen="region-selected"', [BOX], [GOOD]),
        ('visibleWhen="region-selected" whenTagName="box" whenLabelValue="lesion"', [BOX, POOR], [POOR]),
    ],
)
def test_a_question_that_was_not_shown_has_no_answer(condition, shown, hidden):
    """A multiple choice without a tick says "none of them" only where somebody could have ticked it."""
    for space in (asked_when(condition), asked_when("", around=condition)):
        (row,) = label_rows(1, [{"id": 1, "result": shown}], 5, space)
        assert (row["label"], row["question"]) == ("[]", None)
        (row,) = label_rows(1, [{"id": 1, "result": hidden}], 5, space)
        assert (row["label"], row["question"], row["ignored"]) == (
            None,
            ", ".join(sorted({answer["from_name"] for answer in hidden})),
            HIDDEN,
        )
        (row,) = label_rows(1, [{"id": 1, "result": [*shown, part("findings", "choices", "mass")]}], 5, space)
        assert row["label"] == '["mass"]'


def test_a_control_without_a_name_is_refused():
    with pytest.raises(UnsupportedLabelConfig, match="has no name, which answers go by"):
        parse_label_space(LABEL_CONFIG.replace('<Choices name="diagnosis"', "<Choices"))


def test_answers_that_hid_the_question_are_no_problem(tmp_path):
    world, space = World(tmp_path), asked_when('visibleWhen="choice-unselected" whenTagName="quality"')
    item = world.state().items[0].id
    rows = label_rows(901, [{"id": 1, "result": [POOR]}], item, space)
    world.store.replace_labels(world.project, QUEUE, rows)
    assert world.state().other_answers == {item}
    assert other_answers_problem(world.state(), space) == []

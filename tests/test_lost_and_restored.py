"""A backup that is restored, rounds in place whose books were lost, and answers to other questions: on Label Studio."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner
from desk import Desk, make_pool

from cdsel_backend.cli import main
from cdsel_backend.labelstudio.labels import parse_label_space

TWO_QUESTIONS = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="diagnosis" toName="image"><Choice value="benign"/><Choice value="malignant"/></Choices>'
    '<Choices name="quality" toName="image"><Choice value="good"/><Choice value="bad"/></Choices></View>'
)


def test_a_restored_backup_loses_no_label_and_gives_out_nothing_twice(studio, tmp_path):
    folder, file = tmp_path / "a", str(tmp_path / "cdsel.tar")
    environment = {
        "CDSEL_DATA_DIR": str(folder),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
    }

    def cdsel(*words):
        answer = CliRunner().invoke(main, words, env={**environment, "CDSEL_DATABASE_URL": ""})
        assert answer.exit_code == 0, answer.output

    pool = make_pool(studio, images=30)
    desk = Desk(studio, pool, folder, budget=20)
    desk.go_on()
    first, second, *_ = desk.tasks()
    desk.submit(first)
    desk.look()
    cdsel("backup", file)  # while a worker has it open
    # What comes later is in Label Studio only: labels, one that changes, and a round.
    desk.submit(second)
    for task in desk.tasks(answered=False):
        desk.submit(task)
    state = desk.go_on()
    (one,) = desk.tasks()[0]["annotations"]
    space = parse_label_space(state.project.label_config)
    desk.client.update_annotation(one["id"], space.result_for("malignant"))
    state = desk.go_on()
    assert (len(state.labels), len(state.open)) == (6, 6)
    items = {row.id: row.task for row in state.items}
    labels = {items[item]: label for item, label in state.labels.items()}
    desk.store.close()
    shutil.rmtree(folder)
    cdsel("restore", file)
    restored = Desk(studio, pool, folder, budget=20)
    state = restored.go_on()
    items = {row.id: row.task for row in state.items}
    assert {items[item]: label for item, label in state.labels.items()} == labels
    assert "malignant" in labels.values()
    assert (len(state.open), len(state.rounds)) == (6, 2)
    named = [task["data"]["cdsel_item"] for task in restored.tasks()]
    assert len(named) == len({*named}) == 12
    for task in restored.tasks(answered=False):
        restored.submit(task)
    state = restored.go_on()
    named = [task["data"]["cdsel_item"] for task in restored.tasks()]
    assert len(named) == len({*named}) == 18
    assert len(state.labels) == 12


@pytest.mark.slow
def test_rounds_in_place_are_taken_back_when_the_folder_was_lost(studio, tmp_path):
    pool = make_pool(studio, images=30)
    first = Desk(studio, pool, tmp_path / "a", delivery="in_place", round_size=4, budget=12)
    state = first.go_on()
    for row in state.selections:
        first.submit({"id": row.queue_task})
    state = first.go_on()
    assert (len(state.labels), len(state.open), len(state.rounds)) == (4, 4, 2)
    known = [(row.queue_task, row.rank, row.round) for row in state.selections]
    first.client.update_project(pool, description="")  # nobody else is at it
    fresh = Desk(studio, pool, tmp_path / "b", delivery="in_place", round_size=3, budget=12)
    state = fresh.go_on()
    assert [(row.queue_task, row.rank, row.round) for row in state.selections] == known
    assert (len(state.labels), len(state.open), state.left) == (4, 4, 4)
    assert len(fresh.said("TASKS_TAKEN_BACK")) == 1
    for task in (row.queue_task for row in state.selections if row.item in state.open):
        fresh.submit({"id": task})
    state = fresh.go_on()
    assert (len(state.labels), len(state.open), len(state.selections)) == (8, 3, 11)


@pytest.mark.slow
def test_an_answer_to_another_question_is_no_label_and_makes_room(studio, tmp_path):
    pool = make_pool(studio, TWO_QUESTIONS, images=20)
    desk = Desk(studio, pool, tmp_path, round_size=4, budget=8)
    state = desk.go_on()
    first, second, *others = desk.tasks()
    quality = {"from_name": "quality", "to_name": "image", "type": "choices", "value": {"choices": ["bad"]}}
    diagnosis = {**quality, "from_name": "diagnosis", "value": {"choices": ["benign"]}}
    answer = desk.client.submit(first["id"], [quality])
    desk.client.submit(second["id"], [{**quality, "from_name": "grade"}])  # as imported from elsewhere
    state = desk.look()
    assert (len(state.labels), len(state.skipped), len(state.other_answers)) == (0, 0, 2)
    assert len(state.used) == 2
    (said,) = state.project.problems["answers"]
    assert "quality (1)" in said
    assert "grade (1)" in said
    # The question is answered after all.
    desk.client.update_annotation(answer, [quality, diagnosis])
    state = desk.look()
    assert (len(state.labels), len(state.other_answers)) == (1, 1)
    for task in others:
        desk.client.submit(task["id"], [diagnosis])
    state = desk.go_on()
    assert len(state.labels) == 3
    assert len(state.used) <= 8
    assert state.open
    # A label on a task of somebody's own in the queue is not learned, and the overview says so.
    (own,) = desk.client.import_tasks(state.project.queue_project, [{"data": {"image": "/elsewhere.jpg"}}])
    desk.client.submit(own, [diagnosis])
    state = desk.look()
    assert len(state.labels) == 3
    (said,) = state.project.problems["foreign"]
    assert f"1 labelled task of the queue (project {state.project.queue_project}) was not put there" in said
    assert f"(task {own})" in said
    # Another order or another number of annotations is named, with the fix.
    queue = state.project.queue_project
    desk.client.update_project(queue, sampling="Uniform sampling", maximum_annotations=2)
    (said,) = desk.look().project.problems["order"]
    assert 'sampling is "Random sampling" and each of its tasks is for 2 annotators' in said
    desk.client.update_project(queue, sampling="Sequential sampling", maximum_annotations=1)
    assert "order" not in desk.look().project.problems

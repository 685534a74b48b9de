"""Tasks whose data somebody changed in a real Label Studio: in the pool they are read anew, in a queue named.

What was corrected in the pool is written into open tasks of the queue.
"""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
from desk import Desk, make_pool

from cdsel_backend.labelstudio.client import RequestRefused
from cdsel_backend.reconcile import replacements
from cdsel_backend.reconcile.confounders import detect_confounders


@pytest.fixture
def desk(studio, tmp_path):
    desk = Desk(studio, make_pool(studio, images=30), tmp_path)
    desk.go_on()
    return desk


def patch(desk, task, **data):
    """Write a task's data anew without what is ours, as a script does that knows its own fields."""
    own = {name: value for name, value in task["data"].items() if not name.startswith("cdsel_")}
    desk.client.send("PATCH", f"/api/tasks/{task['id']}/", {"data": {**own, **data}})


def problems(desk):
    return desk.state().project.problems.get("edited tasks", [])


def test_metadata_that_are_corrected_in_the_pool_are_read_again_and_a_changed_address_is_embedded_again(
    desk, monkeypatch
):
    pool = desk.state().project.pool_project
    done, *_ = desk.tasks()
    desk.submit(done)
    before = desk.go_on()
    tasks = {task["id"]: task for task in desk.client.tasks(pool)}
    for task in tasks.values():
        patch(
            desk, task, site="east" if task["data"]["site"] == "north" else task["data"]["site"], camera="c1"
        )
    labelled = tasks[done["data"]["cdsel_item"]]
    patch(desk, labelled, image="/another.jpg")
    desk.look()
    items = {row.task: row for row in desk.state().items}
    assert {row.data["site"] for row in items.values()} == {"east", "south", "north"} - (
        set() if labelled["data"]["site"] == "north" else {"north"}
    )
    changed = items[labelled["id"]]
    assert (changed.image, changed.content_hash) == ("/another.jpg", None)  # to be read
    desk.store.add_vectors("b", [(changed.id, "f" * 64, np.ones(16, np.float32))])
    replacements.compare(desk.state(), {changed.id: "f" * 64})
    assert detect_confounders(desk.context, desk.state())
    after = desk.go_on()
    assert {finding["variable"] for finding in after.project.report["findings"]} >= {"site", "camera"}
    assert after.labels == before.labels
    (words,) = after.project.problems[replacements.ORIGIN]
    assert f"the picture of task {labelled['id']} in the pool was replaced" in words
    assert desk.said("TASKS_WITHDRAWN") == []
    assert (after.item_count, after.withdrawn, problems(desk)) == (30, set(), [])
    # Whoever labels sees what the pool holds by now, and all that is ours; what was labelled stays as it was seen.
    ours = {"cdsel_item", "cdsel_rank", "cdsel_round", "cdsel_place", "cdsel_reason"}
    for task in desk.tasks():
        item = items[task["data"]["cdsel_item"]]
        assert ours <= task["data"].keys()
        assert task["data"]["site"] == (done["data"] if task["id"] == done["id"] else item.data)["site"]
        assert task["data"].get("camera") == (None if task["id"] == done["id"] else "c1")
        assert task["data"]["image"] == (done["data"]["image"] if task["id"] == done["id"] else item.image)
    (words,) = desk.said("TASKS_CORRECTED")
    assert words.startswith("5 open tasks of the queue")
    desk.look()
    assert len(desk.said("TASKS_CORRECTED")) == 1
    # What Label Studio refuses to write is named, and no label waits for it.
    last = desk.tasks(answered=False)[-1]
    patch(desk, tasks[last["data"]["cdsel_item"]], site="west", camera="c1")
    desk.submit(desk.tasks(answered=False)[0])
    detail = RequestRefused("PATCH /api/tasks/: Label Studio answered 400: no", 400)
    monkeypatch.setattr(desk.client, "update_task", Mock(side_effect=detail))
    assert len(desk.look().labels) == len(after.labels) + 1
    (words,) = problems(desk)
    assert words.startswith(f"task {last['id']} of the queue")
    assert words.endswith("answered 400: no")
    monkeypatch.undo()
    desk.look()
    assert problems(desk) == []
    assert desk.tasks()[-1]["data"]["site"] == "west"


def test_a_task_of_the_queue_that_was_edited_is_not_deleted_and_what_differs_is_named(desk):
    before = desk.go_on()
    queue, pool = before.project.queue_project, before.project.pool_project
    first, second, third, fourth, *_ = desk.tasks()
    patch(desk, first, site="east")
    patch(desk, second, image="/second.jpg")
    patch(desk, third)  # without our marks, and else as it was
    desk.client.send("PATCH", f"/api/tasks/{fourth['id']}/", {"data": {**fourth["data"], "image": "/4.jpg"}})
    for task in (second, third):
        desk.submit(task, "malignant")
    state = desk.look()
    assert desk.said("TASKS_WITHDRAWN") == []
    assert (state.withdrawn, len(state.open)) == (set(), 4)
    assert sorted(state.labels.values()) == ["malignant", "malignant"]
    pictures, metadata = problems(desk)
    of_pool = {
        task["id"]: f"task {task['id']} (task {task['data']['cdsel_item']} of the pool)"
        for task in (first, second, third, fourth)
    }
    assert pictures.startswith(
        f"the pictures of {of_pool[second['id']]} and {of_pool[fourth['id']]} in the queue (project {queue}) were"
    )
    assert metadata.startswith(f"the data of {of_pool[first['id']]} in the queue (project {queue})")
    assert f"Change the task of the pool (project {pool}), too" in metadata
    edited = {row.task: row.pool_task for row in desk.store.problem_tasks(desk.project)["edited tasks"]}
    assert edited == {task["id"]: task["data"]["cdsel_item"] for task in (first, second, fourth)}
    # The pool gets what was meant, or the task what it was.
    by_number = {task["id"]: task for task in desk.client.tasks(pool)}
    patch(desk, by_number[first["data"]["cdsel_item"]], site="east")
    patch(desk, by_number[second["data"]["cdsel_item"]], image="/second.jpg")
    desk.client.send("PATCH", f"/api/tasks/{fourth['id']}/", {"data": fourth["data"]})
    desk.look()
    assert problems(desk) == []
    # Whatever has the number of a task that was deleted was made at another time.
    *_, last = desk.tasks()
    desk.client.delete_task(last["id"])
    (number,) = desk.client.import_tasks(queue, [{"data": {"image": "/foreign.jpg"}}])
    assert number == last["id"]
    state = desk.look()
    assert [row.queue_task for row in state.selections if row.item in state.withdrawn] == [last["id"]]
    assert "1 task was deleted" in desk.said("TASKS_WITHDRAWN")[0]


def test_a_task_that_lost_everything_of_ours_before_it_was_looked_at_is_known_by_when_it_was_made(desk):
    first, second, *_ = desk.tasks()
    for task in (first, second):  # another picture, and no mark
        desk.client.send("PATCH", f"/api/tasks/{task['id']}/", {"data": {"image": "/else.jpg"}})
    desk.submit(first, "malignant")
    state = desk.look()
    assert desk.said("TASKS_WITHDRAWN") == []
    assert (len(state.open), list(state.labels.values())) == (5, ["malignant"])
    assert problems(desk)[0].startswith(f"the pictures of task {first['id']} (")


def test_tasks_of_the_queue_that_we_did_not_put_there_are_named(desk):
    state = desk.go_on()
    queue = state.project.queue_project
    first, *_ = desk.tasks()
    strange, labelled, double, third = desk.client.import_tasks(
        queue,
        [{"data": one} for one in ({"image": "/a.jpg"}, {"image": "/b.jpg"}, first["data"], first["data"])],
    )
    desk.submit({"id": labelled})
    desk.submit({"id": third}, "malignant")
    state = desk.look()
    of_labelled, of_strange, of_doubles = state.project.problems["foreign"]
    assert f"(task {labelled}): its label is not learned" in of_labelled
    assert f"(task {strange}): annotators get it, beyond the budget" in of_strange
    assert f"(tasks {double}, {third}), as where an export" in of_doubles
    assert (len(state.used), list(state.labels.values())) == (6, ["malignant"])
    for number in (strange, labelled, double, third):
        desk.client.delete_task(number)
    assert "foreign" not in desk.look().project.problems
    assert desk.look().withdrawn == set()

"""Label Studio gives numbers again: of tasks and imported annotations on SQLite, of all where a database was replaced.

What has the number of something that we knew is never taken for it.
"""

from __future__ import annotations

import pytest
from desk import SPACE, Desk, make_pool

from cdsel_backend.labelstudio.client import LabelStudioError
from cdsel_backend.project.identity import AnotherProject
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.queues import forget_lost
from cdsel_backend.store import PoolTask

BENIGN = SPACE.result_for("benign")


@pytest.fixture
def desk(studio, tmp_path):
    return Desk(studio, make_pool(studio, images=30), tmp_path)


def import_again(desk, number, image, **more):
    """Import a pool task that gets the number of what was deleted last."""
    pool = desk.state().project.pool_project
    (task,) = desk.client.import_tasks(pool, [{"data": {"image": image, "site": "north"}, **more}])
    assert task == number
    return task


def go_on(desk):
    """As `Desk.go_on`, where a queue is gone: the loop forgets it and goes on."""
    with pytest.raises(LabelStudioError):
        desk.look()
    assert forget_lost(desk.context, desk.state())
    return desk.go_on()


@pytest.mark.slow
def test_a_pool_task_with_the_number_of_a_deleted_one_is_a_new_item(desk):
    desk.go_on()
    pool = desk.state().project.pool_project
    (task,) = desk.client.import_tasks(pool, [{"data": {"image": "/old.jpg", "site": "south"}}])
    desk.go_on()
    old = desk.store.items_by_task(desk.project, [task])[task]
    assert old.content_hash
    # A label from a queue that is no more: it stays whatever becomes of the task.
    row = {"annotation": 10**6, "item": old.id, "label": "malignant", "problem": None, "skipped": False}
    desk.store.replace_labels(desk.project, 10**6, [{**row, "annotator": "1", "updated_at": ""}])
    desk.client.delete_task(task)
    import_again(desk, task, "/new.jpg")
    count = desk.state().item_count
    state = desk.look()
    new = desk.store.items_by_task(desk.project, [task])[task]
    kept = desk.store.items_by_id([old.id])[old.id]
    assert new.id != old.id
    assert (new.image, new.content_hash, new.gone) == ("/new.jpg", None, False)
    assert (kept.image, kept.content_hash, kept.gone) == ("/old.jpg", old.content_hash, True)
    assert state.labels == {old.id: "malignant"}
    assert state.item_count == count
    # An address that an administrator corrects is the same task all the same.
    desk.client.send("PATCH", f"/api/tasks/{task}/", {"data": {"image": "/corrected.jpg", "site": "north"}})
    desk.look()
    same = desk.store.items_by_task(desk.project, [task])[task]
    assert (same.id, same.image) == (new.id, "/corrected.jpg")


@pytest.mark.slow
def test_a_queue_task_whose_number_another_has_is_withdrawn_and_nothing_else_is_deleted(desk):
    state = desk.go_on()
    queue = state.project.queue_project
    *_, fifth, last = state.selections
    # Another pool task gets the number of one that was deleted from the queue, and the image of that one is gone, too.
    task = desk.store.items_by_id([last.item])[last.item].task
    desk.client.delete_task(last.queue_task)
    desk.client.delete_task(task)
    number = import_again(desk, last.queue_task, "/new.jpg")
    state = desk.look()
    assert last.item in state.withdrawn
    assert "1 task was deleted from the queue" in desk.said("TASKS_WITHDRAWN")[0]
    pool = state.project.pool_project
    assert desk.client.task(number, pool)["data"]["image"] == "/new.jpg"
    assert desk.client.task(number, queue) is None
    # In the queue itself a task of another image has the number: as after a push that was not recorded.
    desk.client.delete_task(number)
    desk.submit({"id": fifth.queue_task})
    state = desk.look()
    assert set(state.labels) == {fifth.item}
    other = next(row for row in state.items if row.id not in {one.item for one in state.selections})
    mark = {"cdsel_item": other.task, "cdsel_rank": 50, "cdsel_round": 1, "cdsel_reason": "x"}
    desk.client.delete_task(fifth.queue_task)
    (number,) = desk.client.import_tasks(queue, [{"data": {"image": other.image, **mark}}])
    assert number == fifth.queue_task
    desk.client.submit(number, SPACE.result_for("malignant"))
    state = desk.look()
    assert state.labels == {fifth.item: "benign", other.id: "malignant"}
    assert desk.look().labels == state.labels
    assert [row.item for row in state.tasks if row.queue_task == number] == [other.id]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["deleted first", "imported first", "at once"])
def test_a_pool_that_was_imported_again_keeps_its_labels_and_its_queue(studio, tmp_path, order):
    """As with corrected metadata: the tasks have other numbers, the images are what they were."""
    desk = Desk(studio, make_pool(studio, images=20), tmp_path)
    pool = desk.go_on().project.pool_project
    for task in desk.tasks()[:2]:
        desk.submit(task, "malignant")
    before = desk.go_on()
    assert len(before.labels) == 2
    assert before.open
    old = list(desk.client.tasks(pool))
    data = [{**task["data"], "site": "east"} for task in old]
    steps = [
        lambda: [desk.client.delete_task(task["id"]) for task in old],
        lambda: desk.client.import_tasks(pool, [{"data": one} for one in data]),
    ]
    for step in reversed(steps) if order == "imported first" else steps:
        step()
        if order != "at once":
            desk.look()
    after = desk.go_on()
    here = {row.id: row for row in after.items if not row.gone}
    assert len(here) == after.item_count == 20
    assert {row.data["site"] for row in here.values()} == {"east"}
    assert {row.task for row in here.values()}.isdisjoint(task["id"] for task in old)
    assert after.labels == before.labels
    assert after.label_changes == before.labels  # they are learned
    assert len(after.selections) - len(after.withdrawn) <= 12  # the budget
    listed = {task["id"] for task in desk.tasks()}
    if order == "deleted first":  # what was open left the queue with its image; the budget let others in
        assert after.open.isdisjoint(before.open)
    else:
        assert after.open >= before.open
        assert {row.queue_task for row in before.selections} <= listed
        assert not after.withdrawn
    assert desk.look().labels == before.labels


@pytest.mark.slow
def test_labels_of_a_deleted_queue_stay_when_their_numbers_are_given_again(desk):
    state = desk.go_on()
    for row in state.selections[:2]:
        desk.submit({"id": row.queue_task})
    before = desk.look()
    desk.client.request("DELETE", f"/api/projects/{before.project.queue_project}/")
    pool = before.project.pool_project
    again = {"data": {"image": "/labelled.jpg", "site": "north"}, "annotations": [{"result": BENIGN}] * 3}
    (task,) = desk.client.import_tasks(pool, [again])
    listed = next(one for one in desk.client.tasks(pool, with_annotations=True) if one["id"] == task)
    numbers = {one["id"] for one in listed["annotations"]}
    assert numbers & {row.annotation for row in before.annotations}
    state = go_on(desk)
    assert len(state.labels) == 3
    assert before.labels.items() <= state.labels.items()


@pytest.mark.slow
def test_a_project_with_the_number_of_another_is_left_alone(desk):
    state = desk.go_on()
    queue = state.project.queue_project
    url, earlier = desk.client.url, "2020-01-01T00:00:00.000000Z"
    desk.client.update_project(queue, description="somebody's own")
    desk.store.set_fact(f"project {queue} of {url}", earlier)
    for row in state.selections:
        desk.client.delete_task(row.queue_task)
    state = go_on(desk)
    assert state.project.queue_project not in (None, queue)
    assert desk.tasks(queue) == []  # nothing was pushed into what is not ours
    assert len(desk.tasks()) == 6
    # The pool itself: nothing is read or written before somebody says so.
    pool = state.project.pool_project
    desk.store.set_fact(f"project {pool} of {url}", earlier)
    desk.context.held.clear()
    desk.context.at_rest.clear()
    before = desk.store.newest(desk.project)
    with pytest.raises(AnotherProject, match="is another one than before"):
        reconcile(desk.context, desk.project)
    assert desk.store.newest(desk.project) == before


def test_what_tells_two_tasks_of_one_number_apart(store):
    project = store.connect_project("http://studio", 1)
    early, late = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"

    def sync(image, at):
        store.sync_pool(project, [PoolTask(7, {"image": image}, image, at)])
        return store.items_by_task(project, [7])[7].id

    first = sync("/a.jpg", "")  # of an earlier version, which kept no time
    assert sync("/a.jpg", early) == first
    assert sync("/b.jpg", early) == first  # its address was changed
    assert sync("/b.jpg", late) == first  # deleted and imported again
    assert sync("/c.jpg", early) != first
    store.sync_pool(project, [])
    second = store.items_by_task(project, [7])[7].id
    assert sync("/c.jpg", early) == second  # back, as after a restore
    assert store.embedding_progress(project)[2] == 1
    assert [row.task for row in store.items(project) if row.id == first] == [-first]

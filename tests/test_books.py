"""The books against a real Label Studio: tasks that were deleted; books that were lost, restored or not alone."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest
from click.testing import CliRunner
from desk import Desk, account, make_pool
from sqlalchemy import update
from test_client import serve

from cdsel_backend.cli import main
from cdsel_backend.reconcile.books import deleted_tasks
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.store import schema
from cdsel_backend.store.activity import Step
from cdsel_backend.store.database import writing
from cdsel_backend.store.records import Directive

ANN, BOB = "ann@books.org", "bob@books.org"


@pytest.fixture
def pool(studio):
    return make_pool(studio)


def check(desk):
    """What holds at any time."""
    state = desk.state()
    assert len(state.used) <= state.settings.budget
    queues = state.queues.values()
    listed = [task for queue in queues for task in desk.tasks(queue)]
    items = {row.task: row.id for row in state.items}
    unanswered = {items[task["data"]["cdsel_item"]] for task in listed if not task["annotations"]}
    assert state.open <= unanswered  # what is open in the books is open in Label Studio
    assert len({row.rank for row in state.selections}) == len(state.selections)
    return state


def test_tasks_deleted_from_a_queue_are_withdrawn_said_and_replaced_and_labels_stay(studio, pool, tmp_path):
    desk = Desk(studio, pool, tmp_path)
    state = desk.go_on()
    assert len(state.open) == 6
    queue = state.project.queue_project
    first, second, third, *rest = desk.tasks()
    desk.submit(first)
    desk.submit(second)
    desk.client.submit(third["id"], [], skip=True)
    desk.look()
    # A labelled one, a skipped one and an unlabelled one: one webhook names them, another would not.
    for task in (first, third, rest[0]):
        desk.client.delete_task(task["id"])
    desk.store.add_event(queue, "TASKS_DELETED", {})
    state = desk.look()
    assert (len(state.labels), len(state.open), len(state.withdrawn)) == (2, 2, 2)
    assert len(state.used) == 4
    (words,) = desk.said("TASKS_WITHDRAWN")
    assert "3 tasks were deleted" in words
    assert "2 images without a label are withdrawn" in words
    assert "1 label that had come in stays" in words
    assert desk.look().labels == state.labels  # and stays
    for task in desk.tasks(answered=False):
        desk.submit(task)
    state = desk.go_on()
    assert (len(state.labels), len(state.open)) == (4, 6)
    check(desk)
    for task in desk.tasks(answered=False):
        desk.submit(task)
    state = desk.go_on()
    assert (len(state.labels), len(state.open), state.left) == (10, 2, 0)
    assert not state.withdrawn & (state.labels.keys() | state.open)
    # The whole queue emptied: nothing is open any more, and others come.
    for task in desk.tasks():
        desk.client.delete_task(task["id"])
    state = desk.go_on()
    assert (len(state.labels), len(state.open), state.left) == (10, 2, 0)
    check(desk)
    # What cannot be read is no deletion.
    open_before = state.open
    listed = desk.client.tasks
    desk.client.tasks = lambda *a, **k: iter(())
    try:
        assert desk.look().open == open_before
    finally:
        desk.client.tasks = listed
    assert deleted_tasks(desk.client, queue, 0, [10**6]) == set()
    assert deleted_tasks(desk.client, queue, 2, [10**6]) == {10**6}
    assert len(desk.look().items) == 40
    assert desk.state().item_count == 40
    # Deleted from the pool while it is open in the queue, and while somebody has begun to answer.
    by_id = {row.id: row for row in desk.state().items}
    left, begun = (by_id[item].task for item in sorted(open_before))
    draft = {"result": [], "lead_time": 1.0, "draft_id": 0}
    (task,) = (one for one in desk.tasks() if one["data"]["cdsel_item"] == begun)
    desk.client.send("POST", f"/api/tasks/{task['id']}/drafts?project={queue}", draft)
    for number in (left, begun):
        desk.client.delete_task(number)
    state = desk.go_on()
    assert {by_id[item].task for item in state.withdrawn} >= {left}
    assert "taken out of the queue" in desk.said("TASKS_WITHDRAWN")[0]
    assert {one["data"]["cdsel_item"] for one in desk.tasks()} >= {begun}
    assert left not in {one["data"]["cdsel_item"] for one in desk.tasks()}
    assert (len(state.labels), len(state.open), state.left) == (10, 2, 0)


@pytest.mark.slow
def test_a_lost_or_restored_data_folder_knows_what_is_open_before_it_selects(studio, pool, tmp_path):
    first = Desk(studio, pool, tmp_path / "a", round_size=5, budget=20)
    state = first.go_on()
    for task in first.tasks()[:2]:
        first.submit(task)
    first.look()
    shutil.copytree(tmp_path / "a", tmp_path / "old")  # at rest: round 1 is open, two labels are known
    for task in first.tasks(answered=False):
        first.submit(task)
    state = first.go_on()
    queue = state.project.queue_project
    assert (len(state.labels), len(state.open), len(state.rounds)) == (5, 5, 2)
    by_task = {task["id"]: task["data"] for task in first.tasks()}
    # A task whose mark says a rank and a round that can be none of ours, and one whose mark does not hold.
    unselected = next(row for row in state.items if row.id not in {one.item for one in state.selections})
    shown = {"image": unselected.image, "cdsel_item": unselected.task, "cdsel_reason": "x"}
    odd = [
        {**shown, "cdsel_rank": 2**31 - 1, "cdsel_round": 2**31 - 1},
        {**shown, "image": "/another.jpg", "cdsel_rank": 3},
    ]
    first.client.import_tasks(queue, [{"data": one} for one in odd])
    # The folder is lost, somebody wrote a description of her own, and the fresh one has another round size.
    first.client.update_project(queue, description="Please label all of these.")
    fresh = Desk(studio, pool, tmp_path / "b", round_size=4, budget=20)
    # Elsewhere the number of the queue is another project's.
    fresh.store.connect_project("http://another.example", queue)
    known = fresh.look()
    assert not known.rounds or known.project.queue_project == queue
    assert (len(known.labels), len(known.open)) == (5, 6)
    state = fresh.go_on()
    assert len(fresh.said("TASKS_TAKEN_BACK")) == 1
    assert f"[cdsel queue {queue} of project {pool}]" in fresh.client.project(queue)["description"]
    assert (len(state.labels), len(state.open), len(state.rounds)) == (5, 6, 2)
    assert len(fresh.tasks()) == 12  # nothing was pushed: a round is open
    ranks = {row.queue_task: row.rank for row in state.selections}
    assert {task: ranks[task] for task in by_task} == {
        task: data["cdsel_rank"] for task, data in by_task.items()
    }
    assert max(ranks.values()) == 11
    for task in fresh.tasks(answered=False):
        fresh.submit(task)
    state = fresh.go_on()
    assert (len(state.labels), len(state.open), state.left) == (11, 4, 5)
    new = [row.rank for row in state.selections if row.item in state.open]
    assert min(new) > 11
    check(fresh)
    # An older copy of the first folder: it has selected nothing of what came since, and its ranks end at 5.
    old = Desk(studio, pool, tmp_path / "old", round_size=4, budget=20)
    state = old.go_on()
    assert (len(state.labels), len(state.open), state.left) == (11, 4, 5)
    tasks = [task["data"]["cdsel_item"] for task in old.tasks()]
    assert len(tasks) == len({*tasks}) + 1  # the one whose mark does not hold names an image twice
    check(old)


@pytest.mark.slow
def test_queues_of_annotators_and_tasks_deleted_from_them_survive_a_lost_folder(studio, browser, tmp_path):
    for email in (ANN, BOB):
        account(browser, studio, email)
    pool = make_pool(studio)
    settings = {"annotators": {ANN: 8, BOB: 8}, "overlap": 0.4, "budget": 12, "round_size": 5}
    first = Desk(studio, pool, tmp_path / "a", **settings)
    state = first.go_on()
    queues = state.queues
    assert (len(state.pushed), len(state.copies)) == (5, 2)
    # Of an image in both queues the second reading is deleted, of another one its only task.
    copy = state.copies[0]
    double = {row.item for row in state.copies}
    single = next(row for row in state.selections if row.item not in double)
    for row in (copy, single):
        first.client.delete_task(row.queue_task)
    state = first.look()
    assert state.withdrawn == {single.item}
    assert copy.item in state.open
    assert len(state.placed[single.annotator]) + len(state.placed[copy.annotator]) <= 6
    for name in queues:
        for task in first.tasks(queues[name], answered=False):
            first.submit(task)
    state = first.go_on()
    assert (len(state.labels), len(state.open)) == (4, 5)
    again = [row for row in state.copies if row.item == copy.item]
    assert [row.live for row in again] == [False]  # nobody is asked for it again
    for name, queue in queues.items():  # whoever labels there knows what it is for
        first.client.update_project(queue, title=f"Images of {name[:3]}", description="My queue.")
    kept = Desk(studio, pool, tmp_path / "b", **settings)
    after = kept.go_on()
    assert after.queues == queues
    assert (
        f"[cdsel queue {queues[BOB]} of project {pool} for {BOB}]"
        in (kept.client.project(queues[BOB])["description"])
    )
    assert {row.task for row in after.items if row.id in after.open} == {
        row.task for row in state.items if row.id in state.open
    }
    # Nothing went out twice; that a second reading was deleted is known to nobody any more.
    assert (len(after.labels), len(after.pushed), len(after.selections)) == (4, 9, 9)


def again(desk):
    """A pass, some minutes later."""
    desk.context.held.clear()
    desk.context.at_rest.clear()
    reconcile(desk.context, desk.project)


def test_a_second_backend_stands_aside_until_it_may_take_over(studio, pool, tmp_path):
    first = Desk(studio, pool, tmp_path / "a", address="http://127.0.0.1:9/first")
    backend = {"name": first.store.instance()}

    def answer(request, _body):
        return 200, json.dumps({"status": "UP", "model_class": "x", "instance": backend["name"]}).encode()

    with serve(answer) as (url, _):
        first.context.server = first.context.server.model_copy(update={"public_url": url})
        first.client.connect_backend(pool, url, "first")
        state = first.go_on()
        assert len(first.tasks()) == 6
        line = first.client.project(pool)["description"]
        assert f"· backend {first.store.instance()}" in line
        second = Desk(studio, pool, tmp_path / "b", round_size=5, address="http://127.0.0.1:9/second")
        for _ in range(3):
            assert not reconcile(second.context, second.project)
        (words,) = second.state().project.problems["owner"]
        assert f"It answers at {url}" in words
        assert f"cdsel takeover {pool}" in words
        assert second.state().selections == []
        assert len(first.tasks()) == 6
        assert first.client.project(pool)["description"] == line
        assert second.state().project.activity.step is Step.ANOTHER_BACKEND
        # On purpose: the first one, which still runs, then stands aside.
        run = CliRunner().invoke(
            main,
            ["takeover", str(pool)],
            env={"CDSEL_DATA_DIR": str(tmp_path / "b"), "LABEL_STUDIO_URL": studio.url},
        )
        assert run.exit_code == 0, run.output
        backend["name"] = second.store.instance()  # what now answers there
        state = second.go_on()
        assert (len(state.open), "owner" in state.project.problems) == (6, False)
        backend["name"] = second.store.instance()
        first.context.server = first.context.server.model_copy(update={"public_url": "http://127.0.0.1:9/x"})
        again(first)
        assert "Another backend works" in first.state().project.problems["owner"][0]
    # Nobody answers where the second one was: that may be an outage.
    again(first)
    assert f"It does not answer at {url}" in first.state().project.problems["owner"][0]
    # Once Label Studio lists no other, nobody else can be at it.
    for one in first.client.backends(pool):
        first.client.request("DELETE", f"/api/ml/{one['id']}")
    again(first)
    assert "owner" not in first.go_on().project.problems


@pytest.mark.slow
def test_a_copied_data_folder_becomes_another_backend_and_stands_aside(studio, pool, tmp_path):
    answering = {"status": "UP", "model_class": "x"}

    def answer(request, _body):
        return 200, json.dumps(answering).encode()

    with serve(answer) as (url, _):
        first = Desk(studio, pool, tmp_path / "a", address=url)
        first.store.note_start()
        name = first.store.instance()
        answering |= {"instance": name, "start": first.store.start()}
        first.client.connect_backend(pool, url, "first")
        first.go_on()
        again(first)
        assert first.store.instance() == name
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        for task in first.tasks():
            first.submit(task)
        copy = Desk(studio, pool, tmp_path / "b", address=url)
        copy.store.note_start()
        assert not reconcile(copy.context, copy.project)
        assert copy.store.instance() != name
        (said,) = copy.state().project.problems["owner"]
        assert f"It answers at {url}" in said
        first.go_on()
        again(copy)
        named = [task["data"]["cdsel_item"] for task in first.tasks()]
        assert len(named) == len({*named}) == 12
    # While the first one is started anew, and afterwards, the copy waits, too.
    again(copy)
    assert f"It does not answer at {url}" in copy.state().project.problems["owner"][0]
    again(first)
    assert "owner" not in first.state().project.problems


@pytest.mark.slow
def test_labels_that_label_studio_lost_in_a_restore_stay_until_their_tasks_are_labelled_anew(
    studio, pool, tmp_path
):
    desk = Desk(studio, pool, tmp_path)
    desk.go_on()
    first, second, *_ = desk.tasks()
    for task in (first, second):
        desk.submit(task)
    before = desk.look().labels
    assert len(before) == 2
    # The first one's annotation was made a long time after the backup that Label Studio now is.
    (gone, deleted) = (task["annotations"][0]["id"] for task in desk.tasks()[:2])
    late = {"updated_at": "2100-01-01T00:00:00.000000Z"}
    with writing(desk.store.engine) as connection:
        connection.execute(update(schema.labels).where(schema.labels.c.annotation == gone).values(late))
    for annotation in (gone, deleted):
        desk.client.delete_annotation(annotation)
    state = desk.look()
    (kept,) = state.labels.items()
    assert kept in before.items()
    assert desk.look().labels == state.labels
    (said,) = desk.said("LABELS_KEPT")
    assert "1 label of the queue" in said
    desk.submit(first, "malignant")
    assert desk.look().labels == {kept[0]: "malignant"}


@pytest.mark.slow
def test_tasks_at_which_label_studio_fails_are_named_and_the_others_go_on(studio, pool, tmp_path):
    desk = Desk(studio, pool, tmp_path)
    before = desk.go_on().item_count
    headers = {**desk.client.signature(), "Content-Type": "application/json"}
    address = f"{studio.url}/api/projects/{pool}/import?return_task_ids=true"
    bad = json.dumps([{"data": {"image": f"/bad{n}.jpg", "site": "\ud800"}} for n in range(2)])
    # What no client of Python sends: half a character.
    numbers = httpx.post(address, content=bad, headers=headers, timeout=60).json()["task_ids"]
    desk.client.import_tasks(pool, [{"data": {"image": "/good.jpg", "site": "north"}}])
    state = desk.go_on()
    assert state.item_count == before + 1
    (said,) = state.project.problems["unreadable tasks"]
    assert f"2 tasks of project {pool} cannot be read (tasks {numbers[0]}, {numbers[1]})" in said
    for number in numbers:
        desk.client.delete_task(number)
    # A task of the queue whose label is known.
    task, other, *_ = desk.tasks()
    desk.submit(task)
    labels = desk.look().labels
    desk.write_half_a_character(task)
    state = desk.look()
    assert "unreadable tasks" not in state.project.problems
    assert f"(task {task['id']})" in state.project.problems["unreadable queue tasks"][0]
    assert state.labels == labels
    assert not state.withdrawn
    # An open one, whose image is excluded: nobody can see whether somebody is at it, so it stays, and is named.
    item = next(row.item for row in state.tasks if row.queue_task == other["id"])
    desk.write_half_a_character(other)
    desk.store.direct(desk.project, [item], Directive.EXCLUDED, who="ann")
    state = desk.go_on()
    assert item in state.open
    stays = state.project.problems["unreadable queue tasks"][1]
    assert stays.startswith(f"task {other['id']} of the queue")
    assert "shows an image that an administrator excluded, and stays there" in stays
    desk.client.update_task(other["id"], other["data"])
    assert item not in desk.go_on().open
    desk.client.update_task(task["id"], task["data"])
    state = desk.look()
    assert "unreadable queue tasks" not in state.project.problems
    assert state.labels == labels

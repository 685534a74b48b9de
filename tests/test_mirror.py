"""Labels of the queue as annotations of the pool project, on a real Label Studio."""

from __future__ import annotations

import pytest
from desk import SPACE, Desk, make_pool
from world import POOL, QUEUE, World, rows_of

from cdsel_backend.export.labelled_set import labelled_set
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.labelstudio.mirroring import due, is_mirrored, mirrored
from cdsel_backend.labelstudio.queue_projects import owner_of, status_line
from cdsel_backend.reconcile import mirror as step
from cdsel_backend.reconcile.context import Context

MALIGNANT = SPACE.result_for("malignant")
REGIONS = parse_label_space(
    '<View><Image name="image" value="$image"/><RectangleLabels name="r" toName="image"><Label value="a"/>'
    '<Label value="b"/></RectangleLabels></View>'
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(step, "PAUSE_SECONDS", -1.0)


def annotations(desk):
    """Task of the pool -> its annotations."""
    pool = desk.state().project.pool_project
    tasks = desk.client.tasks(pool, with_annotations=True)
    return {task["id"]: task["annotations"] for task in tasks if task["annotations"]}


def said(desk):
    """Task of the pool -> the labels that its annotations say."""
    return {task: [SPACE.label_of(one["result"]) for one in ones] for task, ones in annotations(desk).items()}


def labelled(state):
    """Task of the pool -> its label in the books."""
    items = {row.id: row.task for row in state.items}
    return {items[item]: [label] for item, label in state.labels.items()}


def test_labels_of_the_queue_are_mirrored_follow_it_and_are_not_learned_twice(studio, tmp_path, monkeypatch):
    pool = make_pool(studio, images=20)
    desk = Desk(studio, pool, tmp_path / "a", mirror=True, round_size=6)
    state = desk.go_on()
    items = {row.id: row.task for row in state.items}
    first, second, third, fourth, *_ = desk.tasks()
    # The pool has an annotation of its own before, on an image that is in the queue, too.
    theirs = items[next(row.item for row in state.selections if row.queue_task == fourth["id"])]
    own = desk.client.submit(theirs, MALIGNANT)
    for task in (first, second, third, fourth):
        desk.submit(task)
    state = desk.go_on()
    assert len(state.labels) == 4
    assert said(desk) == labelled(state) | {theirs: ["malignant"]}
    assert [one["id"] for one in annotations(desk)[theirs]] == [own]
    queue = state.project.queue_project
    assert f"· label in project {queue}; the labels are copied here ·" in status_line(
        state, "x", "0" * 16, []
    )
    assert owner_of(status_line(state, "x", "0" * 16, []))
    # Again, also by another data folder: nothing is doubled, and nothing is learned twice.
    before, rows = annotations(desk), [(row.source, row.item) for row in state.annotations]
    desk.store.set_fact(f"mirror of project {desk.project}", ["", 0.0])
    assert [(row.source, row.item) for row in desk.go_on().annotations] == rows
    fresh = Desk(studio, pool, tmp_path / "b", mirror=True)
    assert labelled(fresh.go_on()) == labelled(state)
    assert len(fresh.state().annotations) == len(rows)
    assert annotations(desk) == before
    # A label that changes, one that is taken back, and a mirrored one that somebody deletes or changes; looked at one
    # by one, as where the others are many.
    monkeypatch.setattr(step, "ONE_BY_ONE", 1.0)
    (one,) = desk.tasks()[0]["annotations"]
    desk.client.send("PATCH", f"/api/annotations/{one['id']}/", {"result": MALIGNANT})
    (two,) = desk.tasks()[1]["annotations"]
    desk.client.delete_annotation(two["id"])
    state = desk.go_on()
    assert said(desk) == labelled(state) | {theirs: ["malignant"]}
    assert len(said(desk)) == 3
    edited = items[next(row.item for row in state.selections if row.queue_task == third["id"])]
    (copy,) = annotations(desk)[edited]
    part = {**copy["result"][0], "value": {"choices": ["malignant"]}}
    desk.client.update_annotation(copy["id"], [part])
    state = desk.go_on()
    assert [one["id"] for one in annotations(desk)[edited]] == [copy["id"]]
    assert said(desk)[edited] == ["malignant"]  # a person's now
    assert {(row.source, row.label) for row in state.annotations if items[row.item] == edited} == {
        (pool, "malignant"),
        (state.project.queue_project, "benign"),
    }


@pytest.mark.slow
def test_tasks_at_which_label_studio_fails_are_left_as_they_are_and_the_others_copied(
    studio, tmp_path, monkeypatch
):
    """One of them stopped the copying and the export."""
    pool = make_pool(studio, images=12)
    desk = Desk(studio, pool, tmp_path, mirror=True)
    state = desk.go_on()
    items = {row.id: row.task for row in state.items}
    at = {row.queue_task: items[row.item] for row in state.selections}
    copied, unread, unwritten, other = tasks = desk.tasks()[:4]
    data = {task["id"]: task for task in desk.client.tasks(pool)}
    desk.submit(copied)
    desk.go_on()
    before = annotations(desk)
    assert before.keys() == {at[copied["id"]]}
    for task in tasks[1:]:
        desk.submit(task)
    desk.look()
    desk.write_half_a_character(copied)
    desk.write_half_a_character(unread)
    desk.write_half_a_character(data[at[unwritten["id"]]])
    number = next(item for item, task in items.items() if task == at[other["id"]])
    for one_by_one in (0.0, 1.0):  # the share up to which tasks are asked for alone
        monkeypatch.setattr(step, "ONE_BY_ONE", one_by_one)
        state = desk.go_on()
        assert len(state.labels) == 4
        found = {
            task["id"]: task["annotations"]
            for task in desk.client.tasks(pool, with_annotations=True, annotated=True, unreadable=set())
        }
        assert found.keys() == {at[copied["id"]], at[other["id"]]}
        assert found[at[copied["id"]]] == before[at[copied["id"]]]
        assert [SPACE.label_of(one["result"]) for one in found[at[other["id"]]]] == [state.labels[number]]
        (answer,) = desk.client.task(other["id"], state.project.queue_project)["annotations"]
        desk.client.update_annotation(answer["id"], MALIGNANT)
    unreadable = {}
    images = labelled_set(desk.context.server, state, desk.client, unreadable)
    assert unreadable == {state.project.queue_project: {copied["id"], unread["id"]}}
    assert {image.item.task for image in images} == {at[unwritten["id"]], at[other["id"]]}
    # Once they can be read again, what was left out follows, and nothing stands there twice.
    desk.client.update_task(copied["id"], copied["data"])
    desk.client.update_task(unread["id"], unread["data"])
    desk.client.update_task(at[unwritten["id"]], data[at[unwritten["id"]]]["data"])
    state = desk.go_on()
    assert said(desk) == labelled(state)


class Counting:
    """Stands for a Label Studio with a queue and a pool; `listed` and `asked` count what it is asked for."""

    def __init__(self):
        self.projects = {QUEUE: {}, POOL: {}}
        self.listed, self.asked, self.written = 0, 0, 0

    def tasks(self, project, **_):
        self.listed += 1
        return [{"id": task, "annotations": given} for task, given in self.projects[project].items()]

    def task(self, task, project):
        self.asked += 1
        return {"id": task, "annotations": self.projects[project].get(task, [])}

    def submit(self, task, result):
        self.written += 1
        self.projects[POOL].setdefault(task, []).append({"id": self.written, "result": result})

    def update_annotation(self, annotation, result):
        (copy,) = (one for (one,) in self.projects[POOL].values() if one["id"] == annotation)
        copy["result"] = result


def test_many_labels_are_listed_once_and_one_that_changes_is_looked_at_alone(tmp_path):
    """Each forty of 50,000 labels were written after a listing of all: that took days."""
    world, studio = World(tmp_path, mirror=True), Counting()
    world.context.studio = studio

    def label(changed=()):
        at = {item: "2026-01-02" if item in changed else "2026-01-01" for item in world.truth}
        said = {item: "benign" if item in changed else "malignant" for item in world.truth}
        rows = rows_of({item: (said[item], at[item]) for item in world.truth})
        world.store.replace_labels(world.project, QUEUE, [{**row, "task": 900 + row["item"]} for row in rows])
        studio.projects[QUEUE] = {
            900 + item: [{"id": item, "result": SPACE.result_for(text)}] for item, text in said.items()
        }

    label()
    for written in (40, 80, 120, 160):
        assert world.step(step.mirror)
        assert (studio.listed, studio.asked, studio.written) == (2, 0, written)
    assert not world.step(step.mirror)
    # Another process of the worker, which knows what the database says.
    world.context = Context(world.store, world.server, studio)
    assert not world.step(step.mirror)
    one = world.store.items(world.project)[7]
    label({one.id})
    assert world.step(step.mirror)
    assert not world.step(step.mirror)
    assert (studio.listed, studio.asked) == (2, 2)
    assert SPACE.label_of(studio.projects[POOL][one.task][0]["result"]) == "benign"
    # Another worker was at it meanwhile, and did not come to an end.
    world.store.set_fact(f"mirror of project {world.project}", ["its mark", 0.0])
    assert not world.step(step.mirror)
    assert studio.listed == 4


def test_what_was_mirrored_is_a_persons_label_in_another_project():
    result = mirrored(7, MALIGNANT, SPACE)
    assert is_mirrored(7, result)
    assert not is_mirrored(8, result)
    assert SPACE.label_of(result) == "malignant"


def test_regions_keep_what_refers_to_them_and_nothing_drawn_is_marked_too():
    box = {"from_name": "r", "to_name": "image", "type": "rectanglelabels", "id": "x"}
    other = {**box, "id": "y", "value": {"x": 2.5, "rectanglelabels": ["b"]}}
    result = [
        {**box, "value": {"x": 1, "rectanglelabels": ["a"]}},
        {**box, "from_name": "size", "type": "choices", "value": {"choices": ["large"]}},
        other,
        {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"},
    ]
    copy = mirrored(3, result, REGIONS)
    assert is_mirrored(3, copy)
    assert copy[0]["id"] == copy[1]["id"] != copy[2]["id"]
    assert (copy[3]["from_id"], copy[3]["to_id"]) == (copy[0]["id"], copy[2]["id"])
    assert [one["value"] for one in copy[:3]] == [one["value"] for one in result[:3]]
    for space in (SPACE, REGIONS):
        empty = mirrored(3, [], space)
        assert is_mirrored(3, empty)
        assert due({3: empty}, {3: [{"id": 1, "result": empty}]}) == due({}, {})


def test_what_is_due_is_the_difference():
    wanted = {task: mirrored(task, MALIGNANT, SPACE) for task in (1, 2, 3)}
    other = mirrored(2, SPACE.result_for("benign"), SPACE)
    found = {
        2: [{"id": 20, "result": other}],
        3: [{"id": 30, "result": wanted[3]}, {"id": 31, "result": wanted[3]}],  # after a kill
        4: [{"id": 40, "result": mirrored(4, MALIGNANT, SPACE)}],  # whose label was taken back
        5: [{"id": 50, "result": MALIGNANT}],
    }
    steps = due(wanted, found)
    assert [task for task, _ in steps.create] == [1]
    assert steps.change == [(20, wanted[2])]
    assert sorted(steps.delete) == [31, 40]
    both = [{"id": 1, "result": MALIGNANT}, {"id": 2, "result": wanted[1]}]
    assert due(wanted, {1: both}).delete == [2]

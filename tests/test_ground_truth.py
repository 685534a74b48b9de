"""Annotations that are marked as ground truth in a real Label Studio decide on the label of their image."""

from __future__ import annotations

import pytest
from conftest import LABEL_CONFIG
from desk import SPACE, Desk, account, make_pool

from cdsel_backend.export.labelled_set import results_of
from cdsel_backend.labelstudio.mirroring import is_mirrored
from cdsel_backend.server.people import disagreements

CONFIG = LABEL_CONFIG.replace('<Choice value="benign"', '<Choice value="cannot tell"/><Choice value="benign"')
ANN, BOB = "ann@truth.org", "bob@truth.org"


@pytest.fixture
def desk(studio, tmp_path):
    return Desk(
        studio, make_pool(studio, CONFIG, images=20), tmp_path, ignore_classes=["cannot tell"], mirror=True
    )


def annotate(desk, task, label, who, **fields):
    """An annotation of somebody, as an import or a script makes it; returns its number."""
    body = {
        "result": SPACE.result_for(label) if label != "cannot tell" else told(label),
        "completed_by": who,
        **fields,
    }
    return int(desk.client.send("POST", f"/api/tasks/{task['id']}/annotations/", body)["id"])


def told(label):
    return [part | {"value": {"choices": [label]}} for part in SPACE.result_for("benign")]


def mark(desk, annotation, value=True):
    """Press the star in Label Studio."""
    desk.client.send("PATCH", f"/api/annotations/{annotation}/", {"ground_truth": value})


def test_what_is_marked_as_ground_truth_decides_and_is_a_label_like_any_other(
    studio, browser, desk, monkeypatch
):
    for email in (ANN, BOB):
        account(browser, studio, email)
    users = desk.client.users()
    ann, bob = users[ANN], users[BOB]
    desk.go_on()
    first, second, third, fourth, *_ = desk.tasks()
    items = {row.task: row.id for row in desk.state().items}
    item = {task["id"]: items[task["data"]["cdsel_item"]] for task in (first, second, third, fourth)}
    truth = annotate(desk, first, "malignant", ann)
    for _ in range(2):  # two others, and newer
        last = annotate(desk, first, "benign", bob)
    annotate(desk, first, "benign", 1)
    kept = annotate(desk, second, "malignant", ann)
    annotate(desk, second, "benign", ann)  # her own, and newer
    annotate(desk, third, "benign", bob)
    unsure = annotate(desk, third, "cannot tell", ann)
    alone = annotate(desk, fourth, "malignant", ann)
    before = desk.look()
    assert [before.labels[item[task["id"]]] for task in (first, second, third, fourth)] == [
        "benign",
        "benign",
        "benign",
        "malignant",
    ]
    disputed = disagreements(before)
    assert disputed.keys() == {item[first["id"]]}
    assert {who for who, _ in disputed[item[first["id"]]]} >= {ANN, BOB}  # whom no setting names
    for annotation in (truth, kept, unsure, alone):
        mark(desk, annotation)
    after = desk.look()
    assert after.labels == {
        item[first["id"]]: "malignant",
        item[second["id"]]: "malignant",
        item[fourth["id"]]: "malignant",
    }
    assert item[third["id"]] in after.undecided
    assert disagreements(after) == {}
    assert after.used == before.used
    results = results_of(after, desk.client).results
    assert {SPACE.label_of(result) for result in results.values()} == {"malignant"}
    # Its own count of annotations, by which Label Studio lists, may have forgotten one.
    listed = desk.client.tasks
    with monkeypatch.context() as patched:
        patched.setattr(
            desk.client, "tasks", lambda *a, **k: (t for t in listed(*a, **k) if t["id"] != first["id"])
        )
        assert results_of(after, desk.client).results == results
    # Another is marked: Label Studio takes the mark off the first.
    mark(desk, last)
    assert desk.look().labels[item[first["id"]]] == "benign"
    for annotation in (last, unsure):
        mark(desk, annotation, False)
    again = desk.look()
    assert again.labels[item[first["id"]]] == "benign"  # by the majority
    assert again.labels[item[third["id"]]] == "benign"


@pytest.mark.slow
def test_a_mirrored_label_that_is_marked_in_the_pool_is_kept_there_whatever_the_queue_says_later(desk):
    state = desk.go_on()
    pool = state.project.pool_project
    first, *_ = desk.tasks()
    given = desk.submit(first, "malignant")
    desk.store.set_fact(f"mirror of project {desk.project}", None)
    desk.go_on()
    (copied,) = (task for task in desk.tasks(pool) if task["annotations"])
    (copy,) = copied["annotations"]
    mark(desk, copy["id"])
    assert list(desk.look().labels.values()) == ["malignant"]
    desk.client.update_annotation(given, SPACE.result_for("benign"))
    desk.store.set_fact(f"mirror of project {desk.project}", None)
    state = desk.go_on()
    assert list(state.labels.values()) == ["malignant"]
    (task,) = (task for task in desk.tasks(pool) if task["annotations"])
    (left,) = task["annotations"]
    assert left["id"] == copy["id"]
    assert is_mirrored(task["id"], left["result"])
    mark(desk, copy["id"], False)
    desk.store.set_fact(f"mirror of project {desk.project}", None)
    state = desk.go_on()
    assert list(state.labels.values()) == ["benign"]
    desk.store.set_fact(f"mirror of project {desk.project}", None)
    desk.go_on()
    (task,) = (task for task in desk.tasks(pool) if task["annotations"])
    assert [SPACE.label_of(one["result"]) for one in task["annotations"]] == ["benign"]

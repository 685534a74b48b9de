"""The store and what follows from it: budget, open images, labels that count, leases."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest
from conftest import LABEL_CONFIG
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from cdsel_backend.labelstudio.adopting import adopt_tasks
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import key_mark
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.store import PoolTask, Selected, State
from cdsel_backend.store.records import Became, Outcome


def sha(content):
    return hashlib.sha256(str(content).encode()).hexdigest()


@pytest.fixture
def project(store):
    return store.connect_project("http://studio", 1, backbone="b", layers={"extra parameters": {"budget": 3}})


def fill(store, project, n=5):
    store.sync_pool(
        project, [PoolTask(10 + i, {"image": f"/{i}.jpg", "site": "a"}, f"/{i}.jpg") for i in range(n)]
    )
    return [row.id for row in store.items(project)]


def selected(items, first_rank=1):
    return [Selected(item, rank, 1.0, "because", {}) for rank, item in enumerate(items, start=first_rank)]


def annotation(number, item, label, *, skipped=False, at="2026-01-01", by=""):
    return {
        "annotation": number,
        "item": item,
        "label": label,
        "problem": None,
        "skipped": skipped,
        "annotator": by,
        "updated_at": at,
    }


def test_connecting_again_updates_the_same_project(store, project):
    assert store.connect_project("http://studio", 1, title="new") == project
    assert store.project(project).title == "new"
    assert store.connect_project("http://studio", 2) != project


def test_whoever_looks_at_a_new_project_meanwhile_sees_all_of_it(store):
    seen = []

    def look(_):
        with closing(sqlite3.connect(store.engine.url.database)) as other:
            seen.extend(other.execute("SELECT backend_url, label_config FROM projects").fetchall())

    event.listen(store.engine, "begin", look)
    store.connect_project("http://studio", 1, backend_url="http://backend", label_config="<View/>")
    assert set(seen) == {("http://backend", "<View/>")}


def test_sync_reports_changes_once_and_reads_a_changed_image_again(store, project):
    items = fill(store, project)
    store.add_vectors("b", [(items[0], sha("hash"), np.ones(3))])
    tasks = [PoolTask(row.task, row.data, row.image) for row in store.items(project)]
    assert store.sync_pool(project, tasks) is False
    version = store.project(project).pool_version
    tasks[0] = PoolTask(tasks[0].task, {"image": "/new.jpg"}, "/new.jpg")
    assert store.sync_pool(project, tasks[:-1]) is True
    assert store.project(project).pool_version > version
    rows = store.items(project)
    assert rows[0].content_hash is None
    assert [row.gone for row in rows] == [False] * 4 + [True]
    assert [row.id for row in store.without_vector(project, limit=9, now=0)] == items[:4]


def test_changed_metadata_are_taken_over_and_no_image_is_read_again_for_them(store, project):
    items = fill(store, project)
    store.add_vectors("b", [(item, sha(item), np.ones(3)) for item in items[:4]])
    store.note_unusable([(items[4], "0 bytes", 100.0)])
    version = store.project(project).pool_version
    tasks = [PoolTask(row.task, {**row.data, "ward": "A"}, row.image) for row in store.items(project)]
    assert store.sync_pool(project, tasks[1:]) is True
    assert store.sync_pool(project, tasks) is True  # one that is back
    assert store.project(project).pool_version > version
    assert {row.data["ward"] for row in store.items(project)} == {"A"}
    assert store.embedding_progress(project) == (4, 1, 5)
    assert store.without_vector(project, limit=9, now=0) == []
    # The labeling config names another field: the data are the same, the images are others.
    others = [PoolTask(row.task, row.data, f"/other{row.image}") for row in store.items(project)]
    assert store.sync_pool(project, others) is True
    assert [row.id for row in store.without_vector(project, limit=9, now=0)] == items


def test_equal_images_share_a_vector_and_float16_is_what_comes_back(store, project):
    items = fill(store, project)
    vector = np.linspace(-1, 1, 7)
    store.add_vectors(
        "b",
        [(items[0], sha("same"), vector), (items[1], sha("same"), vector), (items[2], sha("other"), -vector)],
    )
    store.add_vectors("b", [(items[3], sha("same"), vector)])
    ids, vectors = store.vectors(project, "b")
    assert ids.tolist() == items[:4]
    np.testing.assert_array_equal(vectors[3], vector.astype(np.float16).astype(np.float32))
    assert store.embedding_progress(project) == (4, 0, 5)
    assert store.vectors(project, "another backbone")[0].size == 0


def test_an_unusable_image_is_tried_again_only_when_its_time_has_come(store, project):
    items = fill(store, project, 2)
    store.note_unusable([(items[0], "0 bytes", 100.0)])
    assert [row.id for row in store.without_vector(project, limit=9, now=99.0)] == [items[1]]
    assert [row.id for row in store.without_vector(project, limit=9, now=100.0)] == [items[1], items[0]]


def test_an_image_of_several_tasks_uses_budget_once(store, project):
    tasks = [PoolTask(10 + i, {"image": "/same.jpg"}, "/same.jpg") for i in range(3)]
    tasks += [PoolTask(20 + i, {"image": f"/{i}.jpg"}, f"/{i}.jpg") for i in range(2)]
    store.sync_pool(project, tasks)
    same, again, replaced, other, _ = (row.id for row in store.items(project))
    store.replace_labels(project, 1, [annotation(1, same, "x"), annotation(2, again, "x")])
    state = State(store, project)
    assert (len(state.labels), state.used_images, state.left) == (2, 1, 2)
    # Whether they were read, or one of them is in a queue besides, says nothing else.
    store.add_vectors("b", [(same, sha("a"), np.ones(3))])
    store.add_round(project, 1, selected([same, other]), strategy="s", seed=0, model_version=None)
    store.mark_selections(project, {same: {"queue_task": 100}, other: {"queue_task": 101}})
    assert (State(store, project).used_images, State(store, project).left) == (2, 1)
    # Where another picture was read at the address since, it is another image.
    store.add_vectors("b", [(replaced, sha("b"), np.ones(3))])
    store.replace_labels(
        project, 1, [annotation(n, item, "x") for n, item in enumerate((same, again, replaced))]
    )
    assert State(store, project).used_images == 3


def test_budget_counts_labelled_open_and_skipped_images_once(store, project):
    items = fill(store, project)
    store.add_round(project, 1, selected(items[:3]), strategy="random", seed=0, model_version=None)
    assert State(store, project).left == 3
    store.mark_selections(project, {items[0]: {"queue_task": 1}, items[1]: {"queue_task": 2}})
    state = State(store, project)
    assert (state.left, state.open, [row.item for row in state.waiting]) == (1, set(items[:2]), [items[2]])
    store.replace_labels(
        project, 7, [annotation(1, items[0], "cat"), annotation(2, items[1], None, skipped=True)]
    )
    store.replace_labels(project, 1, [annotation(3, items[4], "dog")])  # labelled in the pool project
    state = State(store, project)
    assert (state.left, state.open, state.skipped) == (0, set(), {items[1]})
    assert state.labels == {items[0]: "cat", items[4]: "dog"}


def test_a_selected_image_that_was_labelled_elsewhere_or_left_the_pool_is_not_pushed(store, project):
    items = fill(store, project)
    store.add_round(project, 1, selected(items[:3]), strategy="random", seed=0, model_version=None)
    store.replace_labels(project, 1, [annotation(3, items[0], "dog")])
    rows = store.items(project)
    store.sync_pool(project, [PoolTask(row.task, row.data, row.image) for row in rows if row.id != items[1]])
    assert [row.item for row in State(store, project).waiting] == [items[2]]


def test_an_image_enters_the_queue_once(store, project):
    items = fill(store, project)
    store.add_round(project, 1, selected(items[:2]), strategy="random", seed=0, model_version=None)
    with pytest.raises(IntegrityError):
        store.add_round(project, 2, selected(items[1:3], 3), strategy="random", seed=0, model_version=None)
    assert len(store.rounds(project)) == 1
    assert len(store.selections(project)) == 2


def test_majority_counts_and_the_newest_among_equals(store, project):
    items = fill(store, project)
    store.replace_labels(
        project,
        7,
        [
            annotation(1, items[0], "cat", at="2026-01-03"),
            annotation(2, items[0], "dog", at="2026-01-01"),
            annotation(3, items[0], "dog", at="2026-01-02"),
            annotation(4, items[1], "cat", at="2026-01-01"),
            annotation(5, items[1], "dog", at="2026-01-02"),
            annotation(6, items[2], "cat"),
            annotation(7, items[2], None, skipped=True),
        ],
    )
    assert State(store, project).labels == {items[0]: "dog", items[1]: "dog", items[2]: "cat"}


def test_who_labels_an_image_twice_has_one_vote_that_of_the_newest(store, project):
    items = fill(store, project)
    store.replace_labels(
        project,
        7,
        [
            annotation(1, items[0], "cat", by="1", at="2026-01-01"),
            annotation(2, items[0], "dog", by="1", at="2026-01-03"),
            annotation(3, items[0], "cat", by="2", at="2026-01-02"),
            annotation(4, items[1], "cat", by="1", at="2026-01-01"),
            annotation(5, items[1], "cat", by="1", at="2026-01-01"),
        ],
    )
    # Somebody else's may lie in another project of Label Studio.
    store.replace_labels(project, 8, [annotation(6, items[1], "dog", by="2", at="2026-01-03")])
    state = State(store, project)
    assert state.labels == {items[0]: "dog", items[1]: "dog"}
    assert {item: [row.annotation for row in rows] for item, rows in state.readings.items()} == {
        items[0]: [2, 3],
        items[1]: [5, 6],
    }


def test_changed_and_deleted_labels_count_as_changes(store, project):
    items = fill(store, project)
    rows = [annotation(1, items[0], "cat"), annotation(2, items[1], "dog")]
    assert store.replace_labels(project, 7, rows) is True
    assert store.replace_labels(project, 7, rows) is False
    assert State(store, project).changed_labels == 0  # until their images are read
    store.add_vectors("b", [(item, sha(item), np.ones(3)) for item in items])
    assert State(store, project).changed_labels == 2
    labels = {str(item): label for item, label in State(store, project).labels.items()}
    store.add_training(
        project,
        version="v1",
        round=0,
        labels=labels,
        outcome=Outcome(Became.PROMOTED),
        metrics={},
        champion="v1",
    )
    assert State(store, project).changed_labels == 0
    store.replace_labels(project, 7, [annotation(1, items[0], "dog"), annotation(9, items[2], "dog")])
    assert State(store, project).changed_labels == 3  # changed, deleted, new
    assert store.project(project).champion == "v1"


def test_a_training_promotes_its_model_only_over_the_champion_it_was_compared_with(store, project):
    def add(version, over):
        values = {
            "version": version,
            "round": 0,
            "labels": {},
            "outcome": Outcome(Became.PROMOTED),
            "metrics": {},
        }
        return store.add_training(project, champion=version, instead_of=over, **values)

    assert add("v1", None) == 1
    assert add("v2", None) is None
    assert [row.version for row in store.trainings(project)] == ["v1"]
    assert add("v2", "v1") == 2
    store.set_champion(project, "v1", who="admin")
    assert add("v3", "v2") is None
    assert store.project(project).champion == "v1"


def test_writers_in_many_threads_lose_nothing(store):
    def write(name):
        for number in range(20):
            store.add_event(1, f"{name}{number}", {})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = store.open_events([1])
    assert len({event.action for event in events}) == 80
    store.handle_events([event.id for event in events[:79]])
    assert len(store.open_events([1])) == 1
    assert store.newest_event() == max(event.id for event in events)


def test_problems_are_kept_by_origin(store, project):
    store.note_problems(project, "worker", ["unreachable"])
    store.note_problems(project, "metadata", ["no site"])
    store.note_problems(project, "worker", [])
    assert store.project(project).problems == {"metadata": ["no site"]}


def test_whose_queue_a_project_of_label_studio_is(store, project):
    store.update_project(project, queue_project=50)
    store.set_annotators(
        project, {"ann@x.org": {"user": 7, "queue_project": 51}, "bob@x.org": {"user": None}}
    )
    store.set_annotators(project, {"bob@x.org": {"user": 8}})
    assert {store.project_of(number).id for number in (1, 50, 51)} == {project}
    assert store.project_of(52) is None
    assert State(store, project).sources == [1, 50, 51]
    assert [(row.email, row.user) for row in store.annotators(project)] == [
        ("ann@x.org", 7),
        ("bob@x.org", 8),
    ]


@pytest.mark.parametrize("typed", ["Hauptstraße", "HAUPTSTRASSE", "straße 7", "ße", "İzmir", "20.5"])
def test_an_image_is_found_by_any_text_of_its_fields(store, project, typed):
    data = [{"site": "Hauptstraße 7", "city": {"name": "İzmir"}, "age": 20.5}, {"site": "Hauptplatz"}]
    store.sync_pool(project, [PoolTask(n, one, f"/{n}.jpg") for n, one in enumerate(data, 1)])
    assert store.items_with_text(project, typed) == [store.items(project)[0].id]


def test_a_task_of_an_image_from_outside_is_taken_back_by_its_name_and_never_for_another(store):
    project = store.connect_project("http://studio", 1, label_config=LABEL_CONFIG)
    for address, keys in (("/a", ["one.png", "two.png"]), ("/b", ["one.png"])):
        source = store.add_source(project, address, {})
        store.take_items(source, [SourceItem(key, key, {}) for key in keys])
    one, two, other = store.items(project)
    data = [
        {"cdsel_item": 3, "cdsel_key": key_mark(other)},  # its number and its name
        {"cdsel_item": 7, "cdsel_key": key_mark(two)},  # its name alone
        {"cdsel_item": 8, "cdsel_key": key_mark(one)},  # a name that two sources have
    ]
    tasks = [
        {"id": 100 + rank, "created_at": "", "data": {"image": "/x.png", "cdsel_rank": rank, **marks}}
        for rank, marks in enumerate(data, 1)
    ]
    state = State(store, project)
    assert adopt_tasks(state, space_of(state), {"": tasks}) == 2
    assert {row.item: row.queue_task for row in store.selections(project)} == {other.id: 101, two.id: 102}


def test_what_belongs_to_some_items_is_looked_up_and_not_searched_for_among_all(store, project):
    asked = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
    for ask in (store.labels_of, store.selections_of):
        ask(project, [1, 2])
    store.items_by_id([1, 2])
    store.items_by_task(project, [1, 2])
    with closing(sqlite3.connect(store.engine.url.database)) as connection:
        for statement, values in [one for one in asked if " IN " in one[0]]:
            column = statement.rsplit(" IN ", 1)[0].rsplit(".", 1)[1]
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
            assert f"{column}=?" in plan.replace("rowid", "id"), (statement, plan)

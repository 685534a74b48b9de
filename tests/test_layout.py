"""The layout that the worker keeps for the map: made once, made again when the pool moved, never of another moment."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import LABEL_CONFIG

from cdsel_backend.project.layout import make_layout, read_layout
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import lay_out
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State


def filled(store, n=30):
    project = store.connect_project(
        "http://127.0.0.1:9", 1, title="T", label_config=LABEL_CONFIG, backbone="b"
    )
    add(store, project, n)
    return project


def add(store, project, n):
    tasks = [
        PoolTask(i, {"image": f"/{i}.jpg", "site": "ab"[i % 2], "age": 20 + i, "note": None}, f"/{i}.jpg")
        for i in range(n)
    ]
    store.sync_pool(project, tasks)
    vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    items = [row.id for row in store.items(project)]
    store.add_vectors("b", [(item, f"{item:064d}", v) for item, v in zip(items, vectors, strict=True)])


def test_what_is_kept_is_what_would_be_made(store, tmp_path):
    context = Context(store, ServerSettings(data_dir=tmp_path), None)
    project = filled(store)
    assert lay_out(context, State(store, project))
    assert not lay_out(context, State(store, project))
    state = State(store, project)
    kept = read_layout(context.server, state)
    made = make_layout(state)
    np.testing.assert_array_equal(kept.places, made.places)
    for name in ("ids", "tasks", "held_out", "groups"):
        np.testing.assert_array_equal(getattr(kept.pool, name), getattr(made.pool, name))
    for one, other in zip(kept.pool.columns, made.pool.columns, strict=True):
        assert (one.name, one.kind, one.levels, one.excluded, one.edges) == (
            other.name,
            other.kind,
            other.levels,
            other.excluded,
            other.edges,
        )
        np.testing.assert_array_equal(one.codes, other.codes)


@pytest.mark.filterwarnings("error")
def test_equal_vectors_lie_in_one_place(store):
    project = store.connect_project("http://127.0.0.1:9", 2, label_config=LABEL_CONFIG, backbone="b")
    store.sync_pool(project, [PoolTask(i, {"image": f"/{i}.jpg"}, f"/{i}.jpg") for i in range(5)])
    one = np.full(8, 0.1, dtype=np.float32)
    store.add_vectors("b", [(row.id, f"{row.id:064d}", one) for row in store.items(project)])
    assert not make_layout(State(store, project)).places.any()


def test_it_is_made_again_when_the_pool_or_what_shapes_its_columns_moved(store, tmp_path):
    context = Context(store, ServerSettings(data_dir=tmp_path), None)
    project = filled(store)
    assert lay_out(context, State(store, project))
    add(store, project, 35)
    state = State(store, project)
    assert read_layout(context.server, state) is None
    assert lay_out(context, state)
    store.update_project(project, layers={"dashboard": {"ignore": ["site"]}})
    assert lay_out(context, State(store, project))
    store.update_project(project, layers={"dashboard": {"ignore": ["site"], "budget": 7}})
    assert not lay_out(context, State(store, project))


def test_a_file_that_is_cut_off_is_made_again(store, tmp_path):
    context = Context(store, ServerSettings(data_dir=tmp_path), None)
    project = filled(store)
    assert lay_out(context, State(store, project))
    paths = sorted((tmp_path / "layouts").iterdir())
    assert len(paths) == 2
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])
        state = State(store, project)
        assert read_layout(context.server, state) is None
        assert lay_out(context, state)
        assert read_layout(context.server, state) is not None


def test_an_empty_pool_is_not_laid_out(store, tmp_path):
    context = Context(store, ServerSettings(data_dir=tmp_path), None)
    project = store.connect_project("http://127.0.0.1:9", 1, title="T", label_config=LABEL_CONFIG)
    assert not lay_out(context, State(store, project))

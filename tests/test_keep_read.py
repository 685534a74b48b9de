"""What reading images brought is kept alike by every database: rows given as one value, or one by one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from postgres import postgres

from cdsel_backend.store import PoolTask, Store, bulk
from cdsel_backend.store.database import CHUNK
from cdsel_backend.store.records import ReadImage

COUNT = CHUNK + 20
NOTES = [None, "", 'it\'s "odd"', "Größe \u2013 \U0001f600", "a\0b", "half a pair \ud800", "%(rows)s :rows ?"]


def sha(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


@pytest.fixture(params=["SQLite", "an old SQLite", "PostgreSQL"])
def opened(request, tmp_path, monkeypatch):
    if request.param == "PostgreSQL":
        with postgres("cdsel") as port:
            store = Store(f"postgresql+psycopg://postgres@127.0.0.1:{port}/cdsel", tmp_path / "vectors")
            yield store
            store.close()
        return
    if request.param == "an old SQLite":
        monkeypatch.setattr(bulk, "_UPDATE_FROM", (99,))
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    yield store
    store.close()


def test_what_was_read_is_kept(opened):
    store = opened
    project = store.connect_project("http://studio", 1, backbone="b")
    other = store.connect_project("http://studio", 2, backbone="another")
    for owner in (project, other):
        store.sync_pool(owner, [PoolTask(n, {"n": n}, f"/{n}.jpg") for n in range(COUNT)])
    ids, others = ([row.id for row in store.items(owner)] for owner in (project, other))
    store.note_unusable([(item, "it was away", 100.0) for item in ids[:3]])
    assert store.embedding_progress(project) == (0, 3, COUNT)
    measures = [
        {"file: format": 'J"PEG\ud800', "file: brightness": n + 0.5, "none": None} for n in range(COUNT)
    ]
    notes = [NOTES[n % len(NOTES)] for n in range(COUNT)]
    read = [
        ReadImage(item, sha(n), np.full(3, n, np.float32), measures[n], notes[n])
        for n, item in enumerate(ids)
    ]
    shared, to_come = COUNT - 2, COUNT - 1
    read[shared] = read[shared]._replace(content_hash=sha(0), vector=None)
    read[to_come] = read[to_come]._replace(content_hash=sha("to come"), vector=None)
    read.append(ReadImage(others[0], sha(1), None, {}, "of another project"))

    found = store.keep_read("b", read)

    assert found == {image.item: image.content_hash for image in read if image.item != ids[to_come]}
    rows = {row.id: row for row in [*store.items(project), *store.items(other)]}
    for n, item in enumerate(ids):
        row, note = rows[item], notes[n]
        assert dict(row.measures) == measures[n]
        kept = note and note.replace("\0", "\ufffd").replace("\ud800", "?")
        assert row.note == kept
        assert row.problem is None
        assert row.content_hash == (None if n == to_come else read[n].content_hash)
        assert row.due_at == (0.0 if n == to_come else None)
    own, vectors = store.vectors(project, "b")
    assert own.tolist() == ids[:to_come]
    assert vectors[:, 0].tolist() == [*range(shared), 0]
    assert store.embedding_progress(project) == (COUNT - 1, 0, COUNT)
    # Its project has another backbone: what its file says is kept, and it is still to be embedded.
    assert (rows[others[0]].content_hash, rows[others[0]].due_at) == (sha(1), 0.0)
    assert store.embedding_progress(other) == (0, 0, COUNT)
    assert store.keep_read("b", []) == {}

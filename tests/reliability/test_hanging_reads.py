"""A network share or bucket that hangs: a read of it is cut off, and few of them are left behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from backend import eventually
from fake_studio import TOKEN
from fsspec.implementations.memory import MemoryFileSystem

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.pool import patience
from cdsel_backend.pool.decode_gpu import GpuDecoder
from cdsel_backend.pool.patience import StorageHangs, each_in_time, read_in_time
from cdsel_backend.pool.prepare import Preparation
from cdsel_backend.pool.source import SourceError
from cdsel_backend.project.source import take_in
from cdsel_backend.sources.files import MAX_BYTES, Files
from cdsel_backend.sources.options import SourceOptions
from cdsel_backend.store import Store


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "READ_SECONDS", 0.2)


def test_a_read_of_a_share_that_hangs_is_cut_off_and_tried_again_later(tmp_path, monkeypatch):
    """A pipe that nobody writes into hangs as a file of a dead share does; for the reader it looks like a file."""
    folder = tmp_path / "share"
    folder.mkdir()
    os.mkfifo(folder / "a.png")
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: path.parent == folder or is_file(path))
    reader = ImageReader(LabelStudio("http://127.0.0.1:9", TOKEN, image_roots=f"s3://bucket={folder}"))
    begun = time.monotonic()
    with pytest.raises(StorageHangs, match="does not answer") as fault:
        reader.read("s3://bucket/a.png", 1)
    assert time.monotonic() - begun < 60
    assert fault.value.retry_after == patience.AGAIN_SECONDS
    writer = os.open(folder / "a.png", os.O_WRONLY)  # the share is back
    os.write(writer, b"image")
    os.close(writer)
    (folder / "b.png").write_bytes(b"another")
    assert reader.read("s3://bucket/b.png", 1) == b"another"


def test_a_bucket_that_hangs_leaves_few_reads_behind_and_is_read_once_it_is_back():
    away = threading.Event()
    asked = []

    class Hangs(MemoryFileSystem):
        protocol = "hangs"

        def cat_file(self, path, *given, **options):
            asked.append(path)
            if not away.wait(60):
                raise OSError("away")
            return b"image"

    fsspec.register_implementation("hangs", Hangs, clobber=True)
    files = Files("hangs://pool", key=b"", max_bytes=MAX_BYTES, options=SourceOptions())
    for _ in range(patience.MOST_HANGING + 5):
        with pytest.raises(StorageHangs):
            files.read("a.png")
    assert len(asked) == patience.MOST_HANGING
    away.set()
    deadline = time.monotonic() + 60
    while patience._hanging[files.root]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert files.read("a.png") == b"image"


def test_of_reads_in_one_thread_the_one_that_hangs_costs_itself_only(monkeypatch):
    """As where a GPU decodes: `read_in_time` takes no thread of its own there."""
    monkeypatch.setattr(patience, "READ_SECONDS", 3.0)
    away, threads = threading.Event(), set()

    def read(number, *, hangs=False, error=None):
        def answer():
            threads.add(threading.current_thread())
            if hangs:
                away.wait(60)
            if error is not None:
                raise error
            return number

        return lambda: read_in_time("share", answer)

    calls = [read(0), read(1, hangs=True), read(2), read(3)]
    assert list(each_in_time(calls, lambda at, error: (at, str(error)[:22]))) == [
        0,
        (1, "share does not answer,"),
        2,
        3,
    ]
    assert len(threads) == 2  # a second one from the read that hung on
    assert patience._hanging["share"] == 1
    away.set()
    eventually(lambda: not patience._hanging["share"], "the read that hung still counts")
    found = each_in_time([read(0), read(1, error=OSError("gone")), read(2)], lambda at, error: at)
    assert next(found) == 0
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert not patience._hanging["share"]


def test_what_a_read_raises_is_raised(monkeypatch):
    monkeypatch.setattr(patience, "READ_SECONDS", 60.0)
    assert read_in_time("storage", lambda: 3) == 3
    for error in (FileNotFoundError("a.png"), TimeoutError("of its own")):

        def fail(error=error):
            raise error

        with pytest.raises(type(error), match=str(error)):
            read_in_time("storage", fail)
    assert not patience._hanging["storage"]


def test_the_listing_of_a_share_that_hangs_is_cut_off_and_goes_on_once_it_is_back(tmp_path, monkeypatch):
    """A dead share answers no `scandir`; the source says so, and what is known of it stays."""
    share = tmp_path / "share"
    share.mkdir()
    for name in ("a.png", "b.png"):
        (share / name).write_bytes(b"image")
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    project = store.connect_project("http://studio", 1)
    source = store.add_source(project, str(share), {})
    assert list(take_in(store, source, tmp_path))[-1] == (2, 2, 0)

    back, asked, scandir = threading.Event(), [], os.scandir

    def hangs(folder):
        if folder == share:
            asked.append(folder)
            back.wait(60)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", hangs)
    monkeypatch.setattr(patience, "LIST_SECONDS", 0.2)
    begun = time.monotonic()
    for _ in range(patience.MOST_HANGING + 2):
        with pytest.raises(SourceError, match="does not answer, its listing was given up"):
            list(take_in(store, source, tmp_path))
    assert time.monotonic() - begun < 60
    assert len(asked) == patience.MOST_HANGING
    assert len(store.known_items(source.id, ["a.png", "b.png"])) == 2
    back.set()
    deadline = time.monotonic() + 60
    while patience._hanging[str(share)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr(patience, "LIST_SECONDS", 60.0)
    assert list(take_in(store, source, tmp_path))[-1] == (2, 0, 0)
    store.close()


def test_a_folder_inside_that_cannot_be_listed_loses_no_image(tmp_path, monkeypatch):
    share, scandir = tmp_path / "share", os.scandir
    for name in ("north/1.png", "north/old/2.png", "northern/3.png", "south/4.png"):
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).write_bytes(b"image")
    store = Store(f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    project = store.connect_project("http://studio", 1)
    source = store.add_source(project, str(share), {})
    assert list(take_in(store, source, tmp_path))[-1] == (4, 4, 0)

    def refuses(folder):
        if folder == share / "north":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuses)
    (share / "northern" / "3.png").unlink()
    list(take_in(store, source, tmp_path))
    there = {item.key: item.problem for item in store.items(project) if not item.gone}
    assert there.keys() == {"north", "north/1.png", "north/old/2.png", "south/4.png"}
    assert "cannot be listed" in there["north"]
    monkeypatch.setattr(os, "scandir", scandir)
    list(take_in(store, source, tmp_path))
    there = {item.key: item.problem for item in store.items(project) if not item.gone}
    assert there == {"north/1.png": None, "north/old/2.png": None, "south/4.png": None}
    store.close()


def test_where_every_read_of_a_chunk_hangs_the_next_ones_are_read(monkeypatch):
    """Nothing is known then of how long a read takes."""
    monkeypatch.setattr(patience, "READ_SECONDS", 1.0)
    decoder = GpuDecoder([], (8, 8), lambda pixels: pixels)
    decoder.chosen = True
    prepare = Preparation(
        np.asarray, known=lambda digests: (), once=False, max_pixels=MAX_BYTES, decoder=decoder
    )
    away = threading.Event()
    reads = [(number, lambda: read_in_time("dead share", away.wait)) for number in range(2)]
    prepared, failure = prepare(reads)
    assert failure is None
    assert all("does not answer" in item.error and pixels is None for item, pixels in prepared)
    assert prepare.chunk() > 1
    away.set()
    eventually(lambda: not patience._hanging["dead share"], "the reads that hung still count")

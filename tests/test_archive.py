"""Backup and restore of a data folder: whole while somebody writes, and never over what is there."""

from __future__ import annotations

import tarfile
import threading

import pytest
from click.testing import CliRunner
from world import World

from cdsel_backend.cli import main
from cdsel_backend.server import backup_command
from cdsel_backend.store import State, Store
from cdsel_backend.store.archive import ArchiveError, back_up, restore


@pytest.fixture
def folder(tmp_path):
    """A data folder with vectors, a database and a model's file."""
    world = World(tmp_path / "data")
    (tmp_path / "data" / "models" / "1").mkdir(parents=True)
    (tmp_path / "data" / "models" / "1" / "m.safetensors").write_bytes(b"m" * 3000)
    yield tmp_path / "data"
    world.store.close()


def test_a_backup_taken_while_a_worker_writes_is_whole(folder, tmp_path):
    url = f"sqlite:///{folder / 'cdsel.sqlite3'}"
    store, stop = Store(url, folder / "vectors"), threading.Event()
    written = []

    def write():
        while not stop.is_set():
            written.append(store.add_event(3, "X", {}))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = back_up(folder, folder / "cdsel.sqlite3", tmp_path / "a.tar")
    finally:
        stop.set()
        writer.join()
        store.close()
    assert {"cdsel.sqlite3", "models/1/m.safetensors"} <= set(made.files)
    assert (tmp_path / "a.tar").stat().st_mode & 0o77 == 0
    found, aside = restore(tmp_path / "a.tar", tmp_path / "fresh")
    assert (found.files, aside) == (made.files, None)
    fresh = Store(f"sqlite:///{tmp_path / 'fresh' / 'cdsel.sqlite3'}", tmp_path / "fresh" / "vectors")
    (project,) = fresh.projects()
    ids = [row.id for row in State(fresh, project.id).items]
    assert len(fresh.with_vector(project.id, "b", set(ids))) == len(ids)
    assert len(fresh.events([3])) <= len(written)
    assert not len(fresh.vectors_kept.verify("b"))
    fresh.close()


def test_nothing_is_overwritten_and_no_damaged_archive_is_used(folder, tmp_path):
    environment = {"CDSEL_DATA_DIR": str(folder)}

    def cdsel(*arguments, **more):
        return CliRunner().invoke(main, list(map(str, arguments)), env={**environment, **more})

    archive = tmp_path / "a.tar"
    nowhere = cdsel("backup", tmp_path / "nowhere" / "a.tar")
    assert nowhere.exit_code == 1
    assert (
        "cannot be written (No such file or directory): name a file in a folder that can be" in nowhere.output
    )
    assert cdsel("backup", archive).exit_code == 0
    refused = cdsel("backup", archive)
    assert refused.exit_code == 1
    assert "exists" in refused.output
    assert "elsewhere" in cdsel("backup", folder / "b.tar").output
    before = sorted(path.name for path in folder.iterdir())
    refused = cdsel("restore", archive)
    assert refused.exit_code == 1
    assert "is not empty: nothing was changed" in refused.output
    assert sorted(path.name for path in folder.iterdir()) == before
    whole = archive.read_bytes()
    empty = tmp_path / "empty"
    for name, data in (
        ("flipped", whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]),
        ("cut", whole[: len(whole) // 2]),
        ("none", b"no archive"),
    ):
        bad = tmp_path / f"{name}.tar"
        bad.write_bytes(data)
        with pytest.raises(ArchiveError):
            restore(bad, empty)
        assert not empty.exists()
    with tarfile.open(tmp_path / "out.tar", "w") as tar:
        tar.add(archive, "../out")
    with pytest.raises(ArchiveError, match=r"it holds '\.\./out'"):
        restore(tmp_path / "out.tar", empty)
    done = cdsel("restore", archive, "--replace")
    assert done.exit_code == 0, done.output
    (aside,) = tmp_path.glob("data.before-*")
    assert (aside / "models" / "1" / "m.safetensors").exists()
    assert (folder / "models" / "1" / "m.safetensors").exists()
    said = cdsel("backup", tmp_path / "p.tar", CDSEL_DATABASE_URL="postgresql://u:secret@h/d")
    assert "pg_dump -Fc" in said.output, "which pg_restore reads: it refuses a plain dump"
    assert "secret" not in said.output


@pytest.mark.parametrize("lives", [True, False])
def test_a_worker_that_was_killed_holds_up_no_restore_wherever_the_clock_was_set(
    folder, tmp_path, lives, monkeypatch
):
    monkeypatch.setattr(backup_command, "PATIENCE", 60.0 if lives else 1.0)
    monkeypatch.setattr(backup_command, "LOOK_SECONDS", 0.1)
    back_up(folder, folder / "cdsel.sqlite3", tmp_path / "a.tar")
    store, stop = Store(f"sqlite:///{folder / 'cdsel.sqlite3'}"), threading.Event()
    store.beat("a worker", moved=True)
    with store.engine.begin() as connection:  # as the clock was set back since
        connection.exec_driver_sql("UPDATE workers SET alive_at = alive_at + 3000")

    def beat():
        while not stop.wait(0.1):
            store.beat("a worker", moved=True)

    worker = threading.Thread(target=beat)
    if lives:
        worker.start()
    command = CliRunner().invoke(
        main, ["restore", str(tmp_path / "a.tar"), "--replace"], env={"CDSEL_DATA_DIR": str(folder)}
    )
    stop.set()
    if lives:
        worker.join()
    store.close()
    assert ("a worker uses this data folder now" in command.output) is lives
    assert command.exit_code == int(lives), command.output

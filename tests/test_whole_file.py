"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdsel_backend.whole_file import (
    LEFT_SECONDS,
    not_written,
    whole_file,
    write_first,
    write_whole,
    wrong_ending,
)


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("a.pt", "a.onnx"),
        ("a.v2.pt", "a.v2.onnx"),
        ("a.onnx.gz", "a.onnx"),
        *((name, None) for name in ("a.onnx", "a.ONNX", "a", "a.2026-01-31", "/dev/stdout")),
    ],
)
def test_a_name_that_says_another_kind_of_file_has_a_fix(name, right):
    wrong = wrong_ending(Path(name), ".onnx", "ONNX")
    assert (wrong is None) if right is None else wrong.endswith(f"name it {right}")


def test_the_former_file_stays_until_the_new_one_is_whole_and_whatever_fails(tmp_path):
    file = tmp_path / "labels.csv"
    write_whole(file, b"former")
    file.chmod(0o640)
    with whole_file(file) as draft:
        draft.write_text("new")
        assert draft.suffix == ".csv"
        assert file.read_text() == "former"
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    stopped = whole_file(file)
    stopped.__enter__().write_text("half")
    assert not stopped.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert file.read_text() == "new"
    assert names(tmp_path) == ["labels.csv"]


def test_killed_in_the_middle_the_former_file_stays_and_the_draft_goes_with_a_later_one(tmp_path):
    file = tmp_path / "labels.csv"
    write_whole(file, b"former")
    code = (
        "import os, pathlib, sys\nfrom cdsel_backend.whole_file import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as draft:\n    draft.write_text('half'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "former"
    (left,) = tmp_path.glob(".labels-*")
    write_whole(file, b"new")
    assert left.exists(), "another process may be at it"
    old = time.time() - LEFT_SECONDS - 60
    os.utime(left, (old, old))
    write_whole(file, b"newer")
    assert names(tmp_path) == ["labels.csv"]


def test_a_full_disk_leaves_what_stood_there_and_is_one_sentence(tmp_path):
    file = tmp_path / "labels.csv"
    write_whole(file, b"former")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as failed:
            write_whole(file, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_text() == "former"
    assert names(tmp_path) == ["labels.csv"]
    assert failed.value.filename == str(file)
    assert not_written(file, failed.value) == (
        f"{file} cannot be written (File too large): what stood there is as it was; make room there, or name a file "
        "elsewhere"
    )


def test_links_and_what_is_no_file_are_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "there" / "real.csv")
    write_whole(link, b"1")
    assert link.is_symlink()
    assert (tmp_path / "there" / "real.csv").read_text() == "1"
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    write_whole(tmp_path / "pipe", b"through")
    assert reader.communicate(timeout=60)[0] == b"through"


def test_a_file_that_is_mounted_by_itself_is_written_into(tmp_path, monkeypatch):
    file = tmp_path / "labels.csv"
    write_whole(file, b"former")

    def busy(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    inode = file.stat().st_ino
    write_whole(file, b"new")
    assert (file.read_text(), file.stat().st_ino) == ("new", inode)
    assert names(tmp_path) == ["labels.csv"]


def test_a_share_that_syncs_no_folders_is_written_to(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", of_files)
    write_whole(tmp_path / "a", b"whole")
    write_first(tmp_path / "b", b"first")
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_several_writers_wins_also_where_there_are_no_links(tmp_path, monkeypatch, links):
    def none(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", none)
    file = tmp_path / "key"
    write_first(file, b"first")
    write_first(file, b"second")
    assert file.read_bytes() == b"first"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(tmp_path) == ["key"]

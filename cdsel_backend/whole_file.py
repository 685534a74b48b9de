"""Files that are there whole or not at all, whatever ends the program that writes them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a full disk, or a quota, answers
_NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # what shares answer that sync files, but no folders
LEFT_SECONDS = 86_400.0  # without a change: whoever wrote this draft was killed
_LETTERS = 40  # of a file's name that its draft has: no file system takes more than 255 bytes


@contextmanager
def whole_file(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Where to write what a file shall hold: an empty file beside it, which takes its place when the block ends.

    What stood there stays until then, and for good where the block is left by an exception. What is no file, such as
    /dev/stdout, is written to directly.

    Args:
        path: the file.
        lasting: whether it must be there after a power cut, too; what is quickly made again need not.

    Raises:
        OSError: it cannot be written; most reasons show before the block begins.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    if path.exists() and not path.is_file():
        yield path
        return
    draft = _draft(path)
    if lasting:
        _sweep(path)
    try:
        draft.touch(exist_ok=False)
        if path.exists():
            shutil.copymode(path, draft)
        yield draft
        if lasting:
            _sync(draft)
        _put(draft, path)
        if lasting:
            sync_folder(path.parent)
    except OSError as fault:
        if fault.filename in (None, str(draft)):  # nobody has heard of the draft
            fault.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            draft.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    with whole_file(path) as draft:
        draft.write_bytes(data)


def write_first(path: Path, data: bytes) -> None:
    """Write a file of this account's alone, whole, unless there is one: of several at once whoever is first wins."""
    draft = _draft(path)
    try:
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_bytes(data)
        _sync(draft)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links: two first writers at once are the price
            if path.exists():
                return
            draft.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink()


def wrong_ending(path: Path, ending: str, holds: str) -> str | None:
    """That the name of a file to write says that it is of another kind than it would be, and the fix; None: it is well.

    Without an ending a name says nothing, and neither does one whose ending begins with a digit, such as a date.

    Args:
        path: the file.
        ending: what the names of such files end in, such as ".csv".
        holds: what it would hold, for people.
    """
    if path.suffix.lower() == ending or not path.suffix[1:2].isalpha():
        return None
    first = path.with_suffix("")  # of labels.csv.gz, which would not be compressed
    name = first if first.suffix.lower() == ending else path.with_suffix(ending)
    return f"{path} would hold {holds}, and its name says otherwise: name it {name}"


def not_written(path: Path, fault: OSError) -> str:
    """That a file could not be written, why, and what to do, in one sentence that names no draft."""
    full = fault.errno in (*FULL, errno.EFBIG)
    kept = "what stood there is as it was; " if path.exists() else ""
    fix = (
        "make room there, or name a file elsewhere" if full else "name a file in a folder that can be written"
    )
    return f"{path} cannot be written ({fault.strerror or fault}): {kept}{fix}"


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk, where its file system can be asked for that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as fault:
            if fault.errno not in _NO_SYNC:
                raise
        finally:
            os.close(handle)


def remove_left(drafts: Iterable[Path]) -> None:
    """Remove those drafts that whoever wrote them left behind."""
    for draft in drafts:
        if time.time() - draft.stat().st_mtime > LEFT_SECONDS:
            draft.unlink()


def _draft(path: Path) -> Path:
    # Hidden, so that it is no part of a backup; with the same ending, by which some libraries go.
    return path.with_name(f".{path.stem[:_LETTERS]}-{uuid.uuid4().hex[:8]}{path.suffix}")


def _sweep(path: Path) -> None:
    """Remove the drafts of this file that were left behind."""
    shape = re.compile(rf"\.{re.escape(path.stem[:_LETTERS])}-[0-9a-f]{{8}}{re.escape(path.suffix)}")
    with suppress(OSError):
        remove_left(path.with_name(name) for name in os.listdir(path.parent) if shape.fullmatch(name))


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _put(draft: Path, path: Path) -> None:
    try:
        draft.replace(path)
    except OSError as fault:
        # A file that is mounted by itself, as into a container, keeps its place.
        if fault.errno != errno.EBUSY:
            raise
        shutil.copyfile(draft, path)

"""Walking a folder or a bucket: every file once, and why an entry is none; no link is followed out or in a circle."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsel_backend.pool.source import SourceError
from cdsel_backend.sources.buckets import lists_pages, objects
from cdsel_backend.sources.storage import blaming, words_of

_SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "$recycle.bin", "system volume information", "#recycle", "recycler", "lost+found"),
        *("@eadir", "~snapshot"),  # thumbnails of Synology's, and former states of NetApp's storages
    }
)
"""Folders of systems, not of people: what was deleted lies there, former states, and small copies."""
_TAGS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Found:
    """A file of a listing: its path below the folder, a stamp that changes with its bytes, or why it is none."""

    path: str
    stamp: str
    problem: str | None = None
    unlisted: bool = False
    """Whether it is a folder that cannot be listed, or may be one."""


def walk_local(top: Path) -> Iterator[Found]:
    """Yield the files below a folder of this machine, in the order of their names within each folder.

    Raises:
        SourceError: the folder itself cannot be listed.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        here = folder.relative_to(top).as_posix()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == top:
                raise SourceError(f"{top} cannot be listed: {words_of(error)}") from error
            why = f"the folder cannot be listed: {words_of(error)}"
            yield Found(readable(here), "", why, unlisted=True)
            continue
        deeper = []
        for entry in entries:
            path = entry.name if folder == top else f"{here}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not is_hidden(entry.name):
                        deeper.append(Path(entry.path))
                else:
                    yield _found(entry, path, top)
            except OSError as error:
                yield Found(readable(path), "", f"cannot be looked at: {words_of(error)}", unlisted=True)
        waiting += reversed(deeper)


def walk_remote(filesystem: Any, base: str, root: str) -> Iterator[Found]:
    """Yield the files below a prefix of an fsspec file system.

    A part that cannot be listed ends the listing: left out, all that lies in it would be taken for gone.

    Raises:
        SourceError: the storage cannot be asked; the message names `root`, the prefix as the admin writes it.
    """
    with blaming(root):
        filesystem.invalidate_cache()
        if lists_pages(filesystem):
            yield from _walk_bucket(filesystem, base)
            return
        for _, folders, files in filesystem.walk(base, detail=True, on_error="raise"):
            for name in [name for name in folders if is_hidden(name)]:
                del folders[name]  # then it is not walked through
            for name in sorted(files):
                path, kind = str(files[name]["name"])[len(base) + 1 :], files[name].get("type")
                if path.endswith("/") and kind == "directory":  # as of a//b.png
                    yield _unnamed(path)
                elif name and path and kind == "file":  # without a name it is a folder that a console made
                    yield Found(path, stamp_of(files[name]))


def _walk_bucket(filesystem: Any, base: str) -> Iterator[Found]:
    """Yield the files below a prefix of a bucket."""
    bucket, key, *_ = filesystem.split_path(base)
    prefix = f"{key}/" if key else ""
    unnamed: set[str] = set()
    empty = True
    for whole, info in objects(filesystem, bucket, prefix):
        empty = False
        path = whole[len(prefix) :]
        *folders, name = path.split("/")
        if any(map(is_hidden, folders)):
            continue
        if "" in folders:
            folder = f"{'/'.join(folders[: folders.index('')])}/"
            if folder not in unnamed:
                unnamed.add(folder)
                yield _unnamed(folder)
        elif name:  # without a name it is a folder that a console made
            yield Found(path, stamp_of(info))
    if empty:
        filesystem.ls(base)  # which says why


def _unnamed(folder: str) -> Found:
    return Found(folder, "", "files below a folder without a name (//) are not listed: rename them")


def is_hidden(folder: str) -> bool:
    """Whether a folder of this name is none that people keep images in: hidden, or a system's own."""
    return folder.startswith(".") or folder.casefold() in _SYSTEM_FOLDERS


def _found(entry: os.DirEntry[str], path: str, top: Path) -> Found:
    """What an entry that is no folder is."""
    if readable(path) != path:  # as of archives from other systems; no database keeps such a name
        return Found(
            readable(path), "", "its name, or that of a folder above it, is no text in UTF-8: rename it"
        )
    if entry.is_symlink():
        try:
            target = Path(entry.path).resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return Found(path, "", "a symbolic link to nothing")
        except (OSError, RuntimeError) as error:  # the second of Python before 3.13
            if isinstance(error, OSError) and error.errno != errno.ELOOP:
                raise
            return Found(path, "", "a symbolic link that leads in a circle")
        if target.is_dir():
            circle = (
                target in Path(entry.path).parent.resolve().parents
                or target == Path(entry.path).parent.resolve()
            )
            how = "that leads in a circle" if circle else "to a folder, which is not followed"
            return Found(path, "", f"a symbolic link {how}")
        if top.resolve() not in target.parents:
            return Found(path, "", f"a symbolic link that leads out of {top}")
    info = entry.stat()
    if not stat.S_ISREG(info.st_mode):
        return Found(path, "", "no file (a pipe, a socket or a device)")
    return Found(path, f"{info.st_size}-{info.st_mtime_ns}")


def readable(path: str) -> str:
    """A path as text; what is no UTF-8 of it in hex."""
    return path.encode("utf-8", "backslashreplace").decode()


def stamp_of(info: Mapping[str, Any]) -> str:
    """What changes with a remote file's bytes: its tag, or its size and time."""
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), "")
    moved = next((str(info[name]) for name in _TIMES if info.get(name)), "")
    return tag.strip('"') or f"{info.get('size')}-{moved}"

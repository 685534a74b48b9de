"""A data folder as one archive, made while the backend runs, and a folder made from one.

The archive is a tar file without compression, since vectors and models do not shrink. First comes `cdsel.sqlite3`, as
SQLite's online backup copies it at one moment. Then come the files that the database names. These only grow, or are
new: copied after the database, they hold all that it names. Last comes `manifest.json` with the version of the program
and the size and SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cdsel_backend import __version__
from cdsel_backend.whole_file import whole_file

MANIFEST = "manifest.json"
FORM = 1  # the version of the layout described above
LEFT_OUT = ("compiled", "thumbnails", "layouts", "decoding")  # made again when they are needed
BLOCK = 1 << 20  # bytes read at once


class ArchiveError(Exception):
    """An archive cannot be made or used; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds: the program's version, when the archive was made (seconds since the epoch), and its
    files: path -> (bytes, SHA-256)."""

    version: str
    made_at: float
    files: dict[str, tuple[int, str]]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(size for size, _ in self.files.values())


def back_up(folder: Path, database: Path | None, archive: Path) -> Manifest:
    """Write a data folder into an archive, which is there only once it is whole.

    Args:
        folder: the data folder.
        database: its SQLite file; None: the database is none, and not part of the archive.
        archive: the file to write.

    Raises:
        ArchiveError: the archive exists already, or lies in the data folder.
        OSError, sqlite3.Error: a file cannot be read or written.
    """
    if archive.exists():
        raise ArchiveError(f"{archive} exists: name a new file")
    if archive.resolve().is_relative_to(folder.resolve()):
        raise ArchiveError(f"{archive} lies in the data folder {folder}: name a file elsewhere")
    with whole_file(archive) as draft:
        draft.chmod(0o600)  # it holds patients' data
        with tarfile.open(draft, mode="w") as tar:
            return _fill(tar, folder, database, archive.parent)


def restore(archive: Path, folder: Path, *, replace: bool = False) -> tuple[Manifest, Path | None]:
    """Make a data folder what an archive holds; returns its manifest, and where the former folder lies now, if any.

    Every file is checked before the folder is touched.

    Args:
        archive: what `back_up` wrote.
        folder: the data folder to make.
        replace: where the folder holds anything, put it aside, beside its place, instead of refusing.

    Raises:
        ArchiveError: the folder is not empty, or the archive is damaged, cut short, or none.
        OSError: a file cannot be read or written.
    """
    occupied = folder.exists() and any(folder.iterdir())
    if occupied and not replace:
        raise ArchiveError(
            f"the data folder {folder} is not empty: nothing was changed. Name an empty one with CDSEL_DATA_DIR, or "
            "say --replace, which puts what is there aside"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        manifest = _unpack(archive, fresh)
        aside = None
        if occupied:
            aside = folder.with_name(f"{folder.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            folder.rename(aside)
        elif folder.exists():
            folder.rmdir()
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return manifest, aside


def _fill(tar: tarfile.TarFile, folder: Path, database: Path | None, scratch: Path) -> Manifest:
    files: dict[str, tuple[int, str]] = {}
    if database is not None:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".cdsel-") as beside:
            copy = Path(beside) / database.name
            _copy_database(database, copy)
            _add(tar, copy, database.name, files)
    for path in sorted(_parts(folder, database)):
        _add(tar, path, path.relative_to(folder).as_posix(), files)
    manifest = Manifest(__version__, time.time(), files)
    kept = {"form": FORM, "version": __version__, "made_at": manifest.made_at, "files": files}
    text = json.dumps(kept, indent=1).encode()
    head = tarfile.TarInfo(MANIFEST)
    head.size, head.mtime = len(text), int(manifest.made_at)
    tar.addfile(head, io.BytesIO(text))
    return manifest


def _copy_database(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        (verdict,) = target.execute("PRAGMA quick_check").fetchone()
        if verdict != "ok":
            raise ArchiveError(f"the database {database} is damaged ({verdict}): restore an earlier archive")


def _parts(folder: Path, database: Path | None) -> Iterator[Path]:
    """The files of a data folder that are kept."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        own = database is not None and parts[0].startswith(database.name)  # and what SQLite keeps beside it
        passing = path.name.startswith(".") or path.suffix in (".lock", ".log") or path.name == "lock"
        if path.is_file() and not path.is_symlink() and not own and not passing and parts[0] not in LEFT_OUT:
            yield path


class _Hashed:
    """A file that is read once, and what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add(tar: tarfile.TarFile, path: Path, name: str, files: dict[str, tuple[int, str]]) -> None:
    """Add a file as long as it is now: one that grows meanwhile holds what the database speaks of already."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # a model version that was pruned meanwhile
    with file:
        head = tarfile.TarInfo(name)
        found = os.fstat(file.fileno())
        head.size, head.mtime, head.mode = found.st_size, int(found.st_mtime), 0o600
        hashed = _Hashed(file)
        tar.addfile(head, hashed)
    files[name] = (head.size, hashed.digest.hexdigest())


def _unpack(archive: Path, folder: Path) -> Manifest:
    """Write the files of an archive into a folder, and check them against its manifest."""
    found: dict[str, tuple[int, str]] = {}
    manifest: Any = None
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for head in tar:
                file = tar.extractfile(head) if head.isreg() else None
                if file is None or not _inside(head.name):
                    raise ArchiveError(f"{archive} is no archive of cdsel: it holds {head.name!r}")
                if head.name == MANIFEST:
                    manifest = json.load(file)
                    continue
                path = folder / head.name
                path.parent.mkdir(parents=True, exist_ok=True)
                hashed = _Hashed(file)
                with path.open("wb") as target:
                    path.chmod(0o600)
                    while data := hashed.read(BLOCK):
                        target.write(data)
                found[head.name] = (head.size, hashed.digest.hexdigest())
    except (tarfile.TarError, EOFError, ValueError) as fault:
        raise ArchiveError(
            f"{archive} is damaged or no archive of cdsel ({fault}): use another one"
        ) from None
    if not isinstance(manifest, dict) or manifest.get("form") != FORM:
        raise ArchiveError(
            f"{archive} is cut short, or was made by another version of cdsel: use another one"
        )
    wanted = {name: tuple(what) for name, what in manifest["files"].items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ArchiveError(f"{archive} is damaged: {name} is not what was written; use another one")
    return Manifest(manifest["version"], manifest["made_at"], found)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name

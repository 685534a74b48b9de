"""Reading files of a folder of this machine, or of a bucket by fsspec; nothing outside it.

Paths come from tables and listings that others wrote: one that leads out of the folder is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from cdsel_backend.pool import dicom
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.patience import StorageFails, read_in_time, storages
from cdsel_backend.pool.source import SourceError
from cdsel_backend.sources.endings import name_of
from cdsel_backend.sources.options import SourceOptions
from cdsel_backend.sources.storage import (
    Trouble,
    blaming,
    extra_of,
    fix_of,
    is_remote,
    said_of,
    trouble_of,
    words_of,
)
from cdsel_backend.sources.walk import Found, stamp_of, walk_local, walk_remote

MAX_BYTES = 200 * 1024 * 1024
HEADER_BYTES = 256 * 1024  # asked of a storage to read a DICOM header


class Files:
    """The files below one folder or prefix."""

    def __init__(self, root: str, *, key: bytes, max_bytes: int, options: SourceOptions) -> None:
        """Take the folder's path or address; nothing is read yet. See `open_source` for the rest."""
        self.root = root.removeprefix("file://").rstrip("/") or "/"
        self.remote = is_remote(root)
        if self.remote:
            scheme, _, path = root.partition("://")
            self.root = f"{scheme.lower()}://{path.rstrip('/')}"
        self._key = key
        self._max_bytes = max_bytes
        self._options = options

    def is_folder(self) -> bool:
        """Whether the folder is there, and is none of its files.

        Raises:
            SourceError: the storage cannot be asked, or has no such prefix.
        """
        if not self.remote:
            return Path(self.root).is_dir()
        with blaming(self.root):
            if not self._base:
                raise SourceError(
                    f"{self.root} names no bucket: write {self.root.partition(':')[0]}://bucket/folder"
                )
            if not self._fs.exists(self._base):
                self._fs.ls(self._base, detail=False)  # which says why
            if not self._fs.isfile(self._base):
                return True
            return any(str(path) != self._base for path in self._fs.ls(self._base, detail=False))

    def list(self) -> Iterator[Found]:
        """Yield every file below the folder, in the order of their paths within each folder.

        Raises:
            SourceError: the folder itself cannot be listed.
        """
        if self.remote:
            yield from walk_remote(self._fs, self._base, self.root)
        else:
            yield from walk_local(Path(self.root))

    def read(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            UnreadableImage: not there, not allowed, no regular file, too large, outside the folder, or its storage
                does not answer.
        """

        if self.remote:
            try:
                self._address(path)
            except SourceError as error:  # as where its library is not installed here
                raise StorageFails(str(error)) from error
            storages.admit(self.root)
        try:
            data = read_in_time(self.root, lambda: self._whole(path))
        except UnreadableImage:
            raise
        except Exception as error:  # of whatever storage it is
            raise self._unreadable(path, error) from error
        if self.remote:
            storages.answered(self.root)
        if len(data) > self._max_bytes:
            raise UnreadableImage(f"{path} is larger than {self._max_bytes // 2**20} MiB")
        return data

    def _whole(self, path: str) -> bytes:
        """The bytes of a file; of a larger one than is allowed a part that is too large."""
        if self.remote:
            address = self._address(path)
            try:  # one request, where opening it takes one for its size, and one for each part
                return cast(bytes, self._fs.cat_file(address, start=0, end=self._max_bytes + 1))
            except Exception as error:
                if trouble_of(error) is not Trouble.OTHER:
                    raise
            with self.open(path) as file:  # as of an empty one, which has no range
                return file.read(self._max_bytes + 1)
        descriptor = self._descriptor(path)
        try:  # Without a file object, which costs more than the reading of a small file.
            size = _regular_size(descriptor, path)
            if size > self._max_bytes:  # nothing of it is read
                raise UnreadableImage(f"{path} is larger than {self._max_bytes // 2**20} MiB")
            data = os.read(descriptor, size)
            while len(data) < size and (more := os.read(descriptor, size - len(data))):
                data += more  # a network share may give a file in parts
            return data
        finally:
            os.close(descriptor)

    def _unreadable(self, path: str, error: Exception) -> UnreadableImage:
        """What to raise for an image that was not read: its own fault, or its storage's."""
        trouble = trouble_of(error)
        if not self.remote:
            if trouble is Trouble.MISSING and not self.is_folder():
                return StorageFails(
                    f"{self.root} is not there: see that it is mounted, and that its name is the same"
                )
        elif trouble is Trouble.AWAY:
            return storages.timed_out(self.root) or StorageFails(f"{self.root} {said_of(self.root, error)}")
        else:
            storages.answered(self.root)
            if trouble is Trouble.REFUSED:
                return StorageFails(f"{self.root} {said_of(self.root, error)}")
        if trouble is Trouble.MISSING:
            return UnreadableImage(f"{path}: there is no such file in {self.root}")
        return UnreadableImage(f"{path} cannot be read: {words_of(error)}")

    def image(self, path: str) -> bytes:
        """Return an image's bytes, as `as_chosen` gives them.

        Raises:
            UnreadableImage: as `read` and `as_chosen`.
        """
        return as_chosen(self.read(path), path, self._options)

    def describe(self, path: str) -> Mapping[str, Any]:
        """Return the variables of a DICOM file's header; none for another file, or for one that is damaged.

        Raises:
            UnreadableImage: it cannot be read now, and may say something another time.
            SourceError: its storage does not answer.
        """
        try:
            with self.open(path, HEADER_BYTES) as file:
                if not dicom.is_dicom(file.read(132)):
                    return {}
                file.seek(0)
                return dicom.describe(file, key=self._key)
        except Exception as error:  # of whatever storage it is
            if isinstance(error, dicom.UnreadableDicom) and not isinstance(error.__cause__, OSError):
                return {}  # reading the image says why
            if self.remote and trouble_of(error) is Trouble.AWAY:
                raise SourceError(f"{self.root} {said_of(self.root, error)}") from error
            raise UnreadableImage(f"{path} cannot be read: {words_of(error)}") from error

    def hashed(self, name: str, text: str) -> str:
        """What stands for a text that may say who a patient is, as in the variables of a DICOM file."""
        return dicom.keyed_hash(self._key, name, text)

    def open(self, path: str, part: int | None = None) -> BinaryIO:
        """Open a file below the folder.

        Args:
            path: where it lies.
            part: of a storage, how many bytes are asked for at once; None: as many as its library finds good.

        Raises:
            UnreadableImage: it is none, or lies outside.
            OSError: it cannot be opened.
        """
        if self.remote:
            return cast(BinaryIO, self._fs.open(self._address(path), "rb", block_size=part))
        descriptor = self._descriptor(path)
        try:
            _regular_size(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")

    def _descriptor(self, path: str) -> int:
        """Open a file of this machine below the folder."""
        # Without waiting: a pipe that nobody writes into would hold the worker for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        root = os.path.abspath(self.root)
        plain = os.path.normpath(os.path.join(root, path))
        if plain.startswith(root + os.sep):
            try:
                descriptor = os.open(plain, flags)
            except (OSError, ValueError):
                return os.open(self._inside(path), flags)  # says why
            try:
                # Where the system says so at once, no link leads elsewhere: one call, where resolving takes many.
                if os.readlink(f"/proc/self/fd/{descriptor}") == plain:
                    return descriptor
            except OSError:
                pass
            os.close(descriptor)
        return os.open(self._inside(path), flags)

    def stamp(self, path: str) -> str:
        """Return what changes when a file's bytes do; "" where there is no such file."""
        try:
            if self.remote:
                return stamp_of(self._fs.info(self._address(path)))
            info = self._inside(path).stat()
        except Exception:
            return ""
        return f"{info.st_size}-{info.st_mtime_ns}"

    def _inside(self, path: str) -> Path:
        try:
            if is_remote(path):
                raise UnreadableImage(
                    f"{path} lies in no folder of this machine; name its prefix (--root s3://bucket)"
                )
            root = Path(self.root).resolve()
            full = (root / name_of(path, lambda name: os.path.lexists(root / name))).resolve(strict=False)
        except (OSError, RuntimeError) as error:
            raise UnreadableImage(f"{path}: a symbolic link that leads in a circle") from error
        except UnreadableImage:
            raise
        except ValueError as error:
            raise UnreadableImage(f"{path!r} is no path ({error})") from error
        if full != root and root not in full.parents:
            raise UnreadableImage(
                f"{path} leads out of {self.root}; name the folder that holds all images (--root)"
            )
        return full

    def _address(self, path: str) -> str:
        """A path as the storage names it; addresses that start with the root's are taken, too."""
        inner = path
        for start in (self.root, self._base):
            if inner.startswith(f"{start}/"):
                inner = inner[len(start) + 1 :]
        parts = PurePosixPath(inner).parts
        if "://" in inner or ".." in parts or inner.startswith("/"):
            raise UnreadableImage(
                f"{path} leads out of {self.root}; name the prefix that holds all images (--root)"
            )
        return f"{self._base}/{inner}"

    @cached_property
    def _fs(self) -> Any:
        import fsspec

        try:  # What was listed once may be written anew: nothing is remembered of it.
            return fsspec.core.url_to_fs(self.root, use_listings_cache=False)[0]
        except (ImportError, ValueError) as error:
            extra = extra_of(self.root)
            fix = "it is of no kind that fsspec knows"
            if extra and isinstance(error, ImportError):
                fix = f"install cdsel-backend[{extra}]"
            elif extra:
                fix = fix_of(self.root, Trouble.REFUSED)
            raise SourceError(f"{self.root} cannot be opened ({words_of(error)}): {fix}") from error

    @cached_property
    def _base(self) -> str:
        return str(self._fs._strip_protocol(self.root)).rstrip("/")


def as_chosen(data: bytes, path: str, options: SourceOptions) -> bytes:
    """An image's bytes; of a DICOM file with a frame that was chosen that frame, as PNG.

    Raises:
        UnreadableImage: a DICOM file whose pixels say who the patient is, or that gives no picture.
    """
    if not dicom.is_dicom(data):
        return data
    from cdsel_backend.pool.browser import to_png
    from cdsel_backend.pool.decode import MAX_PIXELS
    from cdsel_backend.pool.dicom_pictures import render

    try:
        if not options.burned_in and dicom.burned_in(data):
            raise UnreadableImage(
                f"{path}: its header says that the picture shows who the patient is (BurnedInAnnotation); "
                "where that may be, add the source with --burned-in"
            )
        if options.frame is not None:
            return to_png(render(data, max_pixels=MAX_PIXELS, frame=options.frame))
    except dicom.UnreadableDicom as error:
        raise UnreadableImage(f"{path}: {error}") from error
    return data


def _regular_size(descriptor: int, path: str) -> int:
    """The size of an open file in bytes. Raises UnreadableImage where it is a folder, a pipe or a device."""
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        raise UnreadableImage(f"{path} is no file (a folder, a pipe or a device)")
    return info.st_size

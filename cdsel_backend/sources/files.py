"""Reading files of a folder of this machine, or of a bucket by fsspec; nothing outside it.

Paths come from tables and listings that others wrote: one that leads out of the folder is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.patience import read_in_time
from cdsel_backend.pool.source import SourceError
from cdsel_backend.sources.walk import Found, blaming, stamp_of, walk_local, walk_remote, words_of

if TYPE_CHECKING:
    from cdsel_backend.sources.opening import SourceOptions

MAX_BYTES = 200 * 1024 * 1024
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "adl": "azure"}


def is_remote(address: str) -> bool:
    """Whether an address is of a bucket or another storage, not a path of this machine."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme not in ("file", "local")


class Files:
    """The files below one folder or prefix."""

    def __init__(self, root: str, *, key: bytes, max_bytes: int, options: SourceOptions) -> None:
        """Take the folder's path or address; nothing is read yet. See `open_source` for the rest."""
        self.root = root.removeprefix("file://").rstrip("/") or "/"
        self.remote = is_remote(root)
        self._key = key
        self._max_bytes = max_bytes
        self._options = options

    def is_folder(self) -> bool:
        """Whether the folder is there; a prefix is as soon as its storage can be asked.

        Raises:
            SourceError: the storage cannot be asked.
        """
        if not self.remote:
            return Path(self.root).is_dir()
        with blaming(self.root):
            return bool(self._fs.exists(self._base) or self._fs.ls(self._base, detail=False))

    def list(self) -> Iterator[Found]:
        """Yield every file below the folder, in the order of their paths within each folder.

        Raises:
            SourceError: the folder itself cannot be listed.
        """
        yield from walk_remote(self._fs, self._base) if self.remote else walk_local(Path(self.root))

    def read(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            UnreadableImage: not there, not allowed, no regular file, too large, outside the folder, or its storage
                does not answer.
        """

        too_large = UnreadableImage(f"{path} is larger than {self._max_bytes // 2**20} MiB")

        def read() -> bytes:
            with self.open(path) as file:
                # Where the size is known, nothing is read of a file that is too large.
                if file.seekable():
                    if file.seek(0, os.SEEK_END) > self._max_bytes:
                        raise too_large
                    file.seek(0)
                return file.read(self._max_bytes + 1)

        try:
            data = read_in_time(self.root, read)
        except UnreadableImage:
            raise
        except FileNotFoundError:
            raise UnreadableImage(f"{path}: there is no such file in {self.root}") from None
        except Exception as error:  # of whatever storage it is
            raise UnreadableImage(f"{path} cannot be read: {words_of(error)}") from error
        if len(data) > self._max_bytes:
            raise too_large
        return data

    def image(self, path: str) -> bytes:
        """Return an image's bytes; of a DICOM file with a frame that was chosen that frame, as PNG.

        Raises:
            UnreadableImage: as `read`; or a DICOM file whose pixels say who the patient is.
        """
        data = self.read(path)
        from cdsel_backend.pool import dicom

        if dicom.is_dicom(data):
            from cdsel_backend.pool.browser import to_png
            from cdsel_backend.pool.decode import MAX_PIXELS

            try:
                if not self._options.burned_in and dicom.burned_in(data):
                    raise UnreadableImage(
                        f"{path}: its header says that the picture shows who the patient is (BurnedInAnnotation); "
                        "where that may be, add the source with --burned-in"
                    )
                if self._options.frame is not None:
                    return to_png(dicom.render(data, max_pixels=MAX_PIXELS, frame=self._options.frame))
            except dicom.UnreadableDicom as error:
                raise UnreadableImage(f"{path}: {error}") from error
        return data

    def describe(self, path: str) -> Mapping[str, Any]:
        """Return the variables of a DICOM file's header, none for another file or one that cannot be read."""
        from cdsel_backend.pool import dicom

        try:
            with self.open(path) as file:
                if not dicom.is_dicom(file.read(132)):
                    return {}
                file.seek(0)
                return dicom.describe(file, key=self._key)
        except Exception:  # reading the image says why
            return {}

    def open(self, path: str) -> BinaryIO:
        """Open a file below the folder.

        Raises:
            UnreadableImage: it is none, or lies outside.
            OSError: it cannot be opened.
        """
        if self.remote:
            return cast(BinaryIO, self._fs.open(self._address(path), "rb"))
        full = self._inside(path)
        # Without waiting: a pipe that nobody writes into would hold the worker for ever.
        descriptor = os.open(full, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnreadableImage(f"{path} is no file (a folder, a pipe or a device)")
        return os.fdopen(descriptor, "rb")

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
            if "\\" in path and os.sep == "/" and not os.path.lexists(root / path):
                path = path.replace("\\", "/")  # of a table that was made on Windows
            full = (root / path).resolve(strict=False)
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

        scheme = self.root.partition("://")[0]
        try:
            return fsspec.core.url_to_fs(self.root)[0]
        except (ImportError, ValueError) as error:
            extra = EXTRAS.get(scheme)
            fix = f"install cdsel-backend[{extra}]" if extra else "it is of no kind that fsspec knows"
            raise SourceError(f"{self.root} cannot be opened ({words_of(error)}): {fix}") from error

    @cached_property
    def _base(self) -> str:
        return str(self._fs._strip_protocol(self.root)).rstrip("/")

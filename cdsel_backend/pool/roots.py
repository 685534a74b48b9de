"""Images that this machine can read itself: which addresses of tasks lie in which of its folders.

Label Studio hands out a local file, or signs for one in a bucket, for 10 ms of its CPU each. Where the same files are
mounted here, `CDSEL_IMAGE_ROOTS` says where: `/data/local-files/=/mnt/images, s3://bucket=/mnt/bucket`. What an address
names is read only where it really lies in that folder, whatever `..` or links lead elsewhere; what is not there is left
to Label Studio.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LOCAL_FILES = "/data/local-files/"
BUCKETS = ("s3://", "gs://", "azure-blob://")


class OutsideRoot(Exception):
    """An address names a file outside the folder that it is mapped to."""


class TooLarge(Exception):
    """A file is larger than what may be read."""


@dataclass(frozen=True)
class ImageRoots:
    """Folders of this machine, and what addresses that lie in them begin with."""

    folders: tuple[tuple[str, Path], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ImageRoots:
        """Read `/data/local-files/=/mnt/images, s3://bucket=/mnt/bucket`.

        Raises:
            ValueError: a part is none; the message names it and what is due.
        """
        found = []
        for part in filter(None, map(str.strip, text.split(","))):
            address, equals, folder = (side.strip() for side in part.partition("="))
            bucket = any(address.startswith(scheme) and len(address) > len(scheme) for scheme in BUCKETS)
            if not equals or not (bucket or address.startswith(LOCAL_FILES)):
                raise ValueError(
                    f"{part!r} maps no images: write {LOCAL_FILES}=/a/folder or s3://bucket=/a/folder (gs://, "
                    "azure-blob:// likewise), several with commas between them"
                )
            if not Path(folder).is_absolute() or not Path(folder).is_dir():
                raise ValueError(
                    f"{part!r}: {folder or 'nothing'} is no folder of this machine, by its whole path"
                )
            found.append((address.rstrip("/") + "/", Path(os.path.realpath(folder))))
        # The longest first: a folder inside a folder may be mounted elsewhere.
        return cls(tuple(sorted(found, key=lambda root: -len(root[0]))))

    def folder_of(self, address: str) -> Path | None:
        """The folder that an address of a task is mapped to, if any."""
        return next((folder for root, folder in self.folders if _below(root, address) is not None), None)

    def read(self, address: str, max_bytes: int) -> bytes | None:
        """The bytes of the image at an address of a task; None where it is mapped nowhere, or there is no such file.

        Raises:
            OutsideRoot: the address, or a link, leads out of its folder.
            TooLarge: the file has more than `max_bytes`.
        """
        for root, folder in self.folders:
            if (inside := _below(root, address)) is None:
                continue
            if "\0" in inside:
                raise OutsideRoot
            path = Path(os.path.realpath(folder / inside.lstrip("/")))
            if not path.is_relative_to(folder):
                raise OutsideRoot
            try:
                if not path.is_file():  # a device or a pipe would never end
                    return None
                with path.open("rb") as file:
                    data = file.read(max_bytes + 1)
            except OSError:
                return None
            if len(data) > max_bytes:
                raise TooLarge
            return data
        return None


def _below(root: str, address: str) -> str | None:
    """What an address names below a root; None where it is not below it."""
    if root.startswith(LOCAL_FILES):
        parts = urlsplit(address)
        if not f"{parts.path.rstrip('/')}/".endswith(LOCAL_FILES):
            return None
        named = f"{LOCAL_FILES}{(parse_qs(parts.query).get('d') or [''])[0].lstrip('/')}"
        return named[len(root) :] if named.startswith(root) and len(named) > len(root) else None
    return unquote(address[len(root) :]) if address.startswith(root) and len(address) > len(root) else None

"""A folder or a bucket's prefix as a pool: every file whose name is that of an image, or of a DICOM file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from cdsel_backend.pool.source import Listing, SourceItem
from cdsel_backend.sources.endings import IMAGES
from cdsel_backend.sources.files import Files
from cdsel_backend.sources.walk import Found

NOT_READ = (
    ((".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar"), "an archive is not read: unpack it into the folder"),
    ((".heic", ".heif"), "HEIC is not read: export it as JPEG or PNG"),
    ((".jxl", ".jls", ".jxr", ".wdp", ".exr", ".tga"), "of no format that is read: export it as JPEG or PNG"),
    (
        (".npy", ".npz", ".h5", ".hdf5", ".mat", ".tfrecord", ".tfrecords"),
        "arrays are not read: write their pictures as PNG, with their metadata in a table",
    ),
    ((".dcm.gz", ".dcm.bz2"), "compressed DICOM is not read: unpack it (gunzip)"),
    (
        (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc"),
        "a volume is not read: export its slices as PNG or DICOM",
    ),
    (
        (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vsi", ".czi", ".lif", ".nd2", ".bif"),
        "a slide is not read: export its tiles as PNG or JPEG",
    ),
    (
        (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"),
        "a video is not read: export its frames as pictures",
    ),
    ((".cr2", ".cr3", ".nef", ".arw", ".dng", ".psd"), "of no format that is read: export it as JPEG or PNG"),
)
"""Images in files that are not read, and which would else be missed: how names end, and why with the fix."""
_NO_IMAGES = frozenset(
    {"DICOMDIR", "CHECKSUMS", "VERSION", "LOCKFILE"}
    | {"AUTHORS", "CHANGES", "COPYING", "LICENSE", "MAKEFILE", "NOTICE", "README"}
)
"""Names without an ending that no image has; discs of DICOM files have several of them."""
FOLDER = "folder"  # the variable that says which folder below the source's an image lies in


class FolderSource:
    """The images below a folder or prefix; a file without an ending may be a DICOM file and is one of them."""

    def __init__(self, address: str, files: Files) -> None:
        self.address = address
        self._files = files

    def list(self, watermark: str = "") -> Listing | None:
        """See `PoolSource.list`: a folder does not say whether anything changed, so it is looked through each time."""
        return Listing(self._items(), complete=True, watermark="")

    def _items(self) -> Iterator[SourceItem]:
        for found in self._files.list():
            problem = found.problem or _not_read(found)
            if problem is not None or _is_image(found):
                folder = found.path.rpartition("/")[0]
                if folder and may_be_dicom(found.path):  # archives name them by the patient
                    folder = self._files.hashed(FOLDER, folder)
                yield SourceItem(
                    key=found.path,
                    image=found.path,
                    data={FOLDER: folder} if folder else {},
                    stamp=found.stamp,
                    problem=problem,
                    unlisted=found.unlisted,
                )

    def describe(self, item: SourceItem) -> Mapping[str, Any]:
        """See `PoolSource.describe`."""
        return self._files.describe(item.image) if may_be_dicom(item.image) else {}

    def read(self, item: SourceItem) -> bytes:
        """See `PoolSource.read`."""
        return self._files.image(item.image)

    def annotator_address(self, item: SourceItem) -> str | None:
        """See `PoolSource.annotator_address`: Label Studio has no way to these files."""
        return None


def may_be_dicom(path: str) -> bool:
    """Whether a file may be a DICOM file, by its name."""
    return (
        PurePosixPath(path).suffix.lower() in ("", ".dcm", ".dicom", ".ima")
        or PurePosixPath(path).suffix[1:].isdecimal()
    )


def _not_read(found: Found) -> str | None:
    """Why a file that holds an image is not read, by its name; None for another one."""
    name = PurePosixPath(found.path).name.lower()
    known = (why for endings, why in NOT_READ if name.endswith(endings))
    return None if name.startswith(".") else next(known, None)


def _is_image(found: Found) -> bool:
    name = PurePosixPath(found.path).name
    if name.startswith(".") or name.upper() in _NO_IMAGES:
        return False
    return PurePosixPath(name).suffix.lower() in IMAGES or may_be_dicom(name)

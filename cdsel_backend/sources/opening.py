"""An address that an admin names -> the source that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cdsel_backend.pool.source import PoolSource, SourceError
from cdsel_backend.sources.files import MAX_BYTES, Files
from cdsel_backend.sources.storage import is_remote


@dataclass(frozen=True)
class SourceOptions:
    """How a source is to be read; what an admin names once, in `cdsel pool add`.

    Attributes:
        image: the column with the images' paths (tables); None takes the first that is named like one.
        root: where those paths start; None takes the folder of the table.
        frame: of DICOM files with several frames the one to use, from 0; None takes the middle one.
        burned_in: whether DICOM files that say that their pixels show who the patient is may be used.
    """

    image: str | None = None
    root: str | None = None
    frame: int | None = None
    burned_in: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> SourceOptions:
        """Read what `to_json` gave, of this version or another."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in kept.items() if name in known})


def open_source(
    address: str,
    options: SourceOptions = SourceOptions(),
    *,
    key: bytes,
    max_bytes: int = MAX_BYTES,
    look: bool = True,
) -> PoolSource:
    """Open a source by its address: a CSV, JSON lines or Parquet file, a folder, or a prefix such as s3://bucket/a.

    Args:
        address: a path of this machine, or an address that fsspec knows (s3://, gs://, az://, ...).
        options: see there.
        key: the secret that identifiers in DICOM headers are hashed with.
        max_bytes: a larger file is refused.
        look: whether to see that there is such a folder or prefix; reading needs no look, which a storage that is away
            would not answer.

    Raises:
        SourceError: there is no such file or folder, or it is of no kind that can be read.
    """
    from cdsel_backend.sources.folder import FolderSource
    from cdsel_backend.sources.manifest import READERS, ManifestSource

    suffix = "." + address.rstrip("/").rpartition("/")[2].lower().rpartition(".")[2]
    if suffix in READERS:
        folder = address.replace("\\", "/").rpartition("/")[0] or ("" if is_remote(address) else ".")
        files = Files(options.root or folder, key=key, max_bytes=max_bytes, options=options)
        return ManifestSource(address, files, image=options.image)
    files = Files(address, key=key, max_bytes=max_bytes, options=options)
    if look and not files.is_folder():
        raise SourceError(
            f"{address} is no source: name a .csv, .tsv, .jsonl, .ndjson or .parquet file, a folder, or a prefix "
            "such as s3://bucket/folder"
        )
    return FolderSource(address, files)

"""An address that an admin names -> the source that lists it."""

from __future__ import annotations

import os

from cdsel_backend.pool.source import PoolSource, SourceError
from cdsel_backend.sources.files import MAX_BYTES, Files
from cdsel_backend.sources.folder import FolderSource
from cdsel_backend.sources.manifest import ManifestSource, folder_and_name, reader_of
from cdsel_backend.sources.options import DEFAULTS, SourceOptions
from cdsel_backend.sources.storage import is_remote

_FIXES = {
    (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"): (
        "spreadsheets are not read; save the sheet as CSV (UTF-8), and name that file"
    ),
    (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar"): (
        "archives are not read; unpack it, and name the folder, or the table in it"
    ),
    (".parquet.gz",): "Parquet has a compression of its own; unpack it (gunzip), and name the .parquet file",
    (".bz2", ".xz", ".zst", ".lz4"): (
        "of compressed tables only those by gzip are read; unpack it, or compress the table by gzip (.csv.gz)"
    ),
    (".json",): "of JSON one object a line is read; write it so (.jsonl), or as CSV, and name that file",
}
"""What people name that is not read: how names end -> what to do."""


def open_source(
    address: str,
    options: SourceOptions = DEFAULTS,
    *,
    key: bytes,
    max_bytes: int = MAX_BYTES,
    look: bool = True,
) -> PoolSource:
    """Open a source by its address: a CSV, JSON lines (perhaps by gzip) or Parquet file, a folder, or a prefix such as s3://bucket/a.

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
    name = address.rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
    if reader_of(name) is not None:
        files = Files(
            options.root or folder_and_name(address)[0], key=key, max_bytes=max_bytes, options=options
        )
        return ManifestSource(address, files, image=options.image)
    files = Files(address, key=key, max_bytes=max_bytes, options=options)
    if look and not files.is_folder():
        if not is_remote(address) and not os.path.lexists(files.root):
            raise SourceError(
                f"{address}: there is no such file or folder; see its name, and that it is mounted"
            )
        known = (fix for endings, fix in _FIXES.items() if name.endswith(endings))
        fix = next(
            known,
            "name a .csv, .tsv, .jsonl, .ndjson (each perhaps with .gz) or .parquet file, a folder, or a prefix such "
            "as s3://bucket/folder",
        )
        raise SourceError(f"{address} is no source: {fix}")
    return FolderSource(address, files)

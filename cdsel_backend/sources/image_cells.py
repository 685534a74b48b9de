"""The files that the cells of a table of labelled images name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from cdsel_backend.phrases import number_of
from cdsel_backend.sources.endings import name_of
from cdsel_backend.table import Row, UsageError, plain_path, require


def require_images(rows: Sequence[Row], folder: Path, column: str) -> None:
    """Raise UsageError unless the column is there and at least one of its files lies in the folder."""
    require(rows, "--image-column", column)
    if not any(image_file(folder, row[column]).is_file() for row in rows if row[column].strip()):
        raise UsageError(
            f"--images: none of the {number_of(len(rows), 'file')} of column {column!r} is there; the first was looked "
            f"for at {image_file(folder, rows[0][column])}. Name the folder that the column's paths start from"
        )


def image_file(folder: Path, cell: str) -> Path:
    """The file below a folder that a cell names: by its path, or as Label Studio writes the addresses of its own files.

    Those begin where Label Studio keeps them: local files in its document root, uploads in its folder for media. A name
    may lack its ending, or be spelt as another system does (`name_of`).
    """
    cell = plain_path(cell)
    address = re.fullmatch(
        r"(?:https?://[^/]+)?(?:/[^?]*)?/data/(?:local-files/\?d=|(?=upload/))(.+)", cell.strip()
    )
    named = unquote(address[1]).lstrip("/") if address else cell.strip()
    return folder / name_of(named, lambda path: (folder / path).is_file())

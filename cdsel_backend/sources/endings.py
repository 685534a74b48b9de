"""How the names of images end, and what else a file may be called than a table calls it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

IMAGES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".webp",
        ".jp2",
        ".j2k",
    }
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".dcm", ".dicom", ".ima"}
)


def name_of(path: str, exists: Callable[[str], bool]) -> str:
    """The path of the file that a table means, by which of them there is; the path itself where that is not sure."""
    if exists(path):
        return path
    found = next(filter(exists, _spellings(path)), None)
    if found is None and PurePosixPath(path).suffix.lower() not in IMAGES:
        endings = sorted(IMAGES)
        with_ending = [path + ending for ending in endings if exists(path + ending)] or [
            path + ending.upper() for ending in endings if exists(path + ending.upper())
        ]
        found = with_ending[0] if len(with_ending) == 1 else None  # of two nobody knows which one is meant
    return found or path


def _spellings(path: str) -> Iterator[str]:
    """Of a table made on Windows, also where A.JPG is a.jpg's ending; on a Mac, where ü is two characters."""
    plain = path.replace("\\", "/") if os.sep == "/" else path
    yield plain
    if not path.isascii():
        yield unicodedata.normalize("NFC", plain)
        yield unicodedata.normalize("NFD", plain)
    stem, _, ending = plain.rpartition(".")
    yield from (f"{stem}.{other}" for other in (ending.lower(), ending.upper()) if stem)

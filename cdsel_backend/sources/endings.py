"""How the names of images end, and what else a file may be called than a table calls it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
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
    spellings = _spellings(path)
    others = [other for spelling in spellings for other in _other_letters(spelling)]
    found = next(filter(exists, (*spellings, *others)), None)
    if found is None and PurePosixPath(path).suffix.lower() not in IMAGES:
        found = next(filter(None, (_with_ending(spelling, exists) for spelling in spellings)), None)
    return found or path


def _spellings(path: str) -> tuple[str, ...]:
    """How a path is written here: Windows has other separators, and on a Mac ü is two characters."""
    plain = path.replace("\\", "/") if os.sep == "/" else path
    if plain.isascii():
        return (plain,)
    return (plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))


def _other_letters(path: str) -> list[str]:
    """The path with its ending in small and in capital letters, which are one to Windows: a.JPG, a.jpg."""
    ending = PurePosixPath(path).suffix
    stem = path.removesuffix(ending)
    return [stem + ending.lower(), stem + ending.upper()] if ending else []


def _with_ending(path: str, exists: Callable[[str], bool]) -> str | None:
    """The one image whose name is this and an ending; of two nobody knows which one is meant."""
    endings = sorted(IMAGES)
    small = [path + ending for ending in endings if exists(path + ending)]
    found = small or [path + ending.upper() for ending in endings if exists(path + ending.upper())]
    return found[0] if len(found) == 1 else None

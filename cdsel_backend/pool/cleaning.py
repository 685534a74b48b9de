"""One value of the metadata: text, a number, a date or nothing, whatever program wrote it."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import as_typed
from cdsel_backend.pool.no_value import is_no_value
from cdsel_backend.pool.parts import parts_of
from cdsel_backend.pool.quantities import in_ascii
from cdsel_backend.pool.values import LONGEST_NUMBER, Reading

_QUOTES = ("'", '"', "=")
_QUOTED = re.compile(r"""(?:="|"|')(?P<text>[^"']+)["']""")
_MARKED_AS_TEXT = re.compile(r"'(?P<text>(?!s[- ]|t ).+)")  # but 's-Hertogenbosch, 't Gooi
_ACCENTS = re.compile(r"([a-z])[\u0300-\u036f]+")
_BLANKS = re.compile(r"(?<!\d)[ _]+|[ _]+(?!\d)")
_MAX_LETTERS = 80  # of a level's name
# Not numbers, though `float` reads them: 12E3, which no program writes for a number (those have a point or a sign:
# 1.2e4, 1e-05), and more digits than a float is sure to tell apart.
_NO_NUMBER = re.compile(r"\d+(?:[eE]\d+)+|\d{16,}(?:\.0)?")


def is_missing(value: object) -> bool:
    """Whether a field says nothing: it is empty, nested, or one of the words for that, such as "unknown"."""
    return clean(value) is None


def clean(value: object) -> str | float | datetime | None:
    """Return text, a number or a date, or None where nothing usable stands.

    A number is the same however it is written: 7, "7", "7.0", and "007", which is mostly the same code from another
    export. What `_NO_NUMBER` matches stays text, digit by digit, and so does 1_2, which `float` would read, too.
    """
    if value is None or isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    text = tidy(str(value))
    if is_no_value(text):
        return None
    if len(text) > LONGEST_NUMBER or "_" in text:
        return text
    if _NO_NUMBER.fullmatch(text):
        return text.removesuffix(".0")
    try:
        number = float(in_ascii(text))
    except ValueError:
        return _date(text)
    return number + 0.0 if math.isfinite(number) else None  # -0.0 is 0.0


def tidy(text: str) -> str:
    """A text as all programs would write what looks the same (`as_typed`).

    Without the marks of spreadsheets and tables around it: `'045`, `="045"`, `"GE"`.
    """
    text = as_typed(text)
    if text[:1] in _QUOTES:
        if found := _QUOTED.fullmatch(text):
            return found["text"].strip()
        if found := _MARKED_AS_TEXT.fullmatch(text):
            return found["text"]
    return text


def fold(text: str) -> str:
    """A level's name without what two tables may write differently: case, accents of Latin letters, width, blanks.

    Blanks between two numbers stay.
    """
    folded = text.casefold()
    if not folded.isascii():
        folded = _ACCENTS.sub(r"\1", unicodedata.normalize("NFKD", folded))
        folded = unicodedata.normalize("NFC", folded).casefold()
    return _BLANKS.sub("", folded) or folded


def _date(text: str) -> str | datetime:
    """Return a date where the text starts as 2020-01-31 does, else the text."""
    if not (10 <= len(text) <= 35 and text[4] == text[7] == "-" and text[:4].isdigit()):
        return text
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def level_text(value: str | float | datetime) -> str:
    """Return a level's name; a number with the 15 digits that a float keeps of any number."""
    if isinstance(value, float):
        return f"{value:.15g}"
    text = value.isoformat() if isinstance(value, datetime) else value
    if len(text) <= _MAX_LETTERS:
        return text
    # Two long values with the same beginning stay two levels.
    mark = f" … {hashlib.blake2b(text.casefold().encode(), digest_size=3).hexdigest()}"
    return text[: _MAX_LETTERS - len(mark)] + mark


def in_one(value: object) -> str:
    """A value as one text, a short list as DICOM writes it; empty for what else holds values."""
    if isinstance(value, (list, tuple)):
        return "\\".join(map(str, value)) if 1 < len(value) < 4 else ""
    return "" if isinstance(value, (Mapping, set, frozenset)) else tidy(str(value))


def part_of_text(value: object, part: int) -> str | None:
    """One of the numbers of a text that holds several."""
    parts = parts_of(in_one(value))
    return parts[part] if part < len(parts) else None


def plain_numbers(values: Sequence[str | float | datetime | None], *, dated: bool) -> NDArray[np.float64]:
    """Return (n,): the numbers, or the dates in seconds where the column is `dated`; nan for the rest."""
    if dated:
        return np.array(
            [v.timestamp() if isinstance(v, datetime) else np.nan for v in values], dtype=np.float64
        )
    return np.array([v if isinstance(v, float) else np.nan for v in values], dtype=np.float64)


def read_numbers(raw: Sequence[object], values: Sequence[object], reading: Reading) -> NDArray[np.float64]:
    """Return (n,): the numbers that a reading finds, nan for what is missing or none."""
    found = np.full(len(raw), np.nan)
    known: dict[str, float | None] = {}
    for i, (given, value) in enumerate(zip(raw, values, strict=True)):
        if value is None:
            continue
        text = str(given)
        if text not in known:
            known[text] = reading.number(tidy(text))
        number = known[text]
        if number is not None:
            found[i] = number
    return found

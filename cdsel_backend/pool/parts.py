"""Fields whose texts hold several numbers each: a blood pressure 120/80, a size 12 x 8 mm, a pixel spacing 0.5\\0.5.

Of `20 (2)`, too, each number is a variable: whether the second is a deviation, a count or a grade, nothing says.

As one text each is nearly unique; its numbers are variables of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdsel_backend.pool.dates import MOSTLY

_PART = re.compile(r"(?P<number>(?:[<>≤≥]\s*)?-?\d+(?:[.,]\d+)?)\s*(?P<unit>%|[^\W\d_]{0,5}\.?)")
_LIST = re.compile(r"\[(.*)\]|\((.*)\)")
_BRACKETS = re.compile(r"([^()]+)\(([^()]+)\)")
_COMMA = re.compile(r",\s*|\s+")
_BETWEEN = re.compile(r"\s*[x×*⨯]\s*", re.IGNORECASE)
_PRESSURE = re.compile(
    r"(?:^|[\W_])(?:bp|nibp|rr|blood[\W_]*pressure|blutdruck|tension)(?:$|[\W_])", re.IGNORECASE
)
_FEW = 12  # different texts that may stay levels as they are: 20/20, 20/40; 256 x 256, 512 x 512
_ORDINALS = ("1st", "2nd", "3rd")


def part_names(name: str, texts: Sequence[str], *, levels: bool = True) -> tuple[str, ...]:
    """The names of the variables into which a field falls, given its different texts; none where it holds no parts.

    `levels`: whether few texts may be levels as they are.
    """
    if len(texts) <= (_FEW if levels else 1):
        return ()
    counts = [len(parts) for text in texts if (parts := parts_of(text))]
    if not counts or len(set(counts)) > 1 or len(counts) < MOSTLY * len(texts):
        return ()
    if counts[0] == 2 and _PRESSURE.search(name):
        return (f"{name} (systolic)", f"{name} (diastolic)")
    return tuple(f"{name} ({ordinal} number)" for ordinal in _ORDINALS[: counts[0]])


def parts_of(text: str) -> tuple[str, ...]:
    """The numbers of a text, each with the unit behind the last; nothing where they are not several.

    Of two of which one stands in brackets each has its own unit.
    """
    given = _split(text)
    found = [_PART.fullmatch(part.strip()) for part in given]
    parts = [part for part in found if part is not None]
    if not 2 <= len(parts) == len(found) <= len(_ORDINALS):
        return ()
    own = _BRACKETS.fullmatch(text) is not None
    return tuple(f"{part['number']} {(part if own else parts[-1])['unit']}".strip() for part in parts)


def _split(text: str) -> Sequence[str]:
    """The parts of a text: of 120/80, 12 x 8 mm, 0.5\\0.5 (DICOM), [0.5, 0.5] and 48.1, 11.5."""
    if found := _LIST.fullmatch(text):
        return _COMMA.split(next(part for part in found.groups() if part is not None))
    if found := _BRACKETS.fullmatch(text):
        return found.groups()
    if "/" in text:
        return text.split("/", 1)
    for mark in ("\\", ", "):
        if mark in text:
            return text.split(mark)
    return _BETWEEN.split(text)

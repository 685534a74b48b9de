"""Fields whose texts hold several numbers each: a blood pressure 120/80, a size 12 x 8 mm.

As one text each is nearly unique; its numbers are variables of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdsel_backend.pool.dates import MOSTLY

_PART = re.compile(r"(?P<number>[<>≤≥]?\s*\d+(?:[.,]\d+)?)\s*(?P<unit>[^\W\d_]{0,5}\.?)")
_BETWEEN = re.compile(r"\s*[x×*⨯]\s*", re.IGNORECASE)
_PRESSURE = re.compile(
    r"(?:^|[\W_])(?:bp|nibp|rr|blood[\W_]*pressure|blutdruck|tension)(?:$|[\W_])", re.IGNORECASE
)
_FEW = 12  # different texts that may stay levels as they are: 20/20, 20/40; 256 x 256, 512 x 512
_ORDINALS = ("1st", "2nd", "3rd")


def part_names(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The names of the variables into which a field falls, given its different texts; none where it holds no parts."""
    if len(texts) <= _FEW:
        return ()
    counts = [len(parts) for text in texts if (parts := parts_of(text))]
    if not counts or len(set(counts)) > 1 or len(counts) < MOSTLY * len(texts):
        return ()
    if counts[0] == 2 and _PRESSURE.search(name):
        return (f"{name} (systolic)", f"{name} (diastolic)")
    return tuple(f"{name} ({ordinal} number)" for ordinal in _ORDINALS[: counts[0]])


def parts_of(text: str) -> tuple[str, ...]:
    """The numbers of a text, each with the unit behind the last; nothing where they are not several."""
    given = text.split("/", 1) if "/" in text else _BETWEEN.split(text)
    found = [_PART.fullmatch(part.strip()) for part in given]
    parts = [part for part in found if part is not None]
    if not 2 <= len(parts) == len(found) <= len(_ORDINALS):
        return ()
    return tuple(f"{part['number']} {parts[-1]['unit']}".strip() for part in parts)

"""Heights in feet and inches as people write them: 5'11", 5 ft 11 in, 6'."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdsel_backend.pool.dates import MOSTLY

INCHES_PER_FOOT = 12
_FEET = re.compile(
    r"(?P<feet>\d{1,2})\s*(?:['’′´]|ft\.?|feet|foot)"
    r"(?:\s*(?P<inches>\d{1,2}(?:[.,]\d+)?|\d?½)\s*(?:[\"”″]|''|’’|′′|in\.?|inch(?:es)?)?)?",
    re.IGNORECASE,
)


def inches_of(text: str) -> float | None:
    """The inches of a text such as `5'11"`; None where it is none, or has more inches than a foot."""
    found = _FEET.fullmatch(text)
    if found is None:
        return None
    given = (found["inches"] or "0").replace(",", ".").replace("½", ".5")
    inches = float(given)
    return int(found["feet"]) * INCHES_PER_FOOT + inches if inches < INCHES_PER_FOOT else None


def are_heights(texts: Sequence[str], least: int) -> bool:
    """Whether most texts are heights, of which half have inches: 12' alone may be minutes, 12 ft has a unit as any."""
    found = [_FEET.fullmatch(text) for text in texts if inches_of(text) is not None]
    both = sum(match is not None and match["inches"] is not None for match in found)
    return len(found) >= max(least, MOSTLY * len(texts)) and 2 * both >= len(found)


def feet_text(inches: float) -> str:
    """Inches as people write a height: 5'11\"."""
    feet, rest = divmod(round(inches, 2), INCHES_PER_FOOT)
    return f"{feet:.0f}'{rest:.4g}\""

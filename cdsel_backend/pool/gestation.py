"""Weeks of gestation as people write them: 38+2, 38w2d, 38 weeks."""

from __future__ import annotations

import re

GESTATION = re.compile(
    r"(?:(?:GA|SSW|EG|SA)[:\s]*)?(?P<weeks>\d{1,2})"
    r"(?:\s*\+\s*(?P<plus>[0-6])(?:/7)?|\s+(?P<of>[0-6])/7|"
    r"\s*(?:weeks?|wks?|wochen?|w)\.?,?\s*(?:and\s+)?(?P<days>[0-6])\s*(?:days?|tage?|d)\.?)"
    r"(?:\s*(?:SSW|SA|weeks?|wks?|w))?",
    re.IGNORECASE,
)
_WHOLE_WEEKS = re.compile(
    r"(?:(?:GA|SSW|EG|SA)[:\s]*)?(\d{1,2})\s*(?:SSW|SA|weeks?|wks?|wochen?|w)?", re.IGNORECASE
)
LEAST_WEEKS, _LAST_WEEKS = 12, 46  # weeks; 3+4, 4+3 may be sums of a score


def weeks_of(text: str) -> float | None:
    """The weeks of a text such as `38+2` or `38w2d`."""
    found = GESTATION.fullmatch(text)
    if found is not None:
        days = found["plus"] or found["of"] or found["days"]
        weeks = int(found["weeks"]) + int(days) / 7
    elif whole := _WHOLE_WEEKS.fullmatch(text):
        weeks = float(whole[1])
    else:
        return None
    return weeks if weeks < _LAST_WEEKS else None


def weeks_text(weeks: float) -> str:
    """Weeks of gestation as people write them: 38+2."""
    days = round(weeks * 7)
    return f"{days // 7}+{days % 7}"

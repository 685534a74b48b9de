"""What the name of a field says of its numbers: codes, amounts, ages, dates or moments."""

from __future__ import annotations

import re
from typing import Literal

# Whole numbers are codes, without an order to cut at, where the last word of the field's name that is in either list is
# in the first: `site_anon`, `scannerID`, `deviceid`, `age_group`, but not `hospital_days` or `reader_experience`. Words
# that name an amount as often (unit, location, position, number, level) are in none.
_CODE_WORD = re.compile(
    "(?:code|type|class|category|group|site|hospital|clinic|centre|center|institution|institute|facility|department|"
    "ward|station|scanner|device|machine|camera|manufacturer|vendor|model|protocol|sequence|view|modality|operator|"
    "reader|technician|physician|batch|source|dataset|cohort|country|region)(?:id)?|id"
)
_AMOUNT_WORD = re.compile(
    "age|angle|cells|confidence|costs?|count|days?|distance|dose|duration|experience|hours?|length|months?|"
    "pressure|price|rating|score|size|stay|temperature|thickness|time|visits?|volume|weeks?|weight|years?"
)
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_AGE_WORD = re.compile(r"age|decade|jahrzehnt|alter", re.IGNORECASE)
_DATE_WORDS = ("date", "datum")
_MONTH_WORDS = frozenset((*_DATE_WORDS, "month", "monat", "mois", "mes"))
_MOMENT_WORD = re.compile(
    "timestamps?|ts|epoch|unix|time|date|datum|datetime|zeit|zeitstempel|created|updated|modified|acquired|uploaded|"
    "taken|recorded|at|utc"
)
_SPAN_WORD = re.compile(
    "exposure|echo|repetition|inversion|fluoroscopy|trigger|delay|duration|elapsed|dwell|integration"
)


def last_word(name: str) -> str:
    """The last word of a field's name, in small letters; empty where it has none."""
    return str(["", *_NAME_PART.findall(name)][-1]).casefold()


def named_as(name: str) -> Literal["", "amount", "code"]:
    """What a field's name says that its whole numbers are."""
    for word in map(str.casefold, reversed(_NAME_PART.findall(name))):
        if _AMOUNT_WORD.fullmatch(word):
            return "amount"
        if _CODE_WORD.fullmatch(word):
            return "code"
    return ""


def names_age(name: str) -> bool:
    """Whether a field's name says that it holds ages."""
    return _AGE_WORD.search(name) is not None


def names_date(name: str) -> bool:
    """Whether a field's name says that it holds dates."""
    return last_word(name) in _DATE_WORDS


def names_month(name: str) -> bool:
    """Whether a field's name says that it holds dates or months."""
    return not _MONTH_WORDS.isdisjoint(map(str.casefold, _NAME_PART.findall(name)))


def names_moment(name: str) -> bool:
    """Whether a field's name says that its numbers are moments, and not how long something takes."""
    words = [word.casefold() for word in _NAME_PART.findall(name)]
    return any(map(_MOMENT_WORD.fullmatch, words)) and not any(map(_SPAN_WORD.fullmatch, words))

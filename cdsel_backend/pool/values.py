"""How the texts of one field are read as numbers: ages, dates, decimals with a comma, units, money, `< 5`, `20 ± 2`.

What one text means can depend on the others (is 1,234 large or small), so a whole field is looked at, and what was
decided is kept as its `Reading`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cdsel_backend.pool.dates import MOSTLY, Style, are_times, date_styles, moment_of, seconds_of
from cdsel_backend.pool.gestation import GESTATION, LEAST_WEEKS, weeks_of
from cdsel_backend.pool.heights import are_heights, inches_of
from cdsel_backend.pool.quantities import (
    MARKS,
    NUMBER,
    bare,
    decimal_mark,
    joined,
    quantity_of,
    thousands_mark,
)
from cdsel_backend.pool.units import YEARS

LONGEST_NUMBER = 100  # letters of a text that may be a number, a date or a time: reports have thousands
_LOOKED_AT = 2000  # different texts, evenly spaced, from which the reading is chosen
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)  # DICOM's "age string"
_LETTERS = {unit[0]: years for unit, years in YEARS.items()}
_AGE_APART = re.compile(r"(\d{1,3}) ([dwmy])")  # beside ages spelt out alone: `5 m` may be metres
_LEAST_TIMES = 7  # different texts: fewer are levels as they stand
_YEARS_AND_MONTHS = re.compile(
    r"(\d{1,3})\s*(?:years?|yrs?|y)\.?,?\s*(?:and\s*)?(\d{1,2})\s*(?:months?|mos?|m)\.?", re.IGNORECASE
)
_ABOUT = re.compile(r"^(?:~|≈|±|ca\.?|circa|approx\.?|approximately|about|around)\s*(?=\d)", re.IGNORECASE)
_BOUNDS = (
    (re.compile(r"(?:over|above|more than|greater than|older than)\s+(?=\d)", re.IGNORECASE), ">"),
    (re.compile(r"(?:under|below|less than|younger than)\s+(?=\d)", re.IGNORECASE), "<"),
    (re.compile(r"at least\s+(?=\d)", re.IGNORECASE), ">="),
    (re.compile(r"(?:at most|up to)\s+(?=\d)", re.IGNORECASE), "<="),
)
_AND_MORE = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)?)\s*(?P<unit>[a-z%]{0,8}?)\s*(?:\+|(?:and|or) (?:over|above|older|more|up))"
    r"\s*(?P<rest>[a-z%]{0,8})",
    re.IGNORECASE,
)
_FROM_TO = re.compile(
    r"(?P<low>\d+(?:[.,]\d+)?)\s*(?:-|–|to|bis)\s*(?P<high>\d+(?:[.,]\d+)?)(?P<rest>\s*[a-z%]{0,8})",
    re.IGNORECASE,
)
_PLAIN_SHARE = 0.5
"""Of a field's texts must be numbers as they stand, where `90+` or `60-70` are read as numbers, too."""
_POINT_AND_POWER = re.compile(r"\d+[.,]\d+e\d+")
_WHOLE_AND_POWER = re.compile(r"(\d+)e(\d{1,2})")
_FLAG = re.compile(r"(?<=[\w%])(?:\s*[*!†↑↓]{1,2}| HH?| LL?|\s?[(\[](?:HH?|LL?|high|low)[)\]])$")
"""What laboratories mark a number with that is out of range: 5.1 H, 3.2*, 140 (L)."""
_NUMBERS = re.compile(NUMBER)
_MARKS_OF_NUMBERS = re.compile(r"(?<=\d)[.,](?=\d)")
_MAY_BE_THOUSANDS = re.compile(r"[.,]\d{3}(?!\d)")
_MOST_FLAGS = 0.5  # of a field's texts: where most have a letter, it is a unit
_LABELLED = re.compile(rf"(?P<label>[^\W\d_].{{0,18}}?[\s:=]\s*)(?=[<>≤≥]?=?\s*{NUMBER})")
_WITH_A_WORD = re.compile(rf"{NUMBER} (?P<word>[^\W\d_]\S{{1,19}})")


@dataclass(frozen=True)
class Reading:
    """What the texts of a field are: `decimal` is their decimal mark, `parted` what parts thousands, besides the other
    mark; `dates` the order of a date's parts.

    Numbers carry the `unit`; ages are in years, dates in seconds since 1970 (UTC where they name no zone); a month, a
    quarter and a week are their first day, and `serial` dates the days that spreadsheets count. `times` are times of
    day, or durations, in seconds. Where a reading is `loose`, `90+` and `over 90` are 90 or just beyond, and `60-70`
    is 65. `gestation` is in weeks: 38+2 is 38 weeks and 2 days. `heights` are feet and inches, in inches: 5'11" is 71.
    With `powers`, 1e3 is 1,000 and no code; marks of what is out of range, such as H in `5.1 H`, are passed over where
    numbers are `flagged`. Where the unit is the field's `own_unit`, it is none
    that is known, but stands behind nearly all of its numbers. With `either_mark`, 7,5 and 7.5 are the same, as where
    tables of two countries were put together. Each text may begin with the same `label`, such as `EF ` in `EF 55 %`.
    """

    decimal: Literal[".", ","] = "."
    parted: Literal["", " ", "'"] = ""
    dates: Style = ""
    unit: str = ""
    ages: bool = False
    times: bool = False
    loose: bool = False
    gestation: bool = False
    own_unit: bool = False
    heights: bool = False
    powers: bool = False
    flagged: bool = False
    either_mark: bool = False
    label: str = ""

    def number(self, text: str) -> float | None:
        """Return the number that a text says, or None."""
        if len(text) > LONGEST_NUMBER:
            return None
        if self.label:
            text = text.removeprefix(self.label)
        if self.dates:
            found = moment_of(text, self.dates)
            return None if found is None else found.timestamp()
        if self.gestation:
            return weeks_of(text)
        if self.times:
            return seconds_of(text)
        if self.heights:
            return inches_of(text)
        if self.flagged:
            text = _FLAG.sub("", text)
        if self.either_mark:
            text = text.replace(",", ".")
        if self.powers:
            text = _WHOLE_AND_POWER.sub(r"\1e+\2", text)
        if self.loose:
            between = _FROM_TO.fullmatch(text)
            if between:
                low, high = (self.number(between[part] + between["rest"]) for part in ("low", "high"))
                return (low + high) / 2 if low is not None and high is not None and low < high else None
            text = _tightened(text)
        if self.ages:
            both = _YEARS_AND_MONTHS.fullmatch(text)
            if both:
                return int(both[1]) + int(both[2]) / 12
            age = _AGE.fullmatch(text) or _AGE_APART.fullmatch(text)
            if age:
                return int(age[1]) * _LETTERS[age[2].lower()]
        if self.own_unit:
            text = text.removesuffix(f" {self.unit}")
        quantity = quantity_of(joined(_ABOUT.sub("", bare(text), count=1), self.parted), self.decimal)
        if quantity is None:
            return None
        number, unit = quantity
        if self.ages and unit in YEARS:
            return number * YEARS[unit]
        return number if unit.casefold() in ("", self.unit.casefold()) else None

    def count(self, texts: Mapping[str, int]) -> int:
        """Return how many of some texts, with how often each occurs, say a number."""
        return sum(count for text, count in texts.items() if self.number(text) is not None)

    def meta(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any] | None) -> Reading | None:
        """Rebuild from `meta`; None from nothing."""
        return None if meta is None else cls(**meta)


def find_reading(texts: Sequence[str], *, clock: bool = False, month: bool = False) -> Reading | None:
    """Return the reading under which a field's texts (not missing ones) are numbers, or None where they are none.

    `clock`: whether the field's name says that they are times, so that 142233 is one; `month`: that they are dates, or
    parts of them, so that 03/20 is one.
    """
    reading = _find_reading(texts, clock=clock, month=month)
    label = "" if reading else _label(_evenly(_different(texts)))
    if label:
        reading = _find_reading([text.removeprefix(label) for text in texts], clock=clock, month=month)
    return replace(reading, label=label) if reading and label else reading


def _different(texts: Iterable[str]) -> list[str]:
    """The different texts that may be numbers, in order."""
    return sorted({text for text in texts if len(text) <= LONGEST_NUMBER})


def _evenly(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, len(texts) // _LOOKED_AT)]


def _find_reading(texts: Sequence[str], *, clock: bool, month: bool) -> Reading | None:
    """`find_reading`, of texts as they are."""
    different = _different(texts)
    looked_at = _evenly(different)
    flagged = _has_flags(looked_at)
    if flagged:
        looked_at = [_FLAG.sub("", text) for text in looked_at]
    best, share = None, 0.0
    for reading in _candidates(looked_at, clock=clock, month=month):
        read = sum(reading.number(text) is not None for text in looked_at) / max(len(looked_at), 1)
        if read > share:
            best, share = reading, read
    if best is not None and not best.dates and not best.times and not best.heights and share < 1:
        powers = any(map(_POINT_AND_POWER.fullmatch, looked_at))
        for trial in (
            replace(best, powers=powers),
            replace(best, powers=powers, loose=share >= _PLAIN_SHARE),
        ):
            count = sum(trial.number(text) is not None for text in looked_at)
            if count > share * len(looked_at):
                best, share = trial, count / len(looked_at)
    if flagged and best is not None:
        best = replace(best, flagged=True)
    if best is None or best.count(Counter(texts)) < MOSTLY * len(texts):
        return None
    return None if best.unit == "%" and _shares_beside_percent(different) else best


def _label(texts: Sequence[str]) -> str:
    """What stands before the numbers of nearly all texts, such as `EF ` of `EF 55 %`; empty where nothing does.

    Where most are whole numbers without a unit it counts as nothing: they may be codes, as in `site 7`.
    """
    labels = Counter(found["label"] for found in map(_LABELLED.match, texts) if found)
    label, count = labels.most_common(1)[0] if labels else ("", 0)
    own = [text.removeprefix(label) for text in texts if text.startswith(label)]
    whole = sum(map(str.isdecimal, own)) >= _PLAIN_SHARE * len(own)
    return label if count >= max(_LEAST_TIMES, MOSTLY * len(texts)) and not whole else ""


def _shares_beside_percent(texts: Sequence[str]) -> bool:
    """Whether 0.35 beside `35 %` is a share, as spreadsheets write cells of per cent: all without the sign are <= 1."""
    found = [quantity_of(bare(text), ".") or quantity_of(bare(text), ",") for text in texts]
    plain = [quantity[0] for quantity in found if quantity is not None and not quantity[1]]
    marked = [quantity[0] for quantity in found if quantity is not None and quantity[1] == "%"]
    return any(not number.is_integer() for number in plain) and max(plain) <= 1 < max(marked, default=0)


def _has_flags(texts: Sequence[str]) -> bool:
    """Whether some of the texts are numbers that a laboratory marked, and all others such numbers without a mark."""
    marked = [text for text in texts if _FLAG.search(text)]
    if not 0 < len(marked) < _MOST_FLAGS * len(texts):
        return False
    units = Counter(_NUMBERS.sub("", _FLAG.sub("", text)).strip() for text in texts)
    usual = units.most_common(1)[0]  # where the others have a unit, a letter alone is one, too
    return usual[1] >= MOSTLY * len(texts)


def several_units(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the units of texts that are all numbers, where there are two or more; else nothing."""
    looked_at = [bare(text) for text in texts[:_LOOKED_AT]]
    found = [quantity_of(text, ".") or quantity_of(text, ",") for text in looked_at]
    units = {quantity[1] for quantity in found if quantity is not None and quantity[1]}
    if "%" in units and _shares_beside_percent(texts[:_LOOKED_AT]):
        units.add("none")
    many = sum(quantity is not None for quantity in found) >= MOSTLY * len(found)
    return tuple(sorted(units)) if many and len(units) > 1 else ()


def _candidates(texts: Sequence[str], *, clock: bool, month: bool) -> list[Reading]:
    """The readings worth trying, the likelier first."""
    found: list[Reading] = []
    if len(texts) >= _LEAST_TIMES and (clock or are_times(texts)):
        found.append(Reading(times=True))
    found += [Reading(dates=style) for style in date_styles(texts, month=month)]
    if are_heights(texts, _LEAST_TIMES):
        found.append(Reading(heights=True))
    weeks = [float(week["weeks"]) for week in map(GESTATION.fullmatch, texts) if week]
    if len(weeks) >= _LEAST_TIMES and max(weeks) >= LEAST_WEEKS:
        found.append(Reading(unit="weeks", gestation=True))
    texts = [bare(text) for text in texts]
    parted = thousands_mark(texts)
    texts = [joined(text, parted) for text in texts]
    likelier = decimal_mark(texts)
    for decimal in (likelier, *(mark for mark in MARKS if mark != likelier)):
        read = (quantity_of(text, decimal) for text in texts)
        units = Counter(quantity[1] for quantity in read if quantity is not None)
        if (
            any(_AGE.fullmatch(text) or _YEARS_AND_MONTHS.fullmatch(text) for text in texts)
            or sum(unit in YEARS for unit in units) > 1
        ):
            found.append(Reading(decimal=decimal, parted=parted, unit="years", ages=True))
        named = sorted((unit for unit in units if unit), key=lambda unit: (-units[unit], unit))
        found += [Reading(decimal=decimal, parted=parted, unit=unit) for unit in (named[0] if named else "",)]
        if own := _own_unit(texts):
            found.append(Reading(decimal=decimal, parted=parted, unit=own, own_unit=True))
    if _have_either_mark(texts):
        found += [replace(reading, either_mark=True) for reading in found if reading.decimal == "."]
    return found


def _have_either_mark(texts: Sequence[str]) -> bool:
    """Whether some decimals have a point and others a comma, and neither can part thousands."""
    marks = {frozenset(_MARKS_OF_NUMBERS.findall(text)) for text in texts}
    both = {frozenset(MARKS[:1]), frozenset(MARKS[1:])} <= marks and frozenset(MARKS) not in marks
    return both and not any(map(_MAY_BE_THOUSANDS.search, texts))


def _own_unit(texts: Sequence[str]) -> str:
    """The word that stands behind the numbers of nearly all texts, such as `20 Stk.`; empty where there is none."""
    words = Counter(found["word"] for found in map(_WITH_A_WORD.fullmatch, texts) if found)
    word, count = words.most_common(1)[0] if words else ("", 0)
    return word if count >= max(_LEAST_TIMES, MOSTLY * len(texts)) else ""


def _tightened(text: str) -> str:
    """A text such as `90+` or `over 90` as a number with a sign."""
    more = _AND_MORE.fullmatch(text)
    if more:
        return f">={more['number']} {more['unit'] or more['rest']}"
    for pattern, sign in _BOUNDS:
        if pattern.match(text):
            return sign + pattern.sub("", text, count=1)
    return text

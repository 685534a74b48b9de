"""How the texts of one field are read as numbers: ages, dates, decimals with a comma, per cent, units, `< 5`.

What one text means can depend on the others (is 1,234 large or small; is 01/02 a day in January or February), so a
whole field is looked at, and what was decided is kept as its `Reading`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal

_MARKS: tuple[Literal[".", ","], ...] = (".", ",")
MOSTLY = 0.95  # of a field's texts must be read for the field to be numeric
_LOOKED_AT = 2000  # different texts, evenly spaced, from which the reading is chosen

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(
    rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<number>{_NUMBER})\s*(?P<unit>[^\d\s<>=][^<>=]{{0,15}})?"
)
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)  # DICOM's "age string"
_YEARS = {"days": 1 / 365.25, "weeks": 7 / 365.25, "months": 1 / 12, "years": 1.0}
_LETTERS = {unit[0]: years for unit, years in _YEARS.items()}
_TIME = r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
_COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)(?:\.\d+)?)?(?:\.0)?")
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = r"(?P<month>(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*)\.?"
_MONTH_NAMED = re.compile(
    rf"(?:(?P<day>\d{{1,2}})(?P<mark>[-/. ]){_MONTH}[-/. ,]+|{_MONTH.replace('month', 'first')} (?P<last>\d{{1,2}}),? )"
    rf"(?P<year>\d{{4}}){_TIME}",
    re.IGNORECASE,
)
_YEAR_SHORT = re.compile(r"\d{1,2}([-/.])\d{1,2}\1\d{2}")
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}")

_WORDS = {
    **dict.fromkeys(
        ("year", "yr", "yrs", "y", "yo", "y.o", "y/o", "years old", "year old", "yrs old"), "years"
    ),
    **{
        "month": "months",
        "week": "weeks",
        "day": "days",
        "percent": "%",
        "pct": "%",
        "sec": "s",
        "hours": "h",
    },
    **{"µm": "um", "μm": "um", "µg": "ug"},
}
_UNIT_NAMES = """
% ‰ years months weeks days h min s ms nm um mm cm m km in ng ug mg g kg ul ml cl dl l mv v kv kvp ua ma mas gy cgy mgy
sv msv hz khz mhz ghz t mt bq kbq mbq gbq mci ° °c °f deg bpm mmhg kpa px pixels dpi ppi mol mmol umol iu miu hu db
cells copies"""
_UNITS = frozenset(_UNIT_NAMES.split())
_IN_ASCII = str.maketrans("−－＋．，％＜＞٪٫’", "--+.,%<>%.'", "٬")
_GROUPED = {
    mark: re.compile(
        rf"(?P<before>(?:[<>≤≥]=?\s*)?[+-]?)(?P<whole>\d{{1,3}}(?:{mark}\d{{3}})+)(?![\d{mark}]\d)(?P<rest>.*)$"
    )
    for mark in (" ", "'")
}
_POWER = re.compile(r"\^?([23])$|([²³])$")


@dataclass(frozen=True)
class Reading:
    """What the texts of a field are: `decimal` is their decimal mark, `parted` what parts thousands, besides the other
    mark; `dates` the order of a date's parts.

    Numbers carry the `unit`; ages are in years, dates in seconds since 1970 (UTC where they name no zone).
    """

    decimal: Literal[".", ","] = "."
    parted: Literal["", " ", "'"] = ""
    dates: Literal["", "year first", "day first", "month first", "month named"] = ""
    unit: str = ""
    ages: bool = False

    def number(self, text: str) -> float | None:
        """Return the number that a text says, or None."""
        if self.dates:
            found = _date(text, self.dates)
            return None if found is None else found.timestamp()
        if self.ages:
            age = _AGE.fullmatch(text)
            if age:
                return int(age[1]) * _LETTERS[age[2].lower()]
        quantity = _quantity(_joined(text, self.parted), self.decimal)
        if quantity is None:
            return None
        number, unit = quantity
        if self.ages and unit in _YEARS:
            return number * _YEARS[unit]
        return number if unit.casefold() in ("", self.unit.casefold()) else None

    def meta(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any] | None) -> Reading | None:
        """Rebuild from `meta`; None from nothing."""
        return None if meta is None else cls(**meta)


def find_reading(texts: Sequence[str]) -> Reading | None:
    """Return the reading under which a field's texts (not missing ones) are numbers, or None where they are none."""
    different = sorted(set(texts))
    looked_at = different[:: max(1, len(different) // _LOOKED_AT)]
    best, share = None, 0.0
    for reading in _candidates(looked_at):
        read = sum(reading.number(text) is not None for text in looked_at) / max(len(looked_at), 1)
        if read > share:
            best, share = reading, read
    if best is None or sum(best.number(text) is not None for text in texts) < MOSTLY * len(texts):
        return None
    return best


def several_units(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the units of texts that are all numbers, where there are two or more; else nothing."""
    found = [_quantity(text, ".") or _quantity(text, ",") for text in texts[:_LOOKED_AT]]
    units = {quantity[1] for quantity in found if quantity is not None and quantity[1]}
    many = sum(quantity is not None for quantity in found) >= MOSTLY * len(found)
    return tuple(sorted(units)) if many and len(units) > 1 else ()


def ambiguous_dates(texts: Sequence[str]) -> bool:
    """Whether texts are dates, but nothing says which number is the day and which the month, or what century it is."""
    found = [_YEAR_LAST.fullmatch(text) or _YEAR_SHORT.fullmatch(text) for text in texts[:_LOOKED_AT]]
    return sum(date is not None for date in found) >= MOSTLY * max(len(found), 1)


def _candidates(texts: Sequence[str]) -> list[Reading]:
    """The readings worth trying, the likelier first."""
    found: list[Reading] = []
    if any(_COMPACT.fullmatch(text) or _YEAR_FIRST.fullmatch(text) for text in texts):
        found.append(Reading(dates="year first"))
    if any(_MONTH_NAMED.fullmatch(text) for text in texts):
        found.append(Reading(dates="month named"))
    order = _order(texts)
    if order:
        found.append(Reading(dates=order))
    parted = _parted(texts)
    texts = [_joined(text, parted) for text in texts]
    likelier = _decimal_mark(texts)
    for decimal in (likelier, *(mark for mark in _MARKS if mark != likelier)):
        read = (_quantity(text, decimal) for text in texts)
        units = Counter(quantity[1] for quantity in read if quantity is not None)
        if any(_AGE.fullmatch(text) for text in texts) or sum(unit in _YEARS for unit in units) > 1:
            found.append(Reading(decimal=decimal, parted=parted, unit="years", ages=True))
        named = sorted((unit for unit in units if unit), key=lambda unit: (-units[unit], unit))
        found += [Reading(decimal=decimal, parted=parted, unit=unit) for unit in (named[0] if named else "",)]
    return found


def _parted(texts: Sequence[str]) -> Literal["", " ", "'"]:
    """What parts thousands in texts: a blank, of whatever width, or an apostrophe; nothing where that is not sure.

    Whole numbers with blanks that all have as many digits, or begin with 0, may be codes, as of places (75 001).
    """
    marks: tuple[Literal[" ", "'"], ...] = (" ", "'")
    for mark in marks:
        found = [number for number in map(_GROUPED[mark].match, map(in_ascii, texts)) if number]
        if not found:
            continue
        if any(number["whole"].startswith("0") for number in found):
            return ""
        whole = all(number["rest"] == "" for number in found)
        if mark == " " and whole and len({len(number["whole"]) for number in found}) == 1:
            return ""
        return mark
    return ""


def _joined(text: str, parted: str) -> str:
    """A text whose number has no marks between its thousands."""
    found = _GROUPED[parted].match(in_ascii(text)) if parted else None
    if found is None:
        return text
    return found["before"] + found["whole"].replace(parted, "") + found["rest"]


def _order(texts: Sequence[str]) -> Literal["", "day first", "month first"]:
    """Which comes first in dates that end with the year; nothing where nothing, or something contrary, says so."""
    parts = [found for found in map(_YEAR_LAST.fullmatch, texts) if found]
    days = {
        "day first": any(int(p[1]) > 12 for p in parts),
        "month first": any(int(p[3]) > 12 for p in parts),
    }
    if days["day first"] != days["month first"]:
        return "day first" if days["day first"] else "month first"
    dots = bool(parts) and all(p[2] == "." for p in parts)  # written in this order only
    return "day first" if dots and not days["month first"] else ""


def _decimal_mark(texts: Sequence[str]) -> Literal[".", ","]:
    """Return the decimal mark: what stands last where both do, else a comma that cannot part thousands."""
    commas = [
        found["number"] for found in map(_QUANTITY.fullmatch, texts) if found and "," in found["number"]
    ]
    both = [number for number in commas if "." in number]
    if both:
        return "," if all(number.rfind(",") > number.rfind(".") for number in both) else "."
    if any("." in text for text in texts):
        return "."
    thousands = all(re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", number) for number in commas)
    return "." if not commas or thousands else ","


def _quantity(text: str, decimal: str) -> tuple[float, str] | None:
    """Return (number, unit) of a text such as `1,5 mm`, `5%` or `< 5`; None for what is no number with a known unit."""
    found = _QUANTITY.fullmatch(in_ascii(text.strip()))
    if found is None:
        return None
    unit = _unit(found["unit"] or "")
    number = found["number"]
    other = "." if decimal == "," else ","
    whole = re.split(r"[eE]", number)[0].split(decimal)[0]
    if other in number:
        grouped = re.fullmatch(rf"[+-]?\d{{1,3}}(?:\{other}\d{{3}})+", whole)
        if grouped is None or other in number[len(whole) :]:
            return None
    plain = number.replace(other, "").replace(decimal, ".")
    if unit is None or plain.count(".") > 1 or re.fullmatch(r"\d+[eE]\d+|\d{16,}", plain):
        return None
    value = float(plain)
    if not math.isfinite(value):
        return None
    if found["sign"] in ("<", ">"):  # just beyond, so that it falls on the right side of a cut
        value = math.nextafter(value, -math.inf if found["sign"] == "<" else math.inf)
    return value, unit


def in_ascii(text: str) -> str:
    """A text whose signs and marks of numbers are those of ASCII: the true minus, full-width and Arabic ones."""
    return text if text.isascii() else text.translate(_IN_ASCII)


def _unit(text: str) -> str | None:
    """Return a known unit in one spelling, "" for none, None for what is no unit."""
    unit = text.strip().rstrip(".").casefold()
    if not unit:
        return ""
    unit = _WORDS.get(unit, unit)
    parts = [_WORDS.get(part.strip(), part.strip()) for part in unit.split("/")]
    known = all(part in _UNITS or _POWER.sub("", part) in _UNITS for part in parts)
    if not known or len(parts) > 2:
        return None
    if len(parts) == 1 and parts[0] in _WORDS.values():
        return parts[0]
    return re.sub(r"\^?2$", "²", re.sub(r"\^?3$", "³", text.strip()))


def _date(text: str, order: str) -> datetime | None:
    if order == "year first":
        compact = _COMPACT.fullmatch(text)
        if compact:
            return _moment(compact[1], compact[2], compact[3], compact.groups()[3:], None)
        found = _YEAR_FIRST.fullmatch(text)
        return None if found is None else _moment(found[1], found[3], found[4], found.groups()[4:7], found[8])
    if order == "month named":
        named = _MONTH_NAMED.fullmatch(text)
        if named is None:
            return None
        number = _MONTHS.index((named["month"] or named["first"])[:3].lower()) + 1
        *time, zone = named.groups()[-4:]
        return _moment(named["year"], str(number), named["day"] or named["last"], time, zone)
    found = _YEAR_LAST.fullmatch(text)
    if found is None:
        return None
    day, month = (found[1], found[3]) if order == "day first" else (found[3], found[1])
    return _moment(found[4], month, day, found.groups()[4:7], found[8])


def _moment(year: str, month: str, day: str, time: Sequence[str | None], zone: str | None) -> datetime | None:
    try:
        hours, minutes, seconds = (int(part or 0) for part in time)
        moment = datetime(int(year), int(month), int(day), hours, minutes, seconds, tzinfo=timezone.utc)
        if zone and zone != "Z":
            return moment.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo)
    except ValueError:
        return None
    return moment

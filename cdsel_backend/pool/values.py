"""How the texts of one field are read as numbers: ages, dates, decimals with a comma, per cent, units, `< 5`.

What one text means can depend on the others (is 1,234 large or small; is 01/02 a day in January or February), so a
whole field is looked at, and what was decided is kept as its `Reading`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
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
_ZONE = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})?(?:\[[A-Za-z/_+-]+\])?"
_TIME = rf"(?:,?[T ](\d{{1,2}}):(\d{{2}})(?::(\d{{2}})(?:[.,]\d+)?)?\s*([AaPp][Mm])?\s*{_ZONE})?"
_COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)(?:\.\d+)?)?(?:\.0)?")
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = r"(?P<month>(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*)\.?"
_MONTH_NAMED = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]? )?"
    rf"(?:(?P<day>\d{{1,2}})(?P<mark>[-/. ]){_MONTH}[-/. ,]+|{_MONTH.replace('month', 'first')} (?P<last>\d{{1,2}}),? )"
    rf"(?P<year>\d{{4}}){_TIME}",
    re.IGNORECASE,
)
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NUMBERED = r"(?P<number>0?[1-9]|1[0-2])"
_MONTHS_ONLY = (
    re.compile(rf"{_YEAR}[-/.]{_NUMBERED}"),
    re.compile(rf"{_NUMBERED}[-/.]{_YEAR}"),
    re.compile(rf"{_MONTH}[-/. ,]+{_YEAR}", re.IGNORECASE),
)
_DAY_OF_MONTH = re.compile(
    rf"{_YEAR}([-/.]){_NUMBERED}\2\d{{1,2}}"
)  # beside months, where the day is not always known
_QUARTERS = (
    re.compile(rf"{_YEAR}[-/ ]?Q(?P<number>[1-4])", re.IGNORECASE),
    re.compile(rf"Q(?P<number>[1-4])[-/ ]{_YEAR}", re.IGNORECASE),
)
_WEEKS = (re.compile(rf"{_YEAR}-?W(?P<number>\d\d)", re.IGNORECASE),)
MONTH_AS_NUMBER = re.compile(r"(?:0?[1-9]|1[0-2])\.(?:19|20)\d\d|(?:19|20)\d\d\.(?:0[1-9]|1[0-2])")
_CLOCK = re.compile(
    r"(?:(?P<days>\d+) days?,? )?(?P<h>\d{1,3}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:[.,]\d+)?)?"
    r"(?:\s?(?P<half>[ap])\.?m\.?)?",
    re.IGNORECASE,
)
_SPELT = re.compile(
    r"(?:(?P<h>\d+)\s*h(?:ours?|rs?)?\.?)?\s*(?:(?P<m>\d+)\s*(?:m(?:in(?:utes?|s)?)?\.?)?)?\s*"
    r"(?:(?P<s>\d+)\s*s(?:ec(?:onds?|s)?)?\.?)?",
    re.IGNORECASE,
)
_ISO_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?T?(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+)(?:\.\d+)?S)?"
)
_DICOM_TIME = re.compile(r"(?P<h>[01]\d|2[0-3])(?P<m>[0-5]\d)(?P<s>[0-5]\d)(?:\.\d+)?")
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
_PLAIN_SHARE = (
    0.5  # of a field's texts must be numbers as they stand, where `90+` or `60-70` are read as numbers, too
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
_NOTHING = 1e-300  # what is smaller is `< 0` or `> 0`
_SERIAL_START = datetime(1899, 12, 30, tzinfo=timezone.utc)  # the day 0 of spreadsheets
_POWER = re.compile(r"\^?([23])$|([²³])$")


@dataclass(frozen=True)
class Reading:
    """What the texts of a field are: `decimal` is their decimal mark, `parted` what parts thousands, besides the other
    mark; `dates` the order of a date's parts.

    Numbers carry the `unit`; ages are in years, dates in seconds since 1970 (UTC where they name no zone); a month, a
    quarter and a week are their first day, and `serial` dates the days that spreadsheets count. `times` are times of
    day, or durations, in seconds. Where a reading is `loose`, `90+` and `over 90` are 90 or just beyond, and `60-70`
    is 65.
    """

    decimal: Literal[".", ","] = "."
    parted: Literal["", " ", "'"] = ""
    dates: Literal[
        "", "year first", "day first", "month first", "month named", "months", "quarters", "weeks", "serial"
    ] = ""
    unit: str = ""
    ages: bool = False
    times: bool = False
    loose: bool = False

    def number(self, text: str) -> float | None:
        """Return the number that a text says, or None."""
        if self.dates:
            found = _date(text, self.dates)
            return None if found is None else found.timestamp()
        if self.times:
            return _seconds(text)
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
            age = _AGE.fullmatch(text)
            if age:
                return int(age[1]) * _LETTERS[age[2].lower()]
        quantity = _quantity(_joined(_ABOUT.sub("", text, count=1), self.parted), self.decimal)
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


def find_reading(texts: Sequence[str], *, clock: bool = False) -> Reading | None:
    """Return the reading under which a field's texts (not missing ones) are numbers, or None where they are none.

    `clock`: whether the field's name says that they are times, so that 142233 is one.
    """
    different = sorted(set(texts))
    looked_at = different[:: max(1, len(different) // _LOOKED_AT)]
    best, share = None, 0.0
    for reading in _candidates(looked_at, clock=clock):
        read = sum(reading.number(text) is not None for text in looked_at) / max(len(looked_at), 1)
        if read > share:
            best, share = reading, read
    if best is not None and not best.dates and not best.times and _PLAIN_SHARE <= share < 1:
        loose = replace(best, loose=True)
        if sum(loose.number(text) is not None for text in looked_at) > share * len(looked_at):
            best = loose
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


def _candidates(texts: Sequence[str], *, clock: bool) -> list[Reading]:
    """The readings worth trying, the likelier first."""
    found: list[Reading] = []
    for dates, patterns in _PARTS_OF_YEARS.items():
        if any(pattern.fullmatch(text) for text in texts for pattern in patterns):
            found.append(Reading(dates=dates))
    if len(texts) >= _LEAST_TIMES and (clock or _are_times(texts)):
        found.append(Reading(times=True))
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
        if (
            any(_AGE.fullmatch(text) or _YEARS_AND_MONTHS.fullmatch(text) for text in texts)
            or sum(unit in _YEARS for unit in units) > 1
        ):
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


def _tightened(text: str) -> str:
    """A text such as `90+` or `over 90` as a number with a sign."""
    more = _AND_MORE.fullmatch(text)
    if more:
        return f">={more['number']} {more['unit'] or more['rest']}"
    for pattern, sign in _BOUNDS:
        if pattern.match(text):
            return sign + pattern.sub("", text, count=1)
    return text


def _are_times(texts: Sequence[str]) -> bool:
    """Whether some of the texts are times or durations; 1:10 beside 1:20 and 1:40 may be ratios."""
    clocks = [found for found in map(_CLOCK.fullmatch, texts) if found]
    if any(found["s"] or found["half"] for found in clocks) or len({found["h"] for found in clocks}) > 1:
        return True
    return any(
        (spelt := _SPELT.fullmatch(text)) and spelt["h"] and (spelt["m"] or spelt["s"]) for text in texts
    ) or any(_ISO_DURATION.fullmatch(text) and "T" in text for text in texts)


def _seconds(text: str) -> float | None:
    """The seconds of a time of day or a duration, fractions left out."""
    for pattern in (_CLOCK, _DICOM_TIME, _ISO_DURATION, _SPELT):
        found = pattern.fullmatch(text.strip())
        parts = found.groupdict() if found else {}
        if not found or not any(parts.get(name) for name in ("days", "h", "m", "s")):
            continue
        if pattern is _SPELT and text.strip().isdigit():
            return None
        hours = int(parts.get("h") or 0)
        if half := (parts.get("half") or "").lower():
            hours = hours % 12 + (12 if half == "p" else 0)
        days = int(parts.get("days") or 0)
        return float(((24 * days + hours) * 60 + int(parts.get("m") or 0)) * 60 + int(parts.get("s") or 0))
    return None


def has_sign(x: float) -> bool:
    """Whether a number was read from a text such as `< 5` or `> 90`."""
    whole = float(f"{x:.12g}")
    return 0 < abs(x) < _NOTHING or x in (math.nextafter(whole, math.inf), math.nextafter(whole, -math.inf))


def number_text(x: float, text: str) -> str:
    """`text`, which is a number, with the sign that it was read with."""
    if has_sign(x):
        return f"{'>' if x > float(f'{x:.12g}') else '<'}{text}"
    return text


def clock_text(seconds: float, *, exact: bool) -> str:
    """Seconds as a clock shows them, 04:28 or 04:28:59; `exact`: with its seconds."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{rest:02}" if exact else text


def date_text(moment: datetime, dates: str) -> str:
    """A day as its field gives dates: 2020-03-14, 2020-03, 2020-Q1 or 2020-W11."""
    if dates == "months":
        return f"{moment:%Y-%m}"
    if dates == "quarters":
        return f"{moment.year:04}-Q{(moment.month + 2) // 3}"
    if dates == "weeks":
        year, week, _ = moment.isocalendar()
        return f"{year:04}-W{week:02}"
    return moment.date().isoformat()


_PARTS_OF_YEARS: Mapping[Literal["months", "quarters", "weeks"], tuple[re.Pattern[str], ...]] = {
    "months": _MONTHS_ONLY,
    "quarters": _QUARTERS,
    "weeks": _WEEKS,
}


def _part_of_year(text: str, dates: Literal["months", "quarters", "weeks"]) -> datetime | None:
    patterns = (*_PARTS_OF_YEARS[dates], *((_DAY_OF_MONTH,) if dates == "months" else ()))
    found = next((match for pattern in patterns if (match := pattern.fullmatch(text))), None)
    if found is None:
        return None
    parts = found.groupdict()
    year = int(parts["year"])
    month = parts.get("month")
    number = _MONTHS.index(month[:3].lower()) + 1 if month else int(parts["number"])
    if dates == "weeks":
        try:
            return datetime.combine(date.fromisocalendar(year, number, 1), time(), timezone.utc)
        except ValueError:
            return None
    return datetime(year, 3 * number - 2 if dates == "quarters" else number, 1, tzinfo=timezone.utc)


def _date(text: str, order: str) -> datetime | None:
    if order in ("months", "quarters", "weeks"):
        return _part_of_year(text, order)  # type: ignore[arg-type]
    if order == "serial":
        try:
            return _SERIAL_START + timedelta(days=float(text)) if float(text) < 10**6 else None
        except ValueError:
            return None
    if order == "year first":
        compact = _COMPACT.fullmatch(text)
        if compact:
            return _moment(compact[1], compact[2], compact[3], compact.groups()[3:], None)
        found = _YEAR_FIRST.fullmatch(text)
        return None if found is None else _moment(found[1], found[3], found[4], found.groups()[4:8], found[9])
    if order == "month named":
        named = _MONTH_NAMED.fullmatch(text)
        if named is None:
            return None
        number = _MONTHS.index((named["month"] or named["first"])[:3].lower()) + 1
        *clock, zone = named.groups()[-5:]
        return _moment(named["year"], str(number), named["day"] or named["last"], clock, zone)
    found = _YEAR_LAST.fullmatch(text)
    if found is None:
        return None
    day, month = (found[1], found[3]) if order == "day first" else (found[3], found[1])
    return _moment(found[4], month, day, found.groups()[4:8], found[9])


def _moment(
    year: str, month: str, day: str, clock: Sequence[str | None], zone: str | None
) -> datetime | None:
    """`clock`: hours, minutes, seconds, and perhaps AM or PM."""
    try:
        hours, minutes, seconds = (int(part or 0) for part in clock[:3])
        if half := (clock[3] if len(clock) > 3 else None):
            hours = hours % 12 + (12 if half.lower() == "pm" else 0)
        moment = datetime(int(year), int(month), int(day), hours, minutes, seconds, tzinfo=timezone.utc)
        if zone and zone not in ("Z", "UTC", "GMT"):
            return moment.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo)
    except ValueError:
        return None
    return moment

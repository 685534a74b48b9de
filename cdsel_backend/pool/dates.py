"""How texts say days, parts of years, moments and times: 2020-01-31, 31 Jan 2020, Mar-20, 2020-Q1, 14:30, 2 h 10 min.

A field writes them in one `Style`, or mixes several; what a text means can depend on the others (is 01/02 a day in
January or February).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Literal

Style = Literal[
    "",
    "year first",
    "day first",
    "month first",
    "month named",
    "months",
    "quarters",
    "weeks",
    "serial",
    "mixed",
    "mixed, day first",
    "mixed, month first",
    "unix s",
    "unix ms",
    "unix us",
    "unix ns",
]

MOSTLY = 0.95  # of a field's texts must be read as one thing for the field to be that

_ZONE = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})?(?:\[[A-Za-z/_+-]+\])?"
_TIME = rf"(?:,?[T ](\d{{1,2}}):(\d{{2}})(?::(\d{{2}})(?:[.,]\d+)?)?\s*([AaPp][Mm])?\s*{_ZONE})?"
_COMPACT = re.compile(  # as DICOM and HL7 write moments, too: 20200131103000.000000+0100, 202001311030+0100
    rf"((?:19|20)\d\d)(\d\d)(\d\d)(?:T?(\d\d)(\d\d)(?:(\d\d)(?:\.\d+)?)?{_ZONE})?(?:\.0)?"
)
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.:])(\d{{1,2}})\2(\d{{1,2}}){_TIME}")
_WEEKDAY = r"(?:[^\W\d_]{2,10}[.,]{0,2} )?"
_YEAR_LAST = re.compile(rf"{_WEEKDAY}(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}")
_YEAR_SHORT = re.compile(r"\d{1,2}([-/.])\d{1,2}\1\d{2}")
_MONTH_NAMES = tuple(
    tuple(names.split())
    for names in (
        "january januar jänner janvier enero gennaio januari janeiro",
        "february februar februari février febrero febbraio fevereiro",
        "march märz mrz mars marzo maart mrt março",
        "april avril abril aprile",
        "may mai mayo maggio mei maio maj",
        "june juni juin junio giugno junho",
        "july juli juillet julio luglio julho",
        "august août agosto augustus augusti",
        "september septembre septiembre setiembre settembre setembro",
        "october oktober octobre octubre ottobre outubro",
        "november novembre noviembre novembro",
        "december dezember décembre diciembre dicembre dezembro",
    )
)
_MONTH = r"(?P<month>[^\W\d_]{3,10})\.?"
# As C's asctime writes it.
_OF_C = re.compile(r"[^\W\d_]{3} ([^\W\d_]{3}) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d)(?: [A-Z]{3,5})? (\d{4})")
_MONTH_NAMED = (
    re.compile(
        rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th|er|º)?(?:[-/.]| |\. | de ){_MONTH}(?:[-/. ,]+| de )"
        rf"(?P<year>\d{{4}}|\d{{2}}){_TIME}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_WEEKDAY}{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year>\d{{4}}){_TIME}", re.IGNORECASE
    ),
)
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NUMBERED = r"(?P<number>0?[1-9]|1[0-2])"
_MONTH_AND_SHORT_YEAR = re.compile(rf"{_MONTH}[-/. ]+['’]?(?P<year>\d\d)")
_MONTH_AND_TWO_DIGITS = re.compile(r"(?P<number>0[1-9]|1[0-2])/(?P<year>\d\d)")
_MONTHS_ONLY = (
    re.compile(rf"{_YEAR}[-/.]{_NUMBERED}"),
    re.compile(rf"{_NUMBERED}[-/.]{_YEAR}"),
    re.compile(rf"{_MONTH}(?:[-/. ,]+| de ){_YEAR}", re.IGNORECASE),
    _MONTH_AND_SHORT_YEAR,
    _MONTH_AND_TWO_DIGITS,
)
# Beside months, where the day is not always known.
_DAY_OF_MONTH = re.compile(rf"{_YEAR}([-/.]){_NUMBERED}\2\d{{1,2}}")
_QUARTERS = (
    re.compile(rf"{_YEAR}[-/ ]?Q(?P<number>[1-4])", re.IGNORECASE),
    re.compile(rf"Q(?P<number>[1-4])[-/ ]{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?P<number>[1-4])\. ?Quartal {_YEAR}", re.IGNORECASE),
)
_WEEKS = (re.compile(rf"{_YEAR}-?W(?P<number>\d\d)", re.IGNORECASE),)
_PARTS_OF_YEARS: Mapping[Literal["months", "quarters", "weeks"], tuple[re.Pattern[str], ...]] = {
    "months": _MONTHS_ONLY,
    "quarters": _QUARTERS,
    "weeks": _WEEKS,
}
MONTH_AS_NUMBER = re.compile(r"(?:0?[1-9]|1[0-2])\.(?:19|20)\d\d|(?:19|20)\d\d\.(?:0[1-9]|1[0-2])")
_LEAST_MONTHS = 7  # different texts such as 03/20, by which they are distinguished from days
_SERIAL_START = datetime(1899, 12, 30, tzinfo=timezone.utc)  # the day 0 of spreadsheets
_SERIAL = re.compile(r"[2-5]\d{4}(?:\.\d+)?")  # among other dates: 1954 to 2064
_FIRST_UNIX, _LAST_UNIX = 631_152_000, 2_208_988_800  # 1990 to 2040
_MIXED: Mapping[str, Style] = {
    "": "mixed",
    "day first": "mixed, day first",
    "month first": "mixed, month first",
}
_UNIX: Mapping[Style, float] = {"unix s": 1.0, "unix ms": 1e3, "unix us": 1e6, "unix ns": 1e9}

_CLOCK = re.compile(
    r"(?:(?P<days>\d+) days?,? )?(?P<h>\d{1,3}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:[.,]\d+)?)?"
    r"(?:\s?(?P<half>[ap])\.?m\.?|\s?(?:uhr|hrs?|h))?",
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


def date_styles(texts: Sequence[str], *, month: bool = False) -> list[Style]:
    """The styles worth trying for the dates of a field, the likelier first; nothing where none of the texts is one.

    `month`: whether the field's name says that they are dates or months.
    """
    found: list[Style] = [
        style
        for style, patterns in _PARTS_OF_YEARS.items()
        if any(_part_of_year(text, style) for text in texts if any(p.fullmatch(text) for p in patterns))
        and not (style == "months" and (_days_without_year(texts) or not _are_months(texts, month)))
    ]
    days: list[Style] = []
    if any(_COMPACT.fullmatch(text) or _YEAR_FIRST.fullmatch(text) for text in texts):
        days.append("year first")
    if any(_month_named(text) for text in texts):
        days.append("month named")
    last = [parts for parts in map(_YEAR_LAST.fullmatch, texts) if parts]
    # Dots stand in dates of which the day comes first, whatever slashes say.
    slashes = [parts for parts in last if parts[2] != "."]
    serial = bool(days or last) and any(_SERIAL.fullmatch(text) for text in texts)
    several = len(days) + bool(slashes) + (len(last) > len(slashes)) + serial > 1
    if order := _order(last):
        days.append(order)
    mixed: list[Style] = []
    if several:
        mixed = [_MIXED[_order(slashes)]]
    return [*found, *days, *mixed]


def _days_without_year(texts: Sequence[str]) -> bool:
    """Whether Mar-05 is a day in March: then numbers of a month's beginning and of its end occur."""
    numbers = {int(found["year"]) for found in map(_MONTH_AND_SHORT_YEAR.fullmatch, texts) if found}
    return bool(numbers) and min(numbers) <= 5 and 28 <= max(numbers) <= 31


def _are_months(texts: Sequence[str], named: bool) -> bool:
    """Whether 03/20, where most texts are such, is March 2020 and not the 20th of March or two numbers.

    A number beyond 31 is a year, and so is each where the field's name says a date and they do not range as days do.
    """
    found = [match for match in map(_MONTH_AND_TWO_DIGITS.fullmatch, texts) if match]
    if len(found) < len(texts) / 2:  # others say what they are
        return True
    years = {int(match["year"]) for match in found}
    days = min(years) <= 5 and 28 <= max(years) <= 31
    if len(found) < MOSTLY * len(texts) or len(years) == 1:
        return False
    return max(years) > 31 or (named and not days and len(found) >= _LEAST_MONTHS)


def unix_style(least: float, greatest: float) -> Style:
    """In what a field of numbers counts time since 1970, where all of them lie between 1990 and 2040; else nothing."""
    for style, a_second in _UNIX.items():
        if _FIRST_UNIX * a_second <= least and greatest <= _LAST_UNIX * a_second:
            return style
    return ""


def _order(parts: Sequence[re.Match[str]]) -> Literal["", "day first", "month first"]:
    """Which comes first in dates that end with the year; nothing where nothing, or something contrary, says so."""
    days = {
        "day first": any(int(p[1]) > 12 for p in parts),
        "month first": any(int(p[3]) > 12 for p in parts),
    }
    if days["day first"] != days["month first"]:
        return "day first" if days["day first"] else "month first"
    dots = bool(parts) and all(p[2] == "." for p in parts)  # written in this order only
    return "day first" if dots and not days["month first"] else ""


def ambiguous_dates(texts: Sequence[str]) -> bool:
    """Whether texts are dates, but nothing says which number is the day and which the month, or what century it is."""
    found = [_YEAR_LAST.fullmatch(text) or _YEAR_SHORT.fullmatch(text) for text in texts]
    return sum(date is not None for date in found) >= MOSTLY * max(len(found), 1)


def moment_of(text: str, style: Style) -> datetime | None:
    """The moment that a text of a field says, UTC where it names no zone; None where it is none of that style."""
    if style in ("months", "quarters", "weeks"):
        return _part_of_year(text, style)
    if style in ("serial", *_UNIX):
        try:
            number = float(text)
        except ValueError:
            return None
        if style == "serial":
            return _SERIAL_START + timedelta(days=number) if 0 <= number < 10**6 else None
        seconds = number / _UNIX[style]
        return datetime.fromtimestamp(seconds, timezone.utc) if _FIRST_UNIX <= seconds <= _LAST_UNIX else None
    if style.startswith("mixed"):
        order: Style = "month first" if style.endswith("month first") else "day first"
        found = moment_of(text, "year first") or _month_named(text)
        if found is None and _SERIAL.fullmatch(text):
            return moment_of(text, "serial")
        if found is None and ("." in text[:3] or style != "mixed"):
            return moment_of(text, "day first" if "." in text[:3] else order)
        return found
    if style == "year first":
        compact = _COMPACT.fullmatch(text)
        if compact:
            return _moment(compact[1], compact[2], compact[3], compact.groups()[3:6], compact[7])
        first = _YEAR_FIRST.fullmatch(text)
        return None if first is None else _moment(first[1], first[3], first[4], first.groups()[4:8], first[9])
    if style == "month named":
        return _month_named(text)
    last = _YEAR_LAST.fullmatch(text)
    if last is None:
        return None
    day, month = (last[1], last[3]) if style == "day first" else (last[3], last[1])
    return _moment(last[4], month, day, last.groups()[4:8], last[9])


def date_text(moment: datetime, style: Style | str) -> str:
    """A day as its field gives dates: 2020-03-14, 2020-03, 2020-Q1 or 2020-W11."""
    if style == "months":
        return f"{moment:%Y-%m}"
    if style == "quarters":
        return f"{moment.year:04}-Q{(moment.month + 2) // 3}"
    if style == "weeks":
        year, week, _ = moment.isocalendar()
        return f"{year:04}-W{week:02}"
    return moment.date().isoformat()


def _month_named(text: str) -> datetime | None:
    text = _OF_C.sub(r"\2 \1 \4 \3", text)
    for pattern in _MONTH_NAMED:
        found = pattern.fullmatch(text)
        number = _month_of(found["month"]) if found else None
        if found and number:
            *clock, zone = found.groups()[-5:]
            return _moment(_full_year(found["year"]), str(number), found["day"], clock, zone)
    return None


@lru_cache(maxsize=1000)
def _month_of(name: str) -> int | None:
    """The month (1-12) of a name, or of its beginning, in the languages listed above; None where it is none, or two."""
    start = _plain_letters(name)
    months = {
        number
        for number, names in enumerate(_MONTH_NAMES, 1)
        for full in names
        if _plain_letters(full).startswith(start)
    }
    return months.pop() if len(months) == 1 else None


def _plain_letters(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _full_year(year: str) -> str:
    """A year of two digits with its century, as POSIX reads it: 1969 to 2068."""
    return year if len(year) == 4 else f"{19 if int(year) >= 69 else 20}{year}"


def _part_of_year(text: str, style: Literal["months", "quarters", "weeks"]) -> datetime | None:
    patterns = (*_PARTS_OF_YEARS[style], *((_DAY_OF_MONTH,) if style == "months" else ()))
    found = next((match for pattern in patterns if (match := pattern.fullmatch(text))), None)
    if found is None:
        return None
    parts = found.groupdict()
    year = int(_full_year(parts["year"]))
    name = parts.get("month")
    number = _month_of(name) if name else int(parts["number"])
    if number is None:
        return None
    if style == "weeks":
        try:
            return datetime.combine(date.fromisocalendar(year, number, 1), time(), timezone.utc)
        except ValueError:
            return None
    return datetime(year, 3 * number - 2 if style == "quarters" else number, 1, tzinfo=timezone.utc)


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


def are_times(texts: Sequence[str]) -> bool:
    """Whether some of the texts are times or durations; 1:10 beside 1:20 and 1:40 may be ratios."""
    clocks = [found for found in map(_CLOCK.fullmatch, texts) if found]
    if any(found["s"] or found["half"] for found in clocks) or len({found["h"] for found in clocks}) > 1:
        return True
    return any(
        (spelt := _SPELT.fullmatch(text)) and spelt["h"] and (spelt["m"] or spelt["s"]) for text in texts
    ) or any(_ISO_DURATION.fullmatch(text) and "T" in text for text in texts)


def seconds_of(text: str) -> float | None:
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


def clock_text(seconds: float, *, exact: bool) -> str:
    """Seconds as a clock shows them, 04:28 or 04:28:59; `exact`: with its seconds."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{rest:02}" if exact else text

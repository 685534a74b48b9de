"""How the texts of one field are read as numbers: ages, dates, decimals with a comma, units, money, `< 5`, `20 ± 2`.

What one text means can depend on the others (is 1,234 large or small), so a whole field is looked at, and what was
decided is kept as its `Reading`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cdsel_backend.pool.dates import MOSTLY, Style, are_times, date_styles, moment_of, seconds_of

_MARKS: tuple[Literal[".", ","], ...] = (".", ",")
_LOOKED_AT = 2000  # different texts, evenly spaced, from which the reading is chosen

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(
    rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<number>{_NUMBER})\s*(?P<unit>[^\d\s<>=][^<>=]{{0,15}})?"
)
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)  # DICOM's "age string"
_YEARS = {"days": 1 / 365.25, "weeks": 7 / 365.25, "months": 1 / 12, "years": 1.0}
_LETTERS = {unit[0]: years for unit, years in _YEARS.items()}
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
_MEANINGS = """
years: year yr yrs y yo y.o y/o jahr jahre jahren j an ans año años ano anos anno anni jaar
months: month monat monate monaten mois mes meses mese mesi mês maand maanden
weeks: week woche wochen semaine semaines semana semanas settimana settimane weken
days: day tag tage tagen jour jours día días dia dias giorno giorni dag dagen
h: hours hour stunde stunden std heure heures hora horas ora ore
min: minutes minuten
s: sec
%: percent pct
lb: lbs pounds
um: µm μm
ug: µg μg
ul: µl μl
€: eur euro euros
$: usd us$
£: gbp"""
_WORDS = {
    **{
        word: unit
        for unit, words in (line.split(":", 1) for line in _MEANINGS.split("\n") if line)
        for word in words.split()
    },
    **dict.fromkeys(("years old", "year old", "yrs old"), "years"),
}
_UNIT_NAMES = """
% ‰ years months weeks days h min s ms nm um mm cm m km in ng ug mg g kg ul ml cl dl l mv v kv kvp ua ma mas gy cgy mgy
sv msv hz khz mhz ghz t mt bq kbq mbq gbq mci ° °c °f deg bpm mmhg kpa px pixels dpi ppi mol mmol umol iu miu hu db
cells copies lb oz ft nl pl fl hpf $ € £ ¥ ₹ ₽ ₩ ₺ r$ kr kr. zł ft fr fr. rs rs. chf cad aud nzd jpy cny inr brl sek nok
dkk pln czk huf rub try mxn zar sgd hkd krw ils"""
_UNITS = frozenset(_UNIT_NAMES.split())
_IN_ASCII = str.maketrans("−－＋．，％＜＞٪٫’", "--+.,%<>%.'", "٬")
_GROUPED = {
    mark: re.compile(
        rf"(?P<before>(?:[<>≤≥]=?\s*)?[+-]?)(?P<whole>\d{{1,3}}(?:{mark}\d{{3}})+)(?![\d{mark}]\d)(?P<rest>.*)$"
    )
    for mark in (" ", "'")
}
_CURRENCY = (
    r"(?:(?:US|CA|AU|NZ|[RCA])?\$|[€£¥₹₽₩₺]|(?:kr|Fr|Rs)\.?|zł|Ft|euros?|(?:EUR|USD|GBP|CHF|CAD|AUD|NZD|JPY|CNY|INR|BRL|"
    "SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|MXN|ZAR|SGD|HKD|KRW|ILS))"
)
_AMOUNT = r"(?P<amount>\d[\d.,' ]*?)(?:[.,]?[-–—]{1,2})?"  # also 1'200.-
_MONEY = (
    re.compile(
        rf"(?P<debt>\()?(?P<sign>[<>≤≥]?=?)\s*(?P<minus>[-+]?)\s*(?P<currency>{_CURRENCY})\s*(?P<after>[-+]?)\s*{_AMOUNT}\)?",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?P<debt>\()?(?P<sign>[<>≤≥]?=?)\s*(?P<minus>[-+]?)\s*(?P<after>){_AMOUNT}\s*(?P<currency>{_CURRENCY})\)?",
        re.IGNORECASE,
    ),
)
_PLUS_MINUS = re.compile(
    rf"(?P<number>{_NUMBER})\s*(?P<unit>[^\d\s±+]{{0,8}}?)\s*(?:±|\+/?-)\s*{_NUMBER}\s*(?P<rest>[^\d]*)"
)
_TIMES_TEN = re.compile(
    r"(?<=\d)\s*[x×·*⋅]\s*10(?:(?:\^|\*\*)\s*([-+]?\d{1,2})|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))(?!\d)", re.IGNORECASE
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_GESTATION = re.compile(
    r"(?:(?:GA|SSW|EG|SA)[:\s]*)?(?P<weeks>\d{1,2})"
    r"(?:\s*\+\s*(?P<plus>[0-6])(?:/7)?|\s+(?P<of>[0-6])/7|"
    r"\s*(?:weeks?|wks?|wochen?|w)\.?,?\s*(?:and\s+)?(?P<days>[0-6])\s*(?:days?|tage?|d)\.?)"
    r"(?:\s*(?:SSW|SA|weeks?|wks?|w))?",
    re.IGNORECASE,
)
_WHOLE_WEEKS = re.compile(
    r"(?:(?:GA|SSW|EG|SA)[:\s]*)?(\d{1,2})\s*(?:SSW|SA|weeks?|wks?|wochen?|w)?", re.IGNORECASE
)
_LEAST_GESTATION, _LAST_GESTATION = 12, 46  # weeks; 3+4, 4+3 may be sums of a score
_WITH_A_WORD = re.compile(rf"{_NUMBER} (?P<word>[^\W\d_]\S{{1,19}})")
_NOTHING = 1e-300  # what is smaller is `< 0` or `> 0`
_POWER = re.compile(r"\^?([23])$|([²³])$")


@dataclass(frozen=True)
class Reading:
    """What the texts of a field are: `decimal` is their decimal mark, `parted` what parts thousands, besides the other
    mark; `dates` the order of a date's parts.

    Numbers carry the `unit`; ages are in years, dates in seconds since 1970 (UTC where they name no zone); a month, a
    quarter and a week are their first day, and `serial` dates the days that spreadsheets count. `times` are times of
    day, or durations, in seconds. Where a reading is `loose`, `90+` and `over 90` are 90 or just beyond, and `60-70`
    is 65. `gestation` is in weeks: 38+2 is 38 weeks and 2 days. Where
    the unit is the field's `own_unit`, it is none that is known, but stands behind nearly all of its numbers.
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

    def number(self, text: str) -> float | None:
        """Return the number that a text says, or None."""
        if self.dates:
            found = moment_of(text, self.dates)
            return None if found is None else found.timestamp()
        if self.gestation:
            return _gestation(text)
        if self.times:
            return seconds_of(text)
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
        if self.own_unit:
            text = text.removesuffix(f" {self.unit}")
        quantity = _quantity(_joined(_ABOUT.sub("", bare(text), count=1), self.parted), self.decimal)
        if quantity is None:
            return None
        number, unit = quantity
        if self.ages and unit in _YEARS:
            return number * _YEARS[unit]
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
    if best is None or best.count(Counter(texts)) < MOSTLY * len(texts):
        return None
    return best


def several_units(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the units of texts that are all numbers, where there are two or more; else nothing."""
    looked_at = [bare(text) for text in texts[:_LOOKED_AT]]
    found = [_quantity(text, ".") or _quantity(text, ",") for text in looked_at]
    units = {quantity[1] for quantity in found if quantity is not None and quantity[1]}
    many = sum(quantity is not None for quantity in found) >= MOSTLY * len(found)
    return tuple(sorted(units)) if many and len(units) > 1 else ()


def _candidates(texts: Sequence[str], *, clock: bool) -> list[Reading]:
    """The readings worth trying, the likelier first."""
    found: list[Reading] = []
    if len(texts) >= _LEAST_TIMES and (clock or are_times(texts)):
        found.append(Reading(times=True))
    found += [Reading(dates=style) for style in date_styles(texts)]
    weeks = [float(week["weeks"]) for week in map(_GESTATION.fullmatch, texts) if week]
    if len(weeks) >= _LEAST_TIMES and max(weeks) >= _LEAST_GESTATION:
        found.append(Reading(unit="weeks", gestation=True))
    texts = [bare(text) for text in texts]
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
        if own := _own_unit(texts):
            found.append(Reading(decimal=decimal, parted=parted, unit=own, own_unit=True))
    return found


def _own_unit(texts: Sequence[str]) -> str:
    """The word that stands behind the numbers of nearly all texts, such as `20 Stk.`; empty where there is none."""
    words = Counter(found["word"] for found in map(_WITH_A_WORD.fullmatch, texts) if found)
    word, count = words.most_common(1)[0] if words else ("", 0)
    return word if count >= max(_LEAST_TIMES, MOSTLY * len(texts)) else ""


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
    known = all(part in _UNITS or _POWER.sub("", part) in _UNITS for part in parts if part or len(parts) == 1)
    if not known or len(parts) > 2:
        return None
    if len(parts) == 1 and parts[0] in _WORDS.values():
        return parts[0]
    return re.sub(r"\^?2$", "²", re.sub(r"\^?3$", "³", text.strip()))


def bare(text: str) -> str:
    """A text with its number first, as `float` writes it: money with its currency last, without `± 2` and `x 10^3`."""
    text = in_ascii(text).replace("° C", "°C").replace("° F", "°F")
    for pattern in _MONEY:
        found = pattern.fullmatch(text)
        if found:
            minus = "-" if found["debt"] or "-" in found["minus"] + found["after"] else ""
            return f"{found['sign']}{minus}{found['amount'].strip()} {found['currency']}"
    found = _PLUS_MINUS.fullmatch(text)
    if found:
        text = f"{found['number']} {found['unit'] or found['rest']}".strip()
    return _TIMES_TEN.sub(_exponent, text)


def _exponent(found: re.Match[str]) -> str:
    power = (found[1] or found[2]).translate(_RAISED)
    return f"e{power if power[0] in '-+' else f'+{power}'}"


def _gestation(text: str) -> float | None:
    """The weeks of a text such as `38+2` or `38w2d`."""
    found = _GESTATION.fullmatch(text)
    if found is not None:
        days = found["plus"] or found["of"] or found["days"]
        weeks = int(found["weeks"]) + int(days) / 7
    elif whole := _WHOLE_WEEKS.fullmatch(text):
        weeks = float(whole[1])
    else:
        return None
    return weeks if weeks < _LAST_GESTATION else None


def weeks_text(weeks: float) -> str:
    """Weeks of gestation as people write them: 38+2."""
    days = round(weeks * 7)
    return f"{days // 7}+{days % 7}"


def _tightened(text: str) -> str:
    """A text such as `90+` or `over 90` as a number with a sign."""
    more = _AND_MORE.fullmatch(text)
    if more:
        return f">={more['number']} {more['unit'] or more['rest']}"
    for pattern, sign in _BOUNDS:
        if pattern.match(text):
            return sign + pattern.sub("", text, count=1)
    return text


def has_sign(x: float) -> bool:
    """Whether a number was read from a text such as `< 5` or `> 90`."""
    whole = float(f"{x:.12g}")
    return 0 < abs(x) < _NOTHING or x in (math.nextafter(whole, math.inf), math.nextafter(whole, -math.inf))


def number_text(x: float, text: str) -> str:
    """`text`, which is a number, with the sign that it was read with."""
    if has_sign(x):
        return f"{'>' if x > float(f'{x:.12g}') else '<'}{text}"
    return text

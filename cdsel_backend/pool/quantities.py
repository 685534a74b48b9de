"""A number with its unit as text: decimal marks, thousands, money, `± 2`, `x 10^3`, `< 5`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from cdsel_backend.pool.heights import inches_of
from cdsel_backend.pool.units import unit_of

MARKS: tuple[Literal[".", ","], ...] = (".", ",")
NUMBER = r"[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(
    rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<number>{NUMBER})\s*(?P<unit>[^\d\s<>=][^<>=]{{0,15}})?"
)
_IN_ASCII = str.maketrans("−－＋．，％＜＞٪٫’", "--+.,%<>%.'", "٬")
_NOT_ASCII = re.compile("[−－＋．，％＜＞٪٫’٬]")  # to search for them is faster than to translate a long text
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
    rf"(?P<number>{NUMBER})\s*(?P<unit>[^\d\s±+]{{0,8}}?)\s*(?:±|\+/?-)\s*{NUMBER}\s*(?P<rest>[^\d]*)"
)
_UNIT = r"[^\d\s<>=()\[\]][^<>=()\[\]]{0,15}?"
_CONVERTED = re.compile(
    rf"(?P<given>[<>≤≥]?\s*{NUMBER}\s*(?P<unit>{_UNIT}))\s*[(\[]\s*(?:[<>≤≥]\s*)?(?P<again>{NUMBER}\s*(?P<other>{_UNIT}))\s*[)\]]"
)
# What a laboratory gives as usual, or a spread: 5.4 (4.0-6.0), 5,4 mg/dl [ref. < 5].
_IN_RANGE = re.compile(
    rf"(?P<given>[<>≤≥]?\s*{NUMBER}\s*(?:{_UNIT})?)\s*[(\[](?:[^\W\d_]{{1,9}}[.:]?\s*)?"
    rf"(?:[<>≤≥]=?\s*{NUMBER}|{NUMBER}\s*(?:-|–|to|bis)\s*{NUMBER})\s*(?:{_UNIT})?\s*[)\]]"
)
_TIMES_TEN = re.compile(
    r"(?<=\d)(?:\s*[x×·*⋅]\s*10|\s+10(?=[\^*E]\d+\s*/))"  # also 5.4 10*9/L, as UCUM has units
    r"(?:(?:\^|\*\*?|E)\s*([-+]?\d{1,2})|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))(?!\d)",
    re.IGNORECASE,
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_NOTHING = 1e-300  # what is smaller is `< 0` or `> 0`


def quantity_of(text: str, decimal: str) -> tuple[float, str] | None:
    """Return (number, unit) of a text such as `1,5 mm`, `5%` or `< 5`; None for what is no number with a known unit."""
    found = _QUANTITY.fullmatch(in_ascii(text.strip()))
    if found is None:
        return None
    unit = unit_of(found["unit"] or "")
    number = found["number"]
    if found["unit"] == "." and "." in number:  # 13.06. is a day
        return None
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


def thousands_mark(texts: Sequence[str]) -> Literal["", " ", "'"]:
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


def joined(text: str, parted: str) -> str:
    """A text whose number has no marks between its thousands."""
    found = _GROUPED[parted].match(in_ascii(text)) if parted else None
    if found is None:
        return text
    return found["before"] + found["whole"].replace(parted, "") + found["rest"]


def decimal_mark(texts: Sequence[str]) -> Literal[".", ","]:
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


def bare(text: str) -> str:
    """A text with its number first, as `float` writes it: money with its currency last, without `± 2` and `x 10^3`.

    What stands behind it in brackets, in another unit, is the same once more: 5.3 % (34 mmol/mol).
    """
    text = in_ascii(text).replace("° C", "°C").replace("° F", "°F")
    for pattern in _MONEY:
        found = pattern.fullmatch(text)
        if found:
            minus = "-" if found["debt"] or "-" in found["minus"] + found["after"] else ""
            return f"{found['sign']}{minus}{found['amount'].strip()} {found['currency']}"
    found = _CONVERTED.fullmatch(text)
    if found and (unit := unit_of(found["unit"])):
        other = unit_of(found["other"])
        if (other and other != unit) or inches_of(found["again"]) is not None:
            return found["given"]
    if ranged := _IN_RANGE.fullmatch(text):
        text = ranged["given"].strip()
    found = _PLUS_MINUS.fullmatch(text)
    if found:
        text = f"{found['number']} {found['unit'] or found['rest']}".strip()
    return _TIMES_TEN.sub(_exponent, text)


def in_ascii(text: str) -> str:
    """A text whose signs and marks of numbers are those of ASCII: the true minus, full-width and Arabic ones."""
    return text.translate(_IN_ASCII) if not text.isascii() and _NOT_ASCII.search(text) else text


def _exponent(found: re.Match[str]) -> str:
    power = (found[1] or found[2]).translate(_RAISED)
    return f"e{power if power[0] in '-+' else f'+{power}'}"


def has_sign(x: float) -> bool:
    """Whether a number was read from a text such as `< 5` or `> 90`."""
    whole = float(f"{x:.12g}")
    return 0 < abs(x) < _NOTHING or x in (math.nextafter(whole, math.inf), math.nextafter(whole, -math.inf))


def number_text(x: float, text: str) -> str:
    """`text`, which is a number, with the sign that it was read with."""
    if has_sign(x):
        return f"{'>' if x > float(f'{x:.12g}') else '<'}{text}"
    return text

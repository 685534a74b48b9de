"""Metadata as columns: what each field of the tasks is, its levels, and why it may be no candidate.

A field becomes a categorical column, or a numeric (or dated) one cut at quantiles; few whole numbers stay categories
where the field's name says that they are codes. A missing value is a level of its own. Fields that identify, never
vary, nest or hold free text are kept with the reason in `excluded`.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form, listed, number_of
from cdsel_backend.pool.dates import (
    MONTH_AS_NUMBER,
    MOSTLY,
    Style,
    ambiguous_dates,
    clock_text,
    date_text,
    unix_style,
)
from cdsel_backend.pool.fields import Fields
from cdsel_backend.pool.no_value import is_no_value
from cdsel_backend.pool.parts import part_names, parts_of
from cdsel_backend.pool.synonyms import level_of, spellings
from cdsel_backend.pool.values import (
    Reading,
    find_reading,
    has_sign,
    in_ascii,
    number_text,
    several_units,
    weeks_text,
)

MISSING = "(missing)"
OTHER = "(other)"
FILE_PREFIX = "image: "  # begins the names of variables that the image's file says of itself

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_QUOTES = ("'", '"', "=")
_QUOTED = re.compile(r"""(?:="|"|')(?P<text>[^"']+)["']""")
_MARKED_AS_TEXT = re.compile(r"'(?P<text>(?!s[- ]|t ).+)")  # but 's-Hertogenbosch, 't Gooi
_ACCENTS = re.compile(r"([a-z])[\u0300-\u036f]+")
_BLANKS = re.compile(r"(?<!\d)[ _]+|[ _]+(?!\d)")
_MAX_LEVELS = 50  # the rest of a long list of levels becomes OTHER
_MAX_LETTERS = 80  # of a level's name
_BINS = 5
# Beyond them Python writes no day. 0001-01-01T00:00+01:00, with which some programs say that there is none, lies there.
_FIRST_TIME = datetime(1, 1, 1, tzinfo=timezone.utc).timestamp()
_LAST_TIME = datetime(9999, 12, 31, tzinfo=timezone.utc).timestamp()
TINY = 1e-300  # what is smaller is 0 to a reader
_STAND_INS = frozenset(sign * number for sign in (1, -1) for number in (9, 99, 999, 9999, 99999)) | {-1.0}
_FEWEST_FOR_FAR = 7  # different values: fewer are levels, each by its own name
_FIRST_VALUES = 100  # one of them at least holds several numbers, where most of a field do
_MAX_CODES = 30  # different whole numbers that can be codes

# Whole numbers are codes, without an order to cut at, where the last word of the field's name that is in either list is
# in the first: `site_anon`, `scannerID`, `deviceid`, `age_group`, but not `hospital_days` or `reader_experience`. Words
# that name an amount as often (unit, location, position, number, level) are in none.
_CODE_WORD = re.compile(
    "(?:code|type|class|category|group|site|hospital|clinic|centre|center|institution|institute|facility|department|"
    "ward|station|scanner|device|machine|camera|manufacturer|vendor|model|protocol|sequence|view|modality|operator|"
    "reader|technician|physician|batch|source|dataset|cohort|country|region)(?:id)?|id"
)
_AMOUNT_WORD = re.compile(
    "age|angle|cells|confidence|costs?|count|days?|distance|dose|duration|experience|hours?|length|months?|pressure|price|rating|score|size|stay|"
    "temperature|thickness|time|visits?|volume|weeks?|weight|years?"
)

# Not numbers, though `float` reads them: 12E3 and 1_2, which no program writes for a number (those have a point or a
# sign: 1.2e4, 1e-05), and more digits than a float is sure to tell apart.
_DAYS_AS_NUMBERS = re.compile(r"(?:19|20)\d{6}(?:\d{6}.*|\.0)?")
_TIMES_AS_NUMBERS = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d+)?")  # as DICOM writes them
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_AGE_WORD = re.compile(r"age|decade|jahrzehnt|alter", re.IGNORECASE)
_DATE_WORDS = ("date", "datum")
_DIGITS = re.compile(r"\d{9,19}(?:\.\d+)?")
_MOMENT_WORD = re.compile(
    "timestamps?|ts|epoch|unix|time|date|datum|datetime|zeit|zeitstempel|created|updated|modified|acquired|uploaded|"
    "taken|recorded|at|utc"
)
_SPAN_WORD = re.compile(
    "exposure|echo|repetition|inversion|fluoroscopy|trigger|delay|duration|elapsed|dwell|integration"
)
_ZERO_FIRST = re.compile(r"0\d+")  # of codes, such as postal ones: amounts are seldom written so
_NO_NUMBER = re.compile(r"\d+(?:[eE_]\d+)+|\d{16,}(?:\.0)?")


@dataclass(frozen=True, eq=False)
class Column:
    """One metadata variable over n items.

    `codes` (n,) int64 index `levels`. `edges` holds, for a numeric column, the lower bound of every level after
    the first (seconds since 1970 where it is `dated`). `reading` is how texts are read as its numbers, where they are
    not plain ones. `excluded` says why it is no candidate confounder. `part_of` names the field where the variable is
    one of several numbers in its texts, the `part`-th. `odd` values of the field, such as `example`, are not what the
    others are, and count as missing; `far` are all `far_value`, which lies far from the others and may mean that they
    are missing.
    """

    name: str
    kind: Literal["categorical", "numeric"]
    levels: tuple[str, ...]
    codes: NDArray[np.int64]
    excluded: str | None = None
    edges: tuple[float, ...] = ()
    dated: bool = False
    reading: Reading | None = None
    part_of: str = ""
    part: int = 0
    odd: int = 0
    example: str = ""
    far: int = 0
    far_value: str = ""

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Column:
        """Return the column over the items of `index` (positions or a mask), with the same levels."""
        return replace(self, codes=self.codes[index])

    def with_codes(self, codes: NDArray[np.int64]) -> Column:
        """Return the variable over other items, whose levels are known already."""
        return replace(self, codes=codes)

    def meta(self) -> dict[str, object]:
        """Return the variable without its items, as JSON can hold it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "levels": list(self.levels),
            "excluded": self.excluded,
            "edges": list(self.edges),
            "dated": self.dated,
            "reading": None if self.reading is None else self.reading.meta(),
            "part_of": self.part_of,
            "part": self.part,
            "odd": self.odd,
            "example": self.example,
            "far": self.far,
            "far_value": self.far_value,
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], codes: NDArray[np.int64]) -> Column:
        """Rebuild from `meta` and the codes (n,). Raises KeyError or TypeError for something else."""
        lists = {"levels": tuple(meta["levels"]), "edges": tuple(meta["edges"])}
        return cls(**{**meta, **lists, "reading": Reading.from_meta(meta.get("reading"))}, codes=codes)

    @property
    def field(self) -> str:
        """The field of the tasks that holds the variable."""
        return self.part_of or self.name

    @property
    def note(self) -> str:
        """What to know of its values besides: how many are odd, or may stand for missing ones; empty where none is."""
        said = []
        if self.odd:
            values, count = form(self.odd, "value is", "values are"), form(self.odd, "counts", "count")
            times = self.reading is not None and self.reading.times
            what = "date" if self.dated else "time" if times else "number"
            said.append(f"{self.odd:,} {values} no {what}, such as {self.example!r}, and {count} as missing")
        if self.far:
            values, they, mean = (
                form(self.far, *words)
                for words in (("value is", "values are"), ("it", "them"), ("it means", "they mean"))
            )
            said.append(
                f"{self.far:,} {values} {self.far_value}, far from the others: leave {they} empty if {mean} that the "
                "value is missing"
            )
        return "; ".join(said)

    @property
    def names(self) -> NDArray[np.str_]:
        """(n,): the level of each item by name."""
        return np.asarray(self.levels, dtype=np.str_)[self.codes]

    def encode_field(self, fields: Fields) -> Column:
        """As `encode`, for items whose metadata are laid out by field, this one among them: each value is read once."""
        encoded = self.encode([{self.field: value} for value in fields.values[self.field]])
        return encoded.take(fields.codes[self.field].astype(np.int64))

    def encode(self, rows: Sequence[Mapping[str, object]]) -> Column:
        """Return this variable for other items, with these levels and edges; what is unseen joins the missing."""
        given = [row.get(self.field) for row in rows]
        if self.part_of:
            given = [_part(value, self.part) for value in given]
        values = [_clean(value) for value in given]
        if self.reading is not None:
            numbers = _read_numbers(given, values, self.reading)
        else:
            numbers = _numbers(values, dated=self.dated)
        if self.kind == "numeric":
            names = _names_of_numbers(numbers, self.edges, self.levels)
        elif self.reading is not None:
            other = OTHER if OTHER in self.levels else MISSING
            found = [_named(x, self.reading) if math.isfinite(x) else MISSING for x in numbers.tolist()]
            names = [level if level in self.levels else other for level in found]
        else:
            # What a level is called exactly goes first: versions made before spellings were folded may have both.
            folded = {_fold(level): level for level in self.levels}
            folded |= {level.casefold(): level for level in self.levels}
            other = OTHER if OTHER in self.levels else MISSING
            texts = {v: _text(v) for v in values if v is not None}
            found_levels = {
                v: folded.get(text.casefold())
                or folded.get(_fold(text))
                or level_of(text, set(self.levels) - {OTHER, MISSING})
                or other
                for v, text in texts.items()
            }
            names = [MISSING if v is None else found_levels[v] for v in values]
        levels = self.levels if MISSING in self.levels else (*self.levels, MISSING)
        return replace(self, levels=levels, codes=_codes(names, levels))


def read_columns(
    rows: Iterable[Mapping[str, object]] | Fields, *, ignore: Collection[str] = (), groups: str | None = None
) -> list[Column]:
    """Type every field of the tasks' data (without the image), in order of first appearance.

    `ignore` names fields that are no candidates; `groups` the one images are split by. Fields whose name starts
    with `cdsel_` are ours and dropped.
    """
    fields = rows if isinstance(rows, Fields) else Fields.of(rows)
    columns = []
    for field in fields.values:
        if field.startswith("cdsel_"):
            continue
        column = _read_column(field, fields)
        parts = [] if field == groups or column.kind == "numeric" else _read_parts(field, fields)
        if parts:
            names = listed(part.name for part in parts)
            column = replace(
                column, excluded=f"holds {len(parts)} numbers in each value: they are the variables {names}"
            )
        if field == groups:
            column = replace(column, excluded="identifies the group that images are split by")
        columns += [
            replace(own, excluded="ignored in the settings") if {own.name, field} & set(ignore) else own
            for own in (column, *parts)
        ]
    return columns


def _read_parts(field: str, fields: Fields) -> list[Column]:
    """The variables of a field whose texts hold several numbers each; none where they do not."""
    if field.startswith(FILE_PREFIX):
        return []
    values = fields.values[field]
    if not any(isinstance(value, str) and parts_of(tidy(value)) for value in values[:_FIRST_VALUES]):
        return []
    texts = {tidy(value) for value in values if isinstance(value, str)}
    found = []
    for part, name in enumerate(part_names(field, [text for text in texts if not is_no_value(text)])):
        own = Fields(fields.n, {name: [_part(value, part) for value in values]}, {name: fields.codes[field]})
        found.append(replace(_read_column(name, own), part_of=field, part=part))
    return found


def _part(value: object, part: int) -> str | None:
    """One of the numbers of a text that holds several."""
    parts = parts_of(tidy(value)) if isinstance(value, str) else ()
    return parts[part] if part < len(parts) else None


def _read_column(name: str, fields: Fields) -> Column:
    raw, cleaned = fields.column(name), [_clean(value) for value in fields.values[name]]
    values = [cleaned[code] for code in fields.codes[name].tolist()]
    filled = [value for value in values if value is not None]
    nested = sum(isinstance(value, (Mapping, list, tuple, set, frozenset)) for value in raw)
    if nested > len(filled):
        return _column(name, values, excluded="holds nested values")
    if not filled:
        return _column(name, values, excluded="is empty")
    alike = spellings(_counted(cleaned, fields.codes[name]))
    if alike:
        return _column(name, [None if value is None else alike[_text(value)] for value in values])

    def numeric(found: NDArray[np.float64], reading: Reading | None, *, dated: bool) -> Column:
        odd = Counter(
            str(raw[i]).strip() for i in np.flatnonzero(~np.isfinite(found)).tolist() if values[i] is not None
        )
        column = _numeric(name, found, dated=dated, reading=reading)
        if odd:
            column = replace(column, odd=odd.total(), example=_text(odd.most_common(1)[0][0]))
        far = _far(found[np.isfinite(found)], dated=dated)
        if far is None or column.excluded is not None:
            return column
        text = _day(far, reading.dates if reading else "") if dated else _short(far, 15)
        return replace(column, far=int((found == far).sum()), far_value=text)

    dated = sum(isinstance(value, datetime) for value in filled) >= MOSTLY * len(filled)
    numbers = _numbers(values, dated=dated)
    plain = int(np.isfinite(numbers).sum())
    first = str(_first(raw, values)).strip()
    clock = _last_word(name) == "time" and bool(_TIMES_AS_NUMBERS.fullmatch(first))
    if plain < len(filled) or clock or _DAYS_AS_NUMBERS.fullmatch(first) or MONTH_AS_NUMBER.fullmatch(first):
        tidied = [tidy(str(given)) for given in fields.values[name]]
        codes = fields.codes[name].tolist()
        texts = [tidied[code] for code, value in zip(codes, values, strict=True) if value is not None]
        reading = find_reading(texts, clock=clock)
        if reading is not None and reading.unit == "s" and _AGE_WORD.search(name):
            reading = None  # 20s, 30s: decades of life
        if reading is not None and (reading.dates or reading.times or reading.count(Counter(texts)) > plain):
            return numeric(_read_numbers(raw, values, reading), reading, dated=bool(reading.dates))
    if style := _unix(name, [tidy(str(given)) for given in fields.values[name] if given is not None]):
        reading = Reading(dates=style)
        return numeric(_read_numbers(raw, values, reading), reading, dated=True)
    if plain >= MOSTLY * len(filled) and _last_word(name) in _DATE_WORDS and _are_serial(numbers):
        reading = Reading(dates="serial")
        return numeric(_read_numbers(raw, values, reading), reading, dated=True)
    if plain >= MOSTLY * len(filled):
        if (
            not dated
            and _named_as(name) != "amount"
            and any(_ZERO_FIRST.fullmatch(str(value).strip()) for value in fields.values[name])
        ):
            return _column(name, values, excluded=_why_not([_text(value) for value in filled]))
        return numeric(numbers, None, dated=dated)
    texts = [_text(value) for value in filled]
    why = _why_not(texts)
    if why and ambiguous_dates(texts):
        why = "holds dates of which nothing says what is the day, the month or the century; write them as 2020-01-31"
    elif why and (units := several_units(texts)):
        why = f"holds numbers in several units ({', '.join(units)}); give them in one"
    elif why and plain >= len(filled) / 2:
        odd = [
            str(given).strip()
            for given, number, value in zip(raw, numbers, values, strict=True)
            if value is not None and not math.isfinite(number)
        ]
        why += (
            f", because {number_of(len(odd), 'value is', 'values are')} no number, such as {_text(odd[0])!r}; correct "
            "them, or leave them empty"
        )
    return _column(name, values, excluded=why)


def _counted(
    values: Sequence[str | float | datetime | None], codes: NDArray[np.integer[Any]]
) -> Counter[str]:
    """How often each text occurs, given the different values and the code of each item; nothing where they are many."""
    counts: Counter[str] = Counter()
    if len(values) <= _MAX_LEVELS:
        for value, count in zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True):
            if value is not None and count:
                counts[_text(value)] += count
    return counts


def _last_word(name: str) -> str:
    return str(["", *_NAME_PART.findall(name)][-1]).casefold()


def _unix(name: str, texts: Sequence[str]) -> Style:
    """In what a field counts time since 1970; nothing where its name names no time, or its numbers do not fit."""
    words = [word.casefold() for word in _NAME_PART.findall(name)]
    if not any(map(_MOMENT_WORD.fullmatch, words)) or any(map(_SPAN_WORD.fullmatch, words)):
        return ""
    if _named_as(name) == "code":
        return ""
    numbers = [float(text) for text in texts if _DIGITS.fullmatch(text)]
    known = len(texts) - sum(map(is_no_value, texts))
    return unix_style(min(numbers), max(numbers)) if numbers and len(numbers) == known else ""


def _are_serial(numbers: NDArray[np.float64]) -> bool:
    """Whether numbers are days as spreadsheets count them, of 1954 to 2064."""
    known = numbers[np.isfinite(numbers)]
    return bool(len(known) and known.min() >= 20_000 and known.max() <= 60_000)


def _first(raw: Sequence[object], values: Sequence[object]) -> object:
    return next(given for given, value in zip(raw, values, strict=True) if value is not None)


def _read_numbers(raw: Sequence[object], values: Sequence[object], reading: Reading) -> NDArray[np.float64]:
    """Return (n,): the numbers that a reading finds, nan for what is missing or none."""
    found = np.full(len(raw), np.nan)
    known: dict[str, float | None] = {}
    for i, (given, value) in enumerate(zip(raw, values, strict=True)):
        if value is None:
            continue
        text = str(given)
        if text not in known:
            known[text] = reading.number(tidy(text))
        number = known[text]
        if number is not None:
            found[i] = number
    return found


def joint_codes(columns: Sequence[Column], n: int) -> NDArray[np.int64]:
    """Return (n,): a code from 0 for each combination of the columns' levels that occurs; all 0 without columns."""
    codes = np.zeros(n, dtype=np.int64)
    for column in columns:
        codes = np.unique(codes * len(column.levels) + column.codes, return_inverse=True)[1].ravel()
    return codes


def is_missing(value: object) -> bool:
    """Whether a field says nothing: it is empty, nested, or one of the words for that, such as "unknown"."""
    return _clean(value) is None


def _clean(value: object) -> str | float | datetime | None:
    """Return text, a number or a date, or None where nothing usable stands.

    A number is the same however it is written: 7, "7", "7.0", and "007", which is mostly the same code from another
    export. What `_NO_NUMBER` matches stays text, digit by digit.
    """
    if value is None or isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    text = tidy(str(value))
    if is_no_value(text):
        return None
    if _NO_NUMBER.fullmatch(text):
        return text.removesuffix(".0")
    try:
        number = float(in_ascii(text))
    except ValueError:
        return _date(text)
    return number + 0.0 if math.isfinite(number) else None  # -0.0 is 0.0


def tidy(text: str) -> str:
    """A text as all programs would write what looks the same: composed letters, single blanks, nothing invisible.

    Without the marks of spreadsheets and tables around it: `'045`, `="045"`, `"GE"`.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    text = " ".join(text.split())
    if text[:1] in _QUOTES:
        if found := _QUOTED.fullmatch(text):
            return found["text"].strip()
        if found := _MARKED_AS_TEXT.fullmatch(text):
            return found["text"]
    return text


def _fold(text: str) -> str:
    """A level's name without what two tables may write differently: case, accents of Latin letters, width, blanks.

    Blanks between two numbers stay.
    """
    folded = text.casefold()
    if not folded.isascii():
        folded = _ACCENTS.sub(r"\1", unicodedata.normalize("NFKD", folded))
        folded = unicodedata.normalize("NFC", folded).casefold()
    return _BLANKS.sub("", folded) or folded


def _date(text: str) -> str | datetime:
    """Return a date where the text starts as 2020-01-31 does, else the text."""
    if not (10 <= len(text) <= 35 and text[4] == text[7] == "-" and text[:4].isdigit()):
        return text
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def _numbers(values: Sequence[str | float | datetime | None], *, dated: bool) -> NDArray[np.float64]:
    """Return (n,): the numbers, or the dates in seconds where the column is `dated`; nan for the rest."""
    if dated:
        return np.array(
            [v.timestamp() if isinstance(v, datetime) else np.nan for v in values], dtype=np.float64
        )
    return np.array([v if isinstance(v, float) else np.nan for v in values], dtype=np.float64)


def _text(value: str | float | datetime) -> str:
    """Return a level's name; a number with the 15 digits that a float keeps of any number."""
    if isinstance(value, float):
        return f"{value:.15g}"
    text = value.isoformat() if isinstance(value, datetime) else value
    if len(text) <= _MAX_LETTERS:
        return text
    # Two long values with the same beginning stay two levels.
    mark = f" … {hashlib.blake2b(text.casefold().encode(), digest_size=3).hexdigest()}"
    return text[: _MAX_LETTERS - len(mark)] + mark


def _why_not(texts: Sequence[str]) -> str | None:
    """Say why text values make no candidate, or None."""
    distinct = len({_fold(text) for text in set(texts)})
    if distinct > max(4, len(texts) / 2):
        if np.mean([text.count(" ") for text in texts]) > 4:
            return "is free text"
        return f"identifies: {number_of(distinct, 'different value')} in {number_of(len(texts), 'item')}"
    if distinct > _MAX_LEVELS and len(texts) / distinct < 20:
        return f"is nearly unique: {number_of(distinct, 'value')}, {len(texts) / distinct:.0f} items each on average"
    return None


def _column(
    name: str,
    values: Sequence[str | float | datetime | None],
    excluded: str | None = None,
    reading: Reading | None = None,
) -> Column:
    """Make a categorical column; spellings that differ in case, accents or blanks are one level, as the commonest."""
    spelled = [None if value is None else _named(value, reading) for value in values]
    counts = Counter(text for text in spelled if text is not None)
    named: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    level: dict[str, str] = {}
    for text, count in counts.most_common():
        level[text] = named.setdefault(_fold(text), text)
        sizes[level[text]] += count
    kept = [
        level for level, _ in sizes.most_common(_MAX_LEVELS if len(sizes) <= _MAX_LEVELS else _MAX_LEVELS - 1)
    ]
    all_numbers = (reading is None or not reading.times) and all(
        isinstance(value, float) for value in values if value is not None
    )
    kept.sort(key=(lambda level: (float(level.split()[0]), level)) if all_numbers else str.casefold)
    allowed = set(kept)
    levels = [MISSING if text is None else level[text] for text in spelled]
    names = [level if level in allowed or level == MISSING else OTHER for level in levels]
    return _finish(Column(name, "categorical", _with_special(kept, names), _EMPTY, excluded), names)


def _named(value: str | float | datetime, reading: Reading | None) -> str:
    """A level by the one value that it has."""
    if reading is not None and reading.gestation and isinstance(value, float):
        return _with_unit(weeks_text(value), reading)
    if reading is not None and reading.times and isinstance(value, float):
        return clock_text(value, exact=bool(value % 60))
    return _with_unit(_text(value), reading)


def _with_unit(level: str, reading: Reading | None) -> str:
    """A level as people write it: `31-45 years`, `5-10 %`."""
    return f"{level} {reading.unit}" if reading is not None and reading.unit else level


def _numeric(
    name: str, numbers: NDArray[np.float64], *, dated: bool, reading: Reading | None = None
) -> Column:
    """Cut numbers at quantiles; few distinct ones, and codes, stay as they are."""
    known = numbers[np.isfinite(numbers)]
    distinct = np.unique(known)
    whole = not dated and bool((distinct == np.round(distinct)).all())
    plain = [number if math.isfinite(number) else None for number in numbers.tolist()]
    if len(distinct) <= _BINS + 1 and not dated:
        return replace(_column(name, plain, reading=reading), reading=reading)
    unit = reading is not None and bool(reading.unit or reading.times)
    # An identifier is written as it is: without thousands, a sign or an error, and in a field of another name.
    numbered = name.casefold().endswith(("id", "_no", "number", "index"))
    amount = reading is not None or (_named_as(name) == "amount" and not numbered)
    if whole and not unit and len(distinct) <= _MAX_CODES and _named_as(name) == "code":
        return _column(name, plain, excluded=_why_not([_text(number) for number in known.tolist()]))
    looks_like_id = len(distinct) > 120 or numbered
    excluded = None
    if whole and not amount and looks_like_id and len(distinct) > len(known) / 2:
        excluded = f"identifies: {len(distinct)} different whole numbers in {number_of(len(known), 'item')}"
    bins = int(np.clip(len(known) // 20, 2, _BINS))
    cuts = np.quantile(known, np.arange(1, bins) / bins, method="higher")
    # Every cut falls on the least value where most are that; it is set against the others then.
    edges = tuple(np.unique(cuts[cuts > distinct[0]]).tolist() or distinct[1:2].tolist())
    labels = [_with_unit(label, reading) for label in _ranges(known, edges, dated=dated, reading=reading)]
    names = _names_of_numbers(numbers, edges, labels)
    return _finish(
        Column(name, "numeric", _with_special(labels, names), _EMPTY, excluded, edges, dated, reading), names
    )


def _far(known: NDArray[np.float64], *, dated: bool) -> float | None:
    """The least or greatest value, where it lies far from the others, and is one that often means missing."""
    values = np.unique(known)
    if len(values) < _FEWEST_FOR_FAR:
        return None
    for far, others in ((values[-1], values[:-1]), (values[0], values[1:])):
        gap = min(abs(far - others[0]), abs(far - others[-1]))
        alone = far < 0 <= others[0] or gap > others[-1] - others[0]
        if alone and (dated or far in _STAND_INS):
            return float(far)
    return None


def _named_as(name: str) -> Literal["", "amount", "code"]:
    """What a field's name says that its whole numbers are."""
    for word in map(str.casefold, reversed(_NAME_PART.findall(name))):
        if _AMOUNT_WORD.fullmatch(word):
            return "amount"
        if _CODE_WORD.fullmatch(word):
            return "code"
    return ""


def _ranges(
    known: NDArray[np.float64], edges: tuple[float, ...], *, dated: bool, reading: Reading | None
) -> list[str]:
    """Name each level by the least and the greatest value in it: `31-45`."""
    part = np.digitize(known, edges)
    bounds = [(known[part == i].min(), known[part == i].max()) for i in range(len(edges) + 1)]
    if dated:
        kind = reading.dates if reading is not None else ""
        labels = [" to ".join(dict.fromkeys(_day(x, kind) for x in pair)) for pair in bounds]
        return _distinct(labels)
    if reading is not None and reading.times:
        exact = bool((known % 60).any())
        labels = ["-".join(dict.fromkeys(clock_text(x, exact=exact) for x in pair)) for pair in bounds]
        return _distinct(labels)
    dash = " to " if known.min() < -TINY else "-"
    gestation = reading is not None and reading.gestation
    # Where all are `< 5`, `< 7`, no level need say so.
    signed = reading is not None and any(not has_sign(x) for x in known[:1000].tolist())
    for digits in range(3, 18):
        labels = []
        for pair in bounds:
            ends = [weeks_text(x) if gestation else _short(x, digits) for x in pair]
            if signed:
                ends = [number_text(x, end) for x, end in zip(pair, ends, strict=True)]
            between = " to " if any(end[0] in "<>" for end in ends) else dash
            labels.append(between.join(dict.fromkeys(ends)))
        if len(set(labels)) == len(labels):
            break
    return _distinct(labels)


def _distinct(labels: list[str]) -> list[str]:
    """The names of levels, numbered where two are the same."""
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label} ({i})" for i, label in enumerate(labels, 1)]


def _day(seconds: float, kind: str = "") -> str:
    """The day of a time in seconds since 1970, UTC; the first or the last there is, where a zone leads beyond it."""
    return date_text(datetime.fromtimestamp(min(max(seconds, _FIRST_TIME), _LAST_TIME), timezone.utc), kind)


def _short(x: float, digits: int) -> str:
    """A number as people write it: whole ones in full, such as years, others with so many digits."""
    if abs(x) < TINY:  # as `< 0` is read
        return "0"
    whole = x == round(x) and abs(x) < 1e15
    return f"{x:.0f}" if whole else f"{float(f'{x:.{digits}g}'):.15g}"


def _names_of_numbers(
    numbers: NDArray[np.float64], edges: tuple[float, ...], levels: Sequence[str]
) -> list[str]:
    known = np.isfinite(numbers)
    part = np.digitize(np.where(known, numbers, 0.0), edges)
    return [levels[i] if ok else MISSING for i, ok in zip(part, known, strict=True)]


def _with_special(levels: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    present = set(names)
    return (
        *levels,
        *(special for special in (OTHER, MISSING) if special in present and special not in levels),
    )


def _codes(names: Iterable[str], levels: Sequence[str]) -> NDArray[np.int64]:
    position = {level: i for i, level in enumerate(levels)}
    return np.array([position[name] for name in names], dtype=np.int64)


def _finish(column: Column, names: Sequence[str]) -> Column:
    excluded = column.excluded
    if excluded is None and len(column.levels) < 2:
        excluded = f"is constant: {column.levels[0]}"
    return replace(column, codes=_codes(names, column.levels), excluded=excluded)


_EMPTY: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

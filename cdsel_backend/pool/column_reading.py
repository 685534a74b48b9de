"""The fields of the tasks as columns: which variable each is, its levels, and why it may be no candidate.

A field becomes a categorical column, or a numeric (or dated) one cut at quantiles; few whole numbers stay categories
where the field's name says that they are codes. A missing value is a level of its own. Fields that identify, never
vary, nest or hold free text are kept with the reason in `excluded`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import listed, number_of
from cdsel_backend.pool.cleaning import (
    clean,
    in_one,
    level_text,
    part_of_text,
    plain_numbers,
    read_numbers,
    tidy,
)
from cdsel_backend.pool.column_levels import (
    MAX_LEVELS,
    Value,
    category_column,
    far_value,
    no_candidate,
    numeric_column,
)
from cdsel_backend.pool.columns import FILE_PREFIX, Column
from cdsel_backend.pool.dates import MONTH_AS_NUMBER, MOSTLY, Style, ambiguous_dates, unix_style
from cdsel_backend.pool.field_words import (
    last_word,
    named_as,
    names_age,
    names_date,
    names_moment,
    names_month,
)
from cdsel_backend.pool.fields import Fields
from cdsel_backend.pool.level_names import day, short
from cdsel_backend.pool.no_value import is_no_value
from cdsel_backend.pool.parts import part_names, parts_of
from cdsel_backend.pool.synonyms import spellings
from cdsel_backend.pool.values import Reading, find_reading, several_units

_FIRST_VALUES = 100  # one of them at least holds several numbers, where most of a field do
_DAYS_AS_NUMBERS = re.compile(r"(?:19|20)\d{6}(?:\d{6}.*|\.0)?")
_TIMES_AS_NUMBERS = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d+)?")  # as DICOM writes them
_DIGITS = re.compile(r"\d{9,19}(?:\.\d+)?")
_ZERO_FIRST = re.compile(r"0\d+")  # of codes, such as postal ones: amounts are seldom written so


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
    if not any(parts_of(in_one(value)) for value in values[:_FIRST_VALUES]):
        return []
    texts = {in_one(value) for value in values}
    filled = [text for text in texts if not is_no_value(text)]
    lists = any(isinstance(value, (list, tuple)) for value in values)
    found = []
    for part, name in enumerate(part_names(field, filled, levels=not lists)):
        own = Fields(
            fields.n, {name: [part_of_text(value, part) for value in values]}, {name: fields.codes[field]}
        )
        column = _read_column(name, own)
        if column.kind == "numeric" and not any("/" in text for text in texts):
            column = replace(column, excluded=None)  # but 1234/2020 may be a case
        found.append(replace(column, part_of=field, part=part))
    return found


def _read_column(name: str, fields: Fields) -> Column:
    """Return the column of a field by the first way of reading it that fits; as text fits what nothing else does."""
    field = _Field.of(name, fields)
    nested = sum(isinstance(value, (Mapping, list, tuple, set, frozenset)) for value in field.raw)
    if nested > len(field.filled):
        excluded = "holds nested values; what may confound needs a field of its own in the task"
        return category_column(name, field.values, excluded=excluded)
    if not field.filled:
        return category_column(name, field.values, excluded="is empty")
    for read in (_as_spellings, _as_written_numbers, _as_moments, _as_serial_days, _as_plain_numbers):
        column = read(field)
        if column is not None:
            return column
    return _as_text(field)


@dataclass(frozen=True, eq=False)
class _Field:
    """The values of one field over n items: `raw` as they came, `values` cleaned, None where one is missing.

    `different` are the raw ones without repeats, by which `codes` (n,) are read.
    """

    name: str
    different: Sequence[object]
    codes: NDArray[np.integer[Any]]
    raw: Sequence[object]
    values: Sequence[Value]

    @classmethod
    def of(cls, name: str, fields: Fields) -> _Field:
        """The field of this name."""
        different, codes = fields.values[name], fields.codes[name]
        cleaned = [clean(value) for value in different]
        return cls(name, different, codes, fields.column(name), [cleaned[code] for code in codes.tolist()])

    @cached_property
    def filled(self) -> list[str | float | datetime]:
        """The values that are not missing."""
        return [value for value in self.values if value is not None]

    @cached_property
    def dated(self) -> bool:
        """Whether most values are dates as they stand."""
        return self.mostly(sum(isinstance(value, datetime) for value in self.filled))

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """(n,): the values that are numbers, or dates where most are, as they stand; NaN for the others."""
        return plain_numbers(self.values, dated=self.dated)

    @cached_property
    def plain(self) -> int:
        """How many values are numbers as they stand."""
        return int(np.isfinite(self.numbers).sum())

    def mostly(self, count: int) -> bool:
        """Whether so many are most of the values that are not missing."""
        return count >= MOSTLY * len(self.filled)

    def by(self, reading: Reading) -> Column:
        """The field as numbers, as a reading has them."""
        return self.numeric(self.read(reading), reading, dated=bool(reading.dates))

    def read(self, reading: Reading) -> NDArray[np.float64]:
        """(n,): the numbers that a reading finds."""
        return read_numbers(self.raw, self.values, reading)

    def numeric(self, found: NDArray[np.float64], reading: Reading | None, *, dated: bool) -> Column:
        """The field as the numbers found (n,), with what is odd or far among its values."""
        odd = Counter(
            str(self.raw[i]).strip()
            for i in np.flatnonzero(~np.isfinite(found)).tolist()
            if self.values[i] is not None
        )
        column = numeric_column(self.name, found, dated=dated, reading=reading)
        if odd:
            column = replace(column, odd=odd.total(), example=level_text(odd.most_common(1)[0][0]))
        far = far_value(found[np.isfinite(found)], dated=dated)
        if far is None or column.excluded is not None:
            return column
        text = day(far, reading.dates if reading else "") if dated else short(far, 15)
        return replace(column, far=int((found == far).sum()), far_value=text)


def _as_spellings(field: _Field) -> Column | None:
    """Few values that are spellings of known words: levels by these words."""
    alike = spellings(_counted(field))
    if not alike:
        return None
    return category_column(
        field.name, [None if value is None else alike[level_text(value)] for value in field.values]
    )


def _as_written_numbers(field: _Field) -> Column | None:
    """Texts that are numbers, dates or times as people write them."""
    first = str(next(raw for raw, value in zip(field.raw, field.values, strict=True) if value is not None))
    first = first.strip()
    clock = last_word(field.name) == "time" and bool(_TIMES_AS_NUMBERS.fullmatch(first))
    dates = _DAYS_AS_NUMBERS.fullmatch(first) or MONTH_AS_NUMBER.fullmatch(first)
    if field.plain == len(field.filled) and not clock and not dates:
        return None
    tidied = [tidy(str(given)) for given in field.different]
    codes = field.codes.tolist()
    texts = [tidied[code] for code, value in zip(codes, field.values, strict=True) if value is not None]
    reading = find_reading(texts, clock=clock, month=names_month(field.name))
    if reading is None or (reading.unit == "s" and names_age(field.name)):  # 20s, 30s: decades of life
        return None
    found = field.read(reading)
    if reading.dates or reading.times or np.isfinite(found).sum() > field.plain:
        return field.numeric(found, reading, dated=bool(reading.dates))
    return None


def _as_moments(field: _Field) -> Column | None:
    """Numbers that count time since 1970."""
    style = _unix(field.name, [tidy(str(given)) for given in field.different if given is not None])
    return field.by(Reading(dates=style)) if style else None


def _as_serial_days(field: _Field) -> Column | None:
    """Numbers that are days as spreadsheets count them."""
    serial = field.mostly(field.plain) and names_date(field.name) and _are_serial(field.numbers)
    return field.by(Reading(dates="serial")) if serial else None


def _as_plain_numbers(field: _Field) -> Column | None:
    """Numbers as they stand; codes that begin with 0 stay texts."""
    if not field.mostly(field.plain):
        return None
    if (
        not field.dated
        and named_as(field.name) != "amount"
        and any(_ZERO_FIRST.fullmatch(str(value).strip()) for value in field.different)
    ):
        why = no_candidate([level_text(value) for value in field.filled])
        return category_column(field.name, field.values, excluded=why)
    return field.numeric(field.numbers, None, dated=field.dated)


def _as_text(field: _Field) -> Column:
    """Texts as levels; where they are too many for that, with the reason that a person can mend."""
    texts = [level_text(value) for value in field.filled]
    why = no_candidate(texts)
    if why and ambiguous_dates(texts):
        why = "holds dates of which nothing says what is the day, the month or the century; write them as 2020-01-31"
    elif why and (units := several_units(texts)):
        why = f"holds numbers in several units ({', '.join(units)}); give them in one"
    elif why and field.plain >= len(field.filled) / 2:
        odd = [
            str(given).strip()
            for given, number, value in zip(field.raw, field.numbers, field.values, strict=True)
            if value is not None and not math.isfinite(number)
        ]
        why += (
            f", because {number_of(len(odd), 'value is', 'values are')} no number, such as {level_text(odd[0])!r}; "
            "correct them, or leave them empty"
        )
    return category_column(field.name, field.values, excluded=why)


def _counted(field: _Field) -> Counter[str]:
    """How often each text occurs; nothing where they are many."""
    counts: Counter[str] = Counter()
    if len(field.different) <= MAX_LEVELS:
        sizes = np.bincount(field.codes, minlength=len(field.different)).tolist()
        for given, size in zip(field.different, sizes, strict=True):
            value = clean(given)
            if value is not None and size:
                counts[level_text(value)] += size
    return counts


def _unix(name: str, texts: Sequence[str]) -> Style:
    """In what a field counts time since 1970; nothing where its name names no time, or its numbers do not fit."""
    if not names_moment(name) or named_as(name) == "code":
        return ""
    numbers = [float(text) for text in texts if _DIGITS.fullmatch(text)]
    known = len(texts) - sum(map(is_no_value, texts))
    return unix_style(min(numbers), max(numbers)) if numbers and len(numbers) == known else ""


def _are_serial(numbers: NDArray[np.float64]) -> bool:
    """Whether numbers are days as spreadsheets count them, of 1954 to 2064."""
    known = numbers[np.isfinite(numbers)]
    return bool(len(known) and known.min() >= 20_000 and known.max() <= 60_000)

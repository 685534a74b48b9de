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
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import listed, number_of
from cdsel_backend.pool.cleaning import (
    clean,
    fold,
    in_one,
    level_text,
    part_of_text,
    plain_numbers,
    read_numbers,
    tidy,
)
from cdsel_backend.pool.columns import EMPTY, FILE_PREFIX, MISSING, OTHER, Column, codes_of, names_of_numbers
from cdsel_backend.pool.dates import MONTH_AS_NUMBER, MOSTLY, Style, ambiguous_dates, unix_style
from cdsel_backend.pool.field_words import last_word, named_as, names_age, names_date, names_moment
from cdsel_backend.pool.fields import Fields
from cdsel_backend.pool.level_names import day, level_of_value, range_names, short, with_unit
from cdsel_backend.pool.no_value import is_no_value
from cdsel_backend.pool.parts import part_names, parts_of
from cdsel_backend.pool.synonyms import spellings
from cdsel_backend.pool.values import Reading, find_reading, several_units

_MAX_LEVELS = 50  # the rest of a long list of levels becomes OTHER
_BINS = 5
_STAND_INS = frozenset(sign * number for sign in (1, -1) for number in (9, 99, 999, 9999, 99999)) | {-1.0}
_FEWEST_FOR_FAR = 7  # different values: fewer are levels, each by its own name
_FIRST_VALUES = 100  # one of them at least holds several numbers, where most of a field do
_MAX_CODES = 30  # different whole numbers that can be codes
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
    raw, cleaned = fields.column(name), [clean(value) for value in fields.values[name]]
    values = [cleaned[code] for code in fields.codes[name].tolist()]
    filled = [value for value in values if value is not None]
    nested = sum(isinstance(value, (Mapping, list, tuple, set, frozenset)) for value in raw)
    if nested > len(filled):
        return _column(name, values, excluded="holds nested values")
    if not filled:
        return _column(name, values, excluded="is empty")
    alike = spellings(_counted(cleaned, fields.codes[name]))
    if alike:
        return _column(name, [None if value is None else alike[level_text(value)] for value in values])

    def numeric(found: NDArray[np.float64], reading: Reading | None, *, dated: bool) -> Column:
        odd = Counter(
            str(raw[i]).strip() for i in np.flatnonzero(~np.isfinite(found)).tolist() if values[i] is not None
        )
        column = _numeric(name, found, dated=dated, reading=reading)
        if odd:
            column = replace(column, odd=odd.total(), example=level_text(odd.most_common(1)[0][0]))
        far = _far(found[np.isfinite(found)], dated=dated)
        if far is None or column.excluded is not None:
            return column
        text = day(far, reading.dates if reading else "") if dated else short(far, 15)
        return replace(column, far=int((found == far).sum()), far_value=text)

    dated = sum(isinstance(value, datetime) for value in filled) >= MOSTLY * len(filled)
    numbers = plain_numbers(values, dated=dated)
    plain = int(np.isfinite(numbers).sum())
    first = str(_first(raw, values)).strip()
    clock = last_word(name) == "time" and bool(_TIMES_AS_NUMBERS.fullmatch(first))
    if plain < len(filled) or clock or _DAYS_AS_NUMBERS.fullmatch(first) or MONTH_AS_NUMBER.fullmatch(first):
        tidied = [tidy(str(given)) for given in fields.values[name]]
        codes = fields.codes[name].tolist()
        texts = [tidied[code] for code, value in zip(codes, values, strict=True) if value is not None]
        reading = find_reading(texts, clock=clock)
        if reading is not None and reading.unit == "s" and names_age(name):
            reading = None  # 20s, 30s: decades of life
        if reading is not None and (reading.dates or reading.times or reading.count(Counter(texts)) > plain):
            return numeric(read_numbers(raw, values, reading), reading, dated=bool(reading.dates))
    if style := _unix(name, [tidy(str(given)) for given in fields.values[name] if given is not None]):
        reading = Reading(dates=style)
        return numeric(read_numbers(raw, values, reading), reading, dated=True)
    if plain >= MOSTLY * len(filled) and names_date(name) and _are_serial(numbers):
        reading = Reading(dates="serial")
        return numeric(read_numbers(raw, values, reading), reading, dated=True)
    if plain >= MOSTLY * len(filled):
        if (
            not dated
            and named_as(name) != "amount"
            and any(_ZERO_FIRST.fullmatch(str(value).strip()) for value in fields.values[name])
        ):
            return _column(name, values, excluded=_why_not([level_text(value) for value in filled]))
        return numeric(numbers, None, dated=dated)
    texts = [level_text(value) for value in filled]
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
            f", because {number_of(len(odd), 'value is', 'values are')} no number, such as {level_text(odd[0])!r}; "
            "correct them, or leave them empty"
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
                counts[level_text(value)] += count
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


def _first(raw: Sequence[object], values: Sequence[object]) -> object:
    return next(given for given, value in zip(raw, values, strict=True) if value is not None)


def _why_not(texts: Sequence[str]) -> str | None:
    """Say why text values make no candidate, or None."""
    distinct = len({fold(text) for text in set(texts)})
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
    spelled = [None if value is None else level_of_value(value, reading) for value in values]
    counts = Counter(text for text in spelled if text is not None)
    named: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    level: dict[str, str] = {}
    for text, count in counts.most_common():
        level[text] = named.setdefault(fold(text), text)
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
    return _finish(Column(name, "categorical", _with_special(kept, names), EMPTY, excluded), names)


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
    amount = reading is not None or (named_as(name) == "amount" and not numbered)
    if whole and not unit and len(distinct) <= _MAX_CODES and named_as(name) == "code":
        return _column(name, plain, excluded=_why_not([level_text(number) for number in known.tolist()]))
    looks_like_id = len(distinct) > 120 or numbered
    excluded = None
    if whole and not amount and looks_like_id and len(distinct) > len(known) / 2:
        excluded = f"identifies: {len(distinct)} different whole numbers in {number_of(len(known), 'item')}"
    bins = int(np.clip(len(known) // 20, 2, _BINS))
    cuts = np.quantile(known, np.arange(1, bins) / bins, method="higher")
    # Every cut falls on the least value where most are that; it is set against the others then.
    edges = tuple(np.unique(cuts[cuts > distinct[0]]).tolist() or distinct[1:2].tolist())
    labels = [with_unit(label, reading) for label in range_names(known, edges, dated=dated, reading=reading)]
    names = names_of_numbers(numbers, edges, labels)
    return _finish(
        Column(name, "numeric", _with_special(labels, names), EMPTY, excluded, edges, dated, reading), names
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


def _with_special(levels: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    present = set(names)
    return (
        *levels,
        *(special for special in (OTHER, MISSING) if special in present and special not in levels),
    )


def _finish(column: Column, names: Sequence[str]) -> Column:
    excluded = column.excluded
    if excluded is None and len(column.levels) < 2:
        excluded = f"is constant: {column.levels[0]}"
    return replace(column, codes=codes_of(names, column.levels), excluded=excluded)

"""The levels of a column: categories by their spelling, numbers cut at quantiles, and why one is no candidate."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.cleaning import fold, level_text
from cdsel_backend.pool.columns import EMPTY, MISSING, OTHER, Column, codes_of, names_of_numbers
from cdsel_backend.pool.field_words import named_as
from cdsel_backend.pool.level_names import level_of_value, range_names, with_unit
from cdsel_backend.pool.values import Reading

Value = str | float | datetime | None
"""A value of a field, cleaned; None: it is missing."""

MAX_LEVELS = 50  # the rest of a long list of levels becomes OTHER
_BINS = 5
_STAND_INS = frozenset(sign * number for sign in (1, -1) for number in (9, 99, 999, 9999, 99999)) | {-1.0}
_FEWEST_FOR_FAR = 7  # different values: fewer are levels, each by its own name
_DIGITS = 20  # of a number in a level's name, at most, by which levels are sorted
_FEWEST_KNOWN = 2  # items with a value: each of thousands of fields with fewer would be judged
_MAX_CODES = 30  # different whole numbers that can be codes


def category_column(
    name: str,
    values: Sequence[Value],
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
        level for level, _ in sizes.most_common(MAX_LEVELS if len(sizes) <= MAX_LEVELS else MAX_LEVELS - 1)
    ]
    by_name = dict(zip(spelled, values, strict=True))
    numbers = {level: value for level in kept if isinstance(value := by_name[level], float)}
    kept.sort(key=(lambda level: (numbers[level], level)) if len(numbers) == len(kept) else _in_order)
    allowed = set(kept)
    levels = [MISSING if text is None else level[text] for text in spelled]
    names = [level if level in allowed or level == MISSING else OTHER for level in levels]
    return _finish(Column(name, "categorical", _with_special(kept, names), EMPTY, excluded), names)


def _in_order(level: str) -> tuple[list[str], str]:
    """What levels are sorted by: `site 2` stands before `site 10`."""
    text = level.casefold()
    return [part.zfill(_DIGITS) if part.isdecimal() else part for part in re.split(r"(\d+)", text)], text


def numeric_column(
    name: str, numbers: NDArray[np.float64], *, dated: bool, reading: Reading | None = None
) -> Column:
    """Cut numbers at quantiles; few distinct ones, and codes, stay as they are."""
    known = numbers[np.isfinite(numbers)]
    distinct = np.unique(known)
    whole = not dated and bool((distinct == np.round(distinct)).all())
    plain = [number if math.isfinite(number) else None for number in numbers.tolist()]
    if len(distinct) <= _BINS + 1 and not dated:
        return _numbers_as_levels(name, plain, reading)
    unit = reading is not None and bool(reading.unit or reading.times)
    # An identifier is written as it is: without thousands, a sign or an error, and in a field of another name.
    numbered = name.casefold().endswith(("id", "_no", "number", "index"))
    amount = reading is not None or (named_as(name) == "amount" and not numbered)
    if whole and not unit and len(distinct) <= _MAX_CODES and named_as(name) == "code":
        why = no_candidate([level_text(number) for number in known.tolist()])
        return _numbers_as_levels(name, plain, reading, excluded=why)
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


def _numbers_as_levels(
    name: str, numbers: Sequence[float | None], reading: Reading | None, excluded: str | None = None
) -> Column:
    """Make a categorical column of numbers, by whose reading the texts of other items find their levels."""
    return replace(category_column(name, numbers, excluded, reading), reading=reading)


def far_value(known: NDArray[np.float64], *, dated: bool) -> float | None:
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
    if excluded is None and (known := len(names) - names.count(MISSING)) < _FEWEST_KNOWN:
        excluded = f"is known of {number_of(known, 'item')} only"
    return replace(column, codes=codes_of(names, column.levels), excluded=excluded)


def no_candidate(texts: Sequence[str]) -> str | None:
    """Say why text values make no candidate, or None."""
    distinct = len({fold(text) for text in set(texts)})
    if distinct > max(4, len(texts) / 2):
        if np.mean([text.count(" ") for text in texts]) > 4:
            return "is free text"
        return f"identifies: {number_of(distinct, 'different value')} in {number_of(len(texts), 'item')}"
    if distinct > MAX_LEVELS and len(texts) / distinct < 20:
        return f"is nearly unique: {number_of(distinct, 'value')}, {len(texts) / distinct:.0f} items each on average"
    return None

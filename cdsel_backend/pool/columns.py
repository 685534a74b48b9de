"""Metadata as columns: one variable over the items of a pool."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form
from cdsel_backend.pool.cleaning import clean, fold, level_text, part_of_text, plain_numbers, read_numbers
from cdsel_backend.pool.fields import Fields
from cdsel_backend.pool.level_names import level_of_value
from cdsel_backend.pool.synonyms import level_of
from cdsel_backend.pool.values import Reading

MISSING = "(missing)"
OTHER = "(other)"
FILE_PREFIX = "image: "  # begins the names of variables that the image's file says of itself
EMPTY: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


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
        plain = {own.name: getattr(self, own.name) for own in fields(self) if own.name != "codes"}
        reading = None if self.reading is None else self.reading.meta()
        return {**plain, "levels": list(self.levels), "edges": list(self.edges), "reading": reading}

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
            given = [part_of_text(value, self.part) for value in given]
        values = [clean(value) for value in given]
        if self.reading is not None:
            numbers = read_numbers(given, values, self.reading)
        else:
            numbers = plain_numbers(values, dated=self.dated)
        other = OTHER if OTHER in self.levels else MISSING
        if self.kind == "numeric":
            names = names_of_numbers(numbers, self.edges, self.levels)
        elif self.reading is not None:
            found = [
                level_of_value(x, self.reading) if math.isfinite(x) else MISSING for x in numbers.tolist()
            ]
            names = [level if level in self.levels else other for level in found]
        else:
            known = self._levels_of({value for value in values if value is not None})
            names = [MISSING if value is None else known[value] or other for value in values]
        levels = self.levels if MISSING in self.levels else (*self.levels, MISSING)
        return replace(self, levels=levels, codes=codes_of(names, levels))

    def _levels_of(
        self, values: Iterable[str | float | datetime]
    ) -> dict[str | float | datetime, str | None]:
        """The level of each value, however it is spelt; None for one that is none."""
        # What a level is called exactly goes first: versions made before spellings were folded may have both.
        folded = {fold(level): level for level in self.levels}
        folded |= {level.casefold(): level for level in self.levels}
        own = set(self.levels) - {OTHER, MISSING}
        texts = {value: level_text(value) for value in values}
        return {
            value: folded.get(text.casefold()) or folded.get(fold(text)) or level_of(text, own)
            for value, text in texts.items()
        }


def joint_codes(columns: Sequence[Column], n: int) -> NDArray[np.int64]:
    """Return (n,): a code from 0 for each combination of the columns' levels that occurs; all 0 without columns."""
    codes = np.zeros(n, dtype=np.int64)
    for column in columns:
        codes = np.unique(codes * len(column.levels) + column.codes, return_inverse=True)[1].ravel()
    return codes


def names_of_numbers(
    numbers: NDArray[np.float64], edges: tuple[float, ...], levels: Sequence[str]
) -> list[str]:
    """Return the level of each number (n,) by the lower bounds of all levels after the first."""
    known = np.isfinite(numbers)
    part = np.digitize(np.where(known, numbers, 0.0), edges)
    return [levels[i] if ok else MISSING for i, ok in zip(part, known, strict=True)]


def codes_of(names: Iterable[str], levels: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,): the index of each name among the levels."""
    position = {level: i for i, level in enumerate(levels)}
    return np.array([position[name] for name in names], dtype=np.int64)

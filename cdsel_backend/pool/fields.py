"""The raw metadata of many items by field: every value once, and where it stands.

A million tasks say "north" or "south"; kept as dictionaries they take a gigabyte, by field a few bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of n items, in order of first appearance.

    `values` of each field: its distinct values, as the tasks write them; `codes` (n,) int32 say which one an item has.
    An item without the field has None.
    """

    n: int
    values: Mapping[str, Sequence[object]]
    codes: Mapping[str, NDArray[np.int32]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, object]]) -> Fields:
        """Read the items one after the other."""
        known: dict[str, dict[Any, int]] = {}
        values: dict[str, list[object]] = {}
        codes: dict[str, array[int]] = {}
        n = 0
        for row in rows:
            for key, value in row.items():
                name = str(key)
                if name not in codes:
                    known[name], values[name], codes[name] = {}, [], array("i")
                own = codes[name]
                if len(own) < n:
                    own.extend([_code(known[name], values[name], None)] * (n - len(own)))
                own.append(_code(known[name], values[name], value))
            n += 1
        for name, own in codes.items():
            if len(own) < n:
                own.extend([_code(known[name], values[name], None)] * (n - len(own)))
        return cls(n, values, {name: np.array(own, dtype=np.int32) for name, own in codes.items()})

    def column(self, name: str) -> list[object]:
        """The value of each item (n)."""
        values = self.values[name]
        return [values[code] for code in self.codes[name].tolist()]

    def only(self, names: Collection[str]) -> Fields:
        """Some of the fields."""
        return Fields(
            self.n,
            {name: self.values[name] for name in self.values if name in names},
            {name: self.codes[name] for name in self.codes if name in names},
        )


def _code(known: dict[Any, int], values: list[object], value: object) -> int:
    # 1, 1.0 and True are equal, but not written alike; lists and dictionaries have no hash.
    key = value if isinstance(value, str) else (type(value), repr(value))
    code = known.get(key)
    if code is None:
        code = known[key] = len(values)
        values.append(value)
    return code

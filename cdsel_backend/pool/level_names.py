"""What levels are called: by their one value, or by the least and the greatest value in them."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.cleaning import level_text
from cdsel_backend.pool.dates import clock_text, date_text
from cdsel_backend.pool.gestation import weeks_text
from cdsel_backend.pool.heights import feet_text
from cdsel_backend.pool.quantities import has_sign, number_text
from cdsel_backend.pool.values import Reading

# Beyond them Python writes no day. 0001-01-01T00:00+01:00, with which some programs say that there is none, lies there.
_FIRST_TIME = datetime(1, 1, 1, tzinfo=timezone.utc).timestamp()
_LAST_TIME = datetime(9999, 12, 31, tzinfo=timezone.utc).timestamp()
TINY = 1e-300  # what is smaller is 0 to a reader


def level_of_value(value: str | float | datetime, reading: Reading | None) -> str:
    """A level by the one value that it has."""
    if reading is not None and reading.gestation and isinstance(value, float):
        return with_unit(weeks_text(value), reading)
    if reading is not None and reading.heights and isinstance(value, float):
        return feet_text(value)
    if reading is not None and reading.times and isinstance(value, float):
        return clock_text(value, exact=bool(value % 60))
    return with_unit(level_text(value), reading)


def with_unit(level: str, reading: Reading | None) -> str:
    """A level as people write it: `31-45 years`, `5-10 %`."""
    return f"{level} {reading.unit}" if reading is not None and reading.unit else level


def range_names(
    known: NDArray[np.float64], edges: tuple[float, ...], *, dated: bool, reading: Reading | None
) -> list[str]:
    """Name each level by the least and the greatest value in it: `31-45`."""
    part = np.digitize(known, edges)
    bounds = [(known[part == i].min(), known[part == i].max()) for i in range(len(edges) + 1)]
    if dated:
        kind = reading.dates if reading is not None else ""
        labels = [" to ".join(dict.fromkeys(day(x, kind) for x in pair)) for pair in bounds]
        return _distinct(labels)
    if reading is not None and reading.times:
        exact = bool((known % 60).any())
        labels = ["-".join(dict.fromkeys(clock_text(x, exact=exact) for x in pair)) for pair in bounds]
        return _distinct(labels)
    if reading is not None and reading.heights:
        return _distinct(["-".join(dict.fromkeys(map(feet_text, pair))) for pair in bounds])
    dash = " to " if known.min() < -TINY else "-"
    gestation = reading is not None and reading.gestation
    # Where all are `< 5`, `< 7`, no level need say so.
    signed = reading is not None and any(not has_sign(x) for x in known[:1000].tolist())
    for digits in range(3, 18):
        labels = []
        for pair in bounds:
            ends = [weeks_text(x) if gestation else short(x, digits) for x in pair]
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


def day(seconds: float, kind: str = "") -> str:
    """The day of a time in seconds since 1970, UTC; the first or the last there is, where a zone leads beyond it."""
    return date_text(datetime.fromtimestamp(min(max(seconds, _FIRST_TIME), _LAST_TIME), timezone.utc), kind)


def short(x: float, digits: int) -> str:
    """A number as people write it: whole ones in full, such as years, others with so many digits."""
    if abs(x) < TINY:  # as `< 0` is read
        return "0"
    whole = x == round(x) and abs(x) < 1e15
    return f"{x:.0f}" if whole else f"{float(f'{x:.{digits}g}'):.15g}"

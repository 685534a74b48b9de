"""Dots by row: a mark with its interval for each of several series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from cdsel_backend.figures.axis import Axis
from cdsel_backend.figures.plane import floats, padded, shortened, svg
from cdsel_backend.figures.style import WIDTH, Tone

_MARK = 13.0  # the height of a mark in its row, and of the row's name
_FREE = 5.0  # between rows


@dataclass(frozen=True)
class Dots:
    """A mark in each of r rows: `values` (r,), their `low` and `high` (r,), and `single` values (r, m) behind them."""

    name: str
    values: ArrayLike
    low: ArrayLike
    high: ArrayLike
    tone: Tone = "first"
    single: ArrayLike | None = None


def dots(
    names: Sequence[str],
    series: Sequence[Dots],
    *,
    x_label: str,
    reference: float | None = None,
    title: str = "",
) -> str:
    """Draw a row a name as SVG, in it a mark with its interval for each of the series, and single values behind it.

    What is not finite is left out. Raises ValueError without a row or a finite value, or for lengths that differ.
    """
    if not names or any(len(floats(own.values)) != len(names) for own in series):
        raise ValueError(f"{len(names)} names: give a value of each series for every row")
    axis = Axis(*_range(series, reference), left=10.0, right=WIDTH - 12)
    top, step = 24.0 if title else 8.0, _MARK * (len(series) + 1) + _FREE
    bottom = top + step * len(names)
    body = [f'<text class="strong" x="4" y="14">{escape(title)}</text>'] if title else []
    for tick in axis.ticks():
        body += [axis.line(tick, top, bottom), axis.number(tick, bottom)]
    if reference is not None:
        body.append(axis.line(reference, top, bottom, "zero"))
    # Their letters are smaller than they are taken to be.
    shown = shortened(names, [WIDTH + 18] * len(names))
    for row, name in enumerate(names):
        y = top + step * row + 11
        body.append(f'<text class="halo" x="{axis.left}" y="{y:.1f}">{escape(shown[row])}</text>')
        body += [_mark(axis, own, row, name, y + _MARK * (1 + number)) for number, own in enumerate(series)]
    body.append(axis.name(x_label, bottom))
    return svg(body, bottom + 38, title or x_label)


def _range(series: Sequence[Dots], reference: float | None) -> tuple[float, float]:
    """Return the ends of the axis. Raises ValueError without a finite value."""
    parts = [
        floats(part).ravel()
        for own in series
        for part in (own.values, own.low, own.high, own.single)
        if part is not None
    ]
    values = np.concatenate([*parts, [] if reference is None else [reference]])
    values = values[np.isfinite(values)]
    if not len(values):
        raise ValueError("there is no finite value to draw")
    return padded(float(values.min()), float(values.max()))


def _mark(axis: Axis, own: Dots, row: int, name: str, y: float) -> str:
    """Return the mark of a series in a row, with its interval and the single values behind it; "" without a value."""
    value, low, high = (float(floats(part)[row]) for part in (own.values, own.low, own.high))
    if not np.isfinite(value):
        return ""
    single = [] if own.single is None else floats(own.single)[row]
    behind = "".join(
        f'<circle class="bar" opacity=".35" cx="{axis.at(v):.1f}" cy="{y:.1f}" r="2.2"><title>{v:+.3f}</title></circle>'
        for v in single
        if np.isfinite(v)
    )
    whisker = interval = ""
    if np.isfinite([low, high]).all():
        whisker = f'<path class="whisker" d="M{axis.at(low):.1f} {y:.1f}H{axis.at(high):.1f}"/>'
        interval = f" ({low:.3f} to {high:.3f})"
    return (
        f'<g class="{own.tone}">{behind}{whisker}<circle class="mark" cx="{axis.at(value):.1f}" cy="{y:.1f}" '
        f'r="4"><title>{escape(own.name)}, {escape(name)}: {value:.3f}{interval}</title></circle></g>'
    )

"""Bars by row, with whiskers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdsel_backend.figures.axis import Axis
from cdsel_backend.figures.plane import floats, shortened, svg
from cdsel_backend.figures.style import WIDTH, Tone

_TOP = 8.0
_LONGEST_BESIDE = 26
"""Letters of a name beside its bar: longer ones would leave no room, and stand above the bars."""


def bars(
    names: Sequence[str],
    values: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    tones: Sequence[Tone] | None = None,
    x_label: str = "",
    reference: float = 0.0,
    log: bool = False,
    title: str = "",
    digits: int = 3,
) -> str:
    """Draw one horizontal bar a name as SVG, from `reference` on, with the interval as a whisker.

    On a `log` scale bars start at the left edge. Raises ValueError without a bar, or for lengths that differ.
    """
    y = floats(values)
    ends = [floats(end) for end in (low, high) if end is not None]
    if not names or any(len(end) != len(names) for end in (y, *ends)):
        raise ValueError(f"{len(names)} names, {len(y)} values: give one of each for every bar")
    longest = max(map(len, names))
    above = longest > _LONGEST_BESIDE
    left, step = (10.0, 40.0) if above else (10 + 7.2 * longest, 24.0)
    finite = np.concatenate([y, *ends, [] if log else [reference]])
    axis = Axis(*_range(finite, log), left, WIDTH - 52, log)
    bottom = _TOP + step * len(names)
    body = [
        axis.line(tick, 4, bottom, "zero" if tick == reference and not log else "axis")
        + axis.number(tick, bottom)
        for tick in axis.ticks()
    ]
    start = left if log else axis.at(reference)
    shown = shortened(names, [WIDTH - 10] * len(names)) if above else names
    for i, name in enumerate(names):
        top = _TOP + step * i
        anchor = f'x="{left:.1f}"' if above else f'x="{left - 6:.1f}" text-anchor="end"'
        baseline = top + (12 if above else 14)
        body.append(f'<text class="halo" {anchor} y="{baseline:.1f}">{escape(shown[i])}</text>')
        if not np.isfinite(y[i]):
            continue
        interval = [float(end[i]) for end in ends]
        tone = tones[i] if tones else "first"
        bar = _bar(axis, start, name, float(y[i]), interval, top + (16 if above else 0), digits)
        body.append(f'<g class="{tone}">{bar}')
    body.append(axis.name(x_label, bottom))
    return svg(body, bottom + 38, title or x_label)


def _range(values: NDArray[np.float64], log: bool) -> tuple[float, float]:
    """Return the ends of the axis over all that is drawn, as `Axis` has them; 0 to 1 where nothing can be."""
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    least, most = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if log:
        least, most = (float(np.log10(end)) for end in (least, most)) if len(values) else (0.0, 1.0)
        least, most = math.floor(least), max(math.ceil(most), math.floor(least) + 1)
    return least, most if most > least else least + 1.0


def _bar(
    axis: Axis, start: float, name: str, value: float, interval: Sequence[float], top: float, digits: int
) -> str:
    """Return a bar from `start` on with its whisker, closing the group, and its value behind it."""
    end = axis.at(value)
    text = f"{value:.2g}" if axis.log else f"{round(value, digits) + 0.0:.{digits}f}"
    tip, reach, whisker = text, max(end, start), ""
    if len(interval) == 2 and np.isfinite(interval).all():
        low, high = interval
        a, b = axis.at(low), axis.at(high)
        tip, reach = f"{text} ({low:.{digits}f} to {high:.{digits}f})", max(reach, b)
        caps = f"M{a:.1f} {top + 5:.1f}v8M{b:.1f} {top + 5:.1f}v8"
        whisker = f'<path class="whisker" d="M{a:.1f} {top + 9:.1f}H{b:.1f}{caps}"/>'
    return (
        f'<rect class="bar" x="{min(start, end):.1f}" y="{top + 2:.1f}" rx="1.5" '
        f'width="{max(abs(end - start), 0.5):.1f}" height="14"><title>{escape(name)}: {tip}</title></rect>'
        f"{whisker}</g>"
        f'<text class="soft halo" x="{reach + 4:.1f}" y="{top + 14:.1f}">{text}</text>'
    )

"""Figures by row or level: bars, dots with intervals, mosaics and tables by colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from cdsel_backend.figures.plane import _padded, _ticks, cut, floats, svg
from cdsel_backend.figures.style import CYCLE, WIDTH, Tone


@dataclass(frozen=True)
class Dots:
    """A mark in each of r rows: `values` (r,), their `low` and `high` (r,), and `single` values (r, m) behind them."""

    name: str
    values: ArrayLike
    low: ArrayLike
    high: ArrayLike
    tone: Tone = "first"
    single: ArrayLike | None = None


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
    finite = np.concatenate([y, *ends, [] if log else [reference]])
    finite = finite[np.isfinite(finite) & ((finite > 0) | (not log))]
    scale = np.log10 if log else np.asarray
    least, most = (float(scale(f(finite))) for f in (np.min, np.max)) if len(finite) else (0.0, 1.0)
    if log:
        least, most = math.floor(least), max(math.ceil(most), math.floor(least) + 1)
    most = most if most > least else least + 1.0
    longest = max(map(len, names))
    above = longest > 26  # names that would leave no room for the bars stand over them
    left, right, step = (10.0 if above else 10 + 7.2 * longest), WIDTH - 52, (40.0 if above else 24.0)

    def across(value: float) -> float:
        position = float(scale(value)) if not log or value > 0 else least
        return left + (right - left) * (position - least) / (most - least)

    ticks = [10.0**e for e in range(int(least), int(most) + 1)] if log else _ticks(least, most, 4)
    start = left if log else across(reference)
    bottom = 8 + step * len(names)
    body = [
        f'<line class="{"zero" if t == reference and not log else "axis"}" x1="{across(t):.1f}" x2="{across(t):.1f}" '
        f'y1="4" y2="{bottom:.1f}"/>'
        f'<text class="soft" x="{across(t):.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{t:g}</text>'
        for t in ticks
    ]
    for i, name in enumerate(names):
        top, tone = 8 + step * i, tones[i] if tones else "first"
        shown = cut(name, WIDTH - 10) if above else name
        anchor = f'x="{left:.1f}"' if above else f'x="{left - 6:.1f}" text-anchor="end"'
        body.append(
            f'<text class="halo" {anchor} y="{top + 12 + 2 * (not above):.1f}">{escape(shown)}</text>'
        )
        top += 16 * above
        if not np.isfinite(y[i]):
            continue
        end, text = across(y[i]), f"{round(y[i], digits) + 0.0:.{digits}f}" if not log else f"{y[i]:.2g}"
        tip, reach = text, max(end, start)
        whisker = ""
        if len(ends) == 2 and np.isfinite([e[i] for e in ends]).all():
            a, b = across(ends[0][i]), across(ends[1][i])
            tip, reach = f"{text} ({ends[0][i]:.{digits}f} to {ends[1][i]:.{digits}f})", max(reach, b)
            caps = f"M{a:.1f} {top + 5:.1f}v8M{b:.1f} {top + 5:.1f}v8"
            whisker = f'<path class="whisker" d="M{a:.1f} {top + 9:.1f}H{b:.1f}{caps}"/>'
        body.append(
            f'<g class="{tone}"><rect class="bar" x="{min(start, end):.1f}" y="{top + 2:.1f}" rx="1.5" '
            f'width="{max(abs(end - start), 0.5):.1f}" height="14"><title>{escape(name)}: {tip}</title></rect>'
            f"{whisker}</g>"
            f'<text class="soft halo" x="{reach + 4:.1f}" y="{top + 14:.1f}">{text}</text>'
        )
    body.append(
        f'<text class="soft" x="{(left + right) / 2:.1f}" y="{bottom + 31:.1f}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    return svg(body, bottom + 38, title or x_label)


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
    if not names or any(len(floats(a_series.values)) != len(names) for a_series in series):
        raise ValueError(f"{len(names)} names: give a value of each series for every row")
    parts = [
        floats(part).ravel()
        for s in series
        for part in (s.values, s.low, s.high, s.single)
        if part is not None
    ]
    finite = np.concatenate([*parts, [] if reference is None else [reference]])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        raise ValueError("there is no finite value to draw")
    least, most = _padded(float(finite.min()), float(finite.max()))
    left, right, top, step = 10.0, WIDTH - 12, 24.0 if title else 8.0, 18.0 + 13 * len(series)

    def across(value: float) -> float:
        return left + (right - left) * (value - least) / (most - least)

    bottom = top + step * len(names)
    body = [f'<text class="strong" x="4" y="14">{escape(title)}</text>'] if title else []
    for tick in _ticks(least, most, 4):
        body.append(
            f'<line class="axis" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{top}" y2="{bottom:.1f}"/>'
            f'<text class="soft" x="{across(tick):.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{tick:g}</text>'
        )
    if reference is not None:
        x = across(reference)
        body.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:.1f}"/>')
    for row, name in enumerate(names):
        y = top + step * row + 11
        shown = cut(name, WIDTH + 18)  # its letters are smaller than `cut` takes them to be
        body.append(f'<text class="halo" x="{left}" y="{y:.1f}">{escape(shown)}</text>')
        for s in series:
            y += 13
            value, low, high = (float(floats(part)[row]) for part in (s.values, s.low, s.high))
            marks = [] if s.single is None else floats(s.single)[row]
            behind = "".join(
                f'<circle class="bar" opacity=".35" cx="{across(v):.1f}" cy="{y:.1f}" r="2.2">'
                f"<title>{v:+.3f}</title></circle>"
                for v in marks
                if np.isfinite(v)
            )
            whisker = ""
            if np.isfinite([low, high]).all():
                whisker = f'<path class="whisker" d="M{across(low):.1f} {y:.1f}H{across(high):.1f}"/>'
            interval = f" ({low:.3f} to {high:.3f})" if whisker else ""
            if np.isfinite(value):
                body.append(
                    f'<g class="{s.tone}">{behind}{whisker}<circle class="mark" cx="{across(value):.1f}" cy="{y:.1f}" '
                    f'r="4"><title>{escape(s.name)}, {escape(name)}: {value:.3f}{interval}</title></circle></g>'
                )
    body.append(
        f'<text class="soft" x="{(left + right) / 2:.1f}" y="{bottom + 31:.1f}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    return svg(body, bottom + 38, title or x_label)


def mosaic(counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], *, title: str = "") -> str:
    """Draw a table of counts (rows, columns) as SVG: widths are the columns' shares, heights the rows' in each column.

    Raises ValueError when the names do not fit the table.
    """
    table = floats(counts)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"counts are {table.shape}, names {len(rows)} by {len(columns)}")
    total = max(float(table.sum()), 1.0)
    height = 190.0
    left, top, bottom = 6.0, 24.0, height - 22
    room = WIDTH - 2 * left - 4 * (len(columns) - 1)
    body = []
    x = left
    for j, column in enumerate(columns):
        width = room * float(table[:, j].sum()) / total
        middle = x + width / 2
        if width > 7 * min(len(column), 6):
            body.append(
                f'<text x="{middle:.1f}" y="{height - 6:.1f}" text-anchor="middle">{escape(cut(column, width))}</text>'
            )
        y = bottom
        for i, row in enumerate(rows):
            part = (bottom - top) * float(table[i, j]) / max(float(table[:, j].sum()), 1e-9)
            share = table[i, j] / total
            y -= part
            body.append(
                f'<g class="{CYCLE[i % len(CYCLE)]}"><rect class="bar" opacity=".8" x="{x:.1f}" y="{y:.1f}" '
                f'width="{max(width, 0):.1f}" height="{max(part - 1.5, 0):.1f}">'
                f"<title>{escape(row)}, {escape(column)}: {table[i, j]:g} ({share:.1%})</title></rect></g>"
            )
            if part > 16 and width > 34:
                body.append(
                    f'<text class="strong halo" x="{middle:.1f}" y="{y + part / 2 + 4:.1f}" '
                    f'text-anchor="middle">{share:.0%}</text>'
                )
        x += width + 4
    body.append(f'<text class="strong" x="{left}" y="15">{escape(title)}</text>')
    return svg(body, height, title or "label by level")


def heat_table(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    corner: str = "",
    bounds: Sequence[int] = (),
) -> str:
    """Return a table (rows, columns) as HTML, darker where more; the best of each column is underlined.

    Rows in `bounds` are shown in italics and are never best. Raises ValueError when the names do not fit the table.
    """
    table = floats(values)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"values are {table.shape}, names {len(rows)} by {len(columns)}")
    known = table[np.isfinite(table)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    usable = table.copy()
    usable[list(bounds)] = np.nan
    head = "".join(f"<th>{escape(name)}</th>" for name in (corner, *columns))
    body = ""
    for i, row in enumerate(rows):
        cells = ""
        for j, value in enumerate(table[i]):
            column = usable[:, j][np.isfinite(usable[:, j])]
            best = len(column) > 0 and i not in bounds and value == column.max()
            shade = 0.62 * (value - low) / max(high - low, 1e-12) if np.isfinite(value) else 0.0
            cells += (
                f'<td{" class=best" if best else ""} style="background:rgba(var(--heat),{shade:.2f})">'
                f"{f'{value:.3f}' if np.isfinite(value) else '–'}</td>"
            )
        name = f"<em>{escape(row)}</em>" if i in bounds else escape(row)
        body += f"<tr><th>{name}</th>{cells}</tr>"
    return f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

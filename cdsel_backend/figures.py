"""Pictures from arrays: each function returns a piece of HTML or SVG that needs nothing else but `STYLE`.

Every picture follows the reader's light or dark setting and fits a telephone's width; hovering over a mark gives
its numbers. Text is escaped here, so names may come from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Tone = Literal["first", "second", "third", "fourth", "bound", "other"]
"""What a mark is to the reader: up to four that matter, a bound that nobody can use, and the rest in grey."""

Mark = Literal["line", "bar", "dot"]
"""What a series is drawn as: a curve with dots on it, an area, or dots alone."""

WIDTH = 360.0  # of a picture, in its own units: about a telephone's pixels, so that text keeps its size

STYLE = """
.cdsel{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--ground:#fff;--first:#0067b1;--second:#c75100;--third:#00795c;
--fourth:#a0438f;--bound:#5b6675;--other:#a9b2be;--heat:0,103,177}
@media (prefers-color-scheme:dark){.cdsel{--ink:#e8ecf1;--soft:#a3adba;--line:#3a434f;--ground:#14181d;--first:#5ab4f5;
--second:#ff9a52;--third:#3fd0a4;--fourth:#e591d6;--bound:#a3adba;--other:#66707d;--heat:90,180,245}}
.cdsel svg{display:block;width:100%;height:auto;max-width:520px}
.cdsel svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
.cdsel svg .soft{fill:var(--soft)}
.cdsel svg .strong{font-weight:600}
.cdsel .axis{stroke:var(--line);stroke-width:1;fill:none}
.cdsel .zero{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.cdsel .path{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}
.cdsel .band{fill:var(--c);opacity:.16}
.cdsel .mark{fill:var(--c);stroke:var(--ground);stroke-width:1}
.cdsel .bar{fill:var(--c)}
.cdsel .whisker{stroke:var(--ink);stroke-width:1.3;fill:none}
.cdsel .first{--c:var(--first)}.cdsel .second{--c:var(--second)}.cdsel .third{--c:var(--third)}
.cdsel .fourth{--c:var(--fourth)}.cdsel .bound{--c:var(--bound)}.cdsel .other{--c:var(--other)}
.cdsel .bound .path{stroke-dasharray:5 4}.cdsel .other .path{stroke-width:1.1}
.cdsel .halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px}
.cdsel ul.legend{display:flex;flex-wrap:wrap;gap:.3em 1.2em;list-style:none;margin:.4em 0;padding:0;font-size:.9em}
.cdsel ul.legend i{display:inline-block;vertical-align:-.05em;margin-right:.45em;width:.8em;height:.8em;
background:var(--c);border-radius:2px;opacity:.8}
.cdsel ul.legend.of-dot i{border-radius:50%;opacity:1}
.cdsel ul.legend.of-line i{position:relative;width:1.7em;height:0;border-top:2.5px solid var(--c);background:none;
border-radius:0;vertical-align:.27em;opacity:1}
.cdsel ul.legend.of-line i::after{content:"";position:absolute;left:50%;top:-5px;width:7px;height:7px;border-radius:50%;
margin-left:-3.5px;background:var(--c)}
.cdsel ul.legend.of-line .bound i{border-top-style:dashed}
.cdsel .scroll{overflow-x:auto}
.cdsel table.heat{border-collapse:collapse;font-size:.85em;font-variant-numeric:tabular-nums}
.cdsel table.heat th{font-weight:500;text-align:left;padding:.25em .6em;white-space:nowrap}
.cdsel table.heat thead th{color:var(--soft);text-align:right;vertical-align:bottom}
.cdsel table.heat thead th:first-child{text-align:left}
.cdsel table.heat td{text-align:right;padding:.25em .6em;border:1px solid var(--ground)}
.cdsel table.heat td.best{font-weight:700;text-decoration:underline}
"""
"""The style sheet, once a page; pictures stand inside an element of class `cdsel`."""


@dataclass(frozen=True)
class Line:
    """A curve: `x`, `y` (m,), and the interval's `low` and `high` (m,) where there is one."""

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    tone: Tone = "other"


@dataclass(frozen=True)
class Point:
    """A mark in the plane; `labelled` ones carry their name in the picture."""

    name: str
    x: float
    y: float
    tone: Tone = "other"
    labelled: bool = False


@dataclass(frozen=True)
class Dots:
    """A mark in each of r rows: `values` (r,), their `low` and `high` (r,), and `single` values (r, m) behind them."""

    name: str
    values: ArrayLike
    low: ArrayLike
    high: ArrayLike
    tone: Tone = "first"
    single: ArrayLike | None = None


def lines(
    curves: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    height: float = 270.0,
    marks: bool = True,
) -> str:
    """Draw curves with their intervals as SVG, with `marks` a mark at each point; not-finite points are left out.

    Raises ValueError without a point.
    """
    xs = np.concatenate([np.asarray(curve.x, dtype=float) for curve in curves]) if curves else np.zeros(0)
    edges = [_array(values) for c in curves for values in (c.y, c.low, c.high) if values is not None]
    plane = _Plane(xs, np.concatenate(edges) if edges else np.zeros(0), height, x_label, y_label, title)
    plane.x_ticks = sorted(set(xs[np.isfinite(xs)].tolist())) if len(set(xs.tolist())) <= 6 else plane.x_ticks
    body = []
    for curve in sorted(curves, key=lambda c: _ORDER.index(c.tone)):
        x, y = _array(curve.x), _array(curve.y)
        kept = np.isfinite(x) & np.isfinite(y)
        points = [plane.at(a, b) for a, b in zip(x[kept], y[kept], strict=True)]
        band = ""
        if curve.low is not None and curve.high is not None and curve.tone != "other":
            low, high = _array(curve.low), _array(curve.high)
            known = kept & np.isfinite(low) & np.isfinite(high)
            ring = [plane.at(a, b) for a, b in zip(x[known], high[known], strict=True)]
            ring += [plane.at(a, b) for a, b in zip(x[known][::-1], low[known][::-1], strict=True)]
            band = f'<polygon class="band" points="{_points(ring)}"/>' if ring else ""
            if len(ring) == 2:  # an area of no width
                band = f'<polyline class="path" points="{_points(ring)}"/>'
        dots = "".join(
            f'<circle class="mark" cx="{px:.1f}" cy="{py:.1f}" r="{2.4 if curve.tone == "other" else 3.6}">'
            f"<title>{escape(curve.name)}, {escape(x_label)} {a:g}: {b:.3f}</title></circle>"
            for (px, py), a, b in zip(points, x[kept], y[kept], strict=True)
            if marks
        )
        body.append(
            f'<g class="{curve.tone}">{band}<polyline class="path" points="{_points(points)}">'
            f"<title>{escape(curve.name)}</title></polyline>{dots}</g>"
        )
    return plane.svg(body)


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    front: bool = True,
    path: Sequence[Point] = (),
    height: float = 300.0,
) -> str:
    """Draw marks as SVG, more being better on both axes.

    `front` draws the Pareto front of the marks that are no bound; `path` a curve through further marks, in order (the
    trade-off over a setting). Raises ValueError without a mark.
    """
    every = [*points, *path]
    plane = _Plane(
        np.array([p.x for p in every]), np.array([p.y for p in every]), height, x_label, y_label, title
    )
    usable = [p for p in points if p.tone != "bound"]
    body = []
    if front and usable:
        best = [usable[i] for i in pareto(np.array([[p.x, p.y] for p in usable]))]
        corners = [plane.at(best[0].x, best[0].y)]
        for p in best[1:]:
            corners += [(plane.at(p.x, p.y)[0], corners[-1][1]), plane.at(p.x, p.y)]
        body.append(
            f'<polyline class="zero" fill="none" points="{_points(corners)}"><title>Pareto front</title></polyline>'
        )
    if path:
        track = [plane.at(p.x, p.y) for p in path]
        marks = "".join(_dot(p, position, 3) for p, position in zip(path, track, strict=True))
        body.append(
            f'<g class="{path[0].tone}"><polyline class="path" points="{_points(track)}"/>{marks}</g>'
        )
    for p in sorted(points, key=lambda p: _ORDER.index(p.tone)):
        body.append(f'<g class="{p.tone}">{_dot(p, plane.at(p.x, p.y), 4 if p.tone == "other" else 5.5)}</g>')
    body.append(_names([p for p in every if p.labelled], plane))
    return plane.svg(body)


def pareto(values: NDArray[np.float64]) -> list[int]:
    """Return the rows of (n, 2) that no other row reaches in both columns, by the first column falling."""
    order = np.lexsort((-values[:, 1], -values[:, 0]))
    kept: list[int] = []
    for i in order:
        if not kept or values[i, 1] > values[kept[-1], 1]:
            kept.append(int(i))
    return kept


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
    y = _array(values)
    ends = [_array(end) for end in (low, high) if end is not None]
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
        shown = name if len(name) <= 50 else f"{name[:49]}…"
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
    return _svg(body, bottom + 38, title or x_label)


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
    if not names or any(len(_array(a_series.values)) != len(names) for a_series in series):
        raise ValueError(f"{len(names)} names: give a value of each series for every row")
    parts = [
        _array(part).ravel()
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
        shown = name if len(name) <= 54 else f"{name[:53]}…"
        body.append(f'<text class="halo" x="{left}" y="{y:.1f}">{escape(shown)}</text>')
        for s in series:
            y += 13
            value, low, high = (float(_array(part)[row]) for part in (s.values, s.low, s.high))
            marks = [] if s.single is None else _array(s.single)[row]
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
    return _svg(body, bottom + 38, title or x_label)


def mosaic(
    counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], *, title: str = "", height: float = 190.0
) -> str:
    """Draw a table of counts (rows, columns) as SVG: widths are the columns' shares, heights the rows' in each column.

    Raises ValueError when the names do not fit the table.
    """
    table = _array(counts)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"counts are {table.shape}, names {len(rows)} by {len(columns)}")
    total = max(float(table.sum()), 1.0)
    left, top, bottom = 6.0, 24.0, height - 22
    room = WIDTH - 2 * left - 4 * (len(columns) - 1)
    body = []
    x = left
    for j, column in enumerate(columns):
        width = room * float(table[:, j].sum()) / total
        middle = x + width / 2
        if width > 7 * min(len(column), 6):
            body.append(
                f'<text x="{middle:.1f}" y="{height - 6:.1f}" text-anchor="middle">{escape(_cut(column, width))}</text>'
            )
        y = bottom
        for i, row in enumerate(rows):
            part = (bottom - top) * float(table[i, j]) / max(float(table[:, j].sum()), 1e-9)
            share = table[i, j] / total
            y -= part
            body.append(
                f'<g class="{_CYCLE[i % len(_CYCLE)]}"><rect class="bar" opacity=".8" x="{x:.1f}" y="{y:.1f}" '
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
    return _svg(body, height, title or "label by level")


def legend(entries: Sequence[tuple[str, Tone]], mark: Mark = "line") -> str:
    """Return the names of tones as an HTML list, each beside a swatch that looks like its mark in the picture."""
    items = "".join(f'<li class="{tone}"><i></i>{escape(name)}</li>' for name, tone in entries)
    return f'<ul class="legend of-{mark}">{items}</ul>'


def row_legend(rows: Sequence[str]) -> str:
    """Return the legend of a mosaic's rows."""
    return legend([(row, _CYCLE[i % len(_CYCLE)]) for i, row in enumerate(rows)], "bar")


def heat_table(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    corner: str = "",
    digits: int = 3,
    bounds: Sequence[int] = (),
) -> str:
    """Return a table (rows, columns) as HTML, darker where more; the best of each column is underlined.

    Rows in `bounds` are shown in italics and are never best. Raises ValueError when the names do not fit the table.
    """
    table = _array(values)
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
                f"{f'{value:.{digits}f}' if np.isfinite(value) else '–'}</td>"
            )
        name = f"<em>{escape(row)}</em>" if i in bounds else escape(row)
        body += f"<tr><th>{name}</th>{cells}</tr>"
    return f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_ORDER: tuple[Tone, ...] = ("other", "bound", "fourth", "third", "second", "first")  # drawn last lies on top
_CYCLE: tuple[Tone, ...] = ("first", "second", "third", "fourth", "other", "bound")


class _Plane:
    """Axes with ticks over the ranges of the data."""

    def __init__(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        height: float,
        x_label: str,
        y_label: str,
        title: str,
    ) -> None:
        x, y = x[np.isfinite(x)], y[np.isfinite(y)]
        if not len(x) or not len(y):
            raise ValueError("there is no finite point to draw")
        self.height, self.x_label, self.y_label, self.title = height, x_label, y_label, title
        self.left, self.right, self.top, self.bottom = 42.0, WIDTH - 14, 40.0, height - 38
        self.x_low, self.x_high = _padded(float(x.min()), float(x.max()))
        self.y_low, self.y_high = _padded(float(y.min()), float(y.max()))
        self.x_ticks, self.y_ticks = _ticks(self.x_low, self.x_high, 4), _ticks(self.y_low, self.y_high, 5)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in the picture."""
        return (
            self.left + (self.right - self.left) * (x - self.x_low) / (self.x_high - self.x_low),
            self.bottom - (self.bottom - self.top) * (y - self.y_low) / (self.y_high - self.y_low),
        )

    def svg(self, body: Sequence[str]) -> str:
        """Return the picture with axes behind `body`."""
        axes = []
        for tick in self.y_ticks:
            y = self.at(self.x_low, tick)[1]
            axes.append(f'<line class="axis" x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            axes.append(
                f'<text class="soft" x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end">{_plain(tick)}</text>'
            )
        for tick in self.x_ticks:
            x = self.at(tick, self.y_low)[0]
            axes.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{self.bottom}" y2="{self.bottom + 4}"/>'
            )
            axes.append(
                f'<text class="soft" x="{x:.1f}" y="{self.bottom + 17}" text-anchor="middle">{_plain(tick)}</text>'
            )
        axes.append(f'<text class="strong" x="4" y="13">{escape(self.title)}</text>')
        axes.append(f'<text class="soft" x="4" y="{28 if self.title else 20}">{escape(self.y_label)}</text>')
        middle = (self.left + self.right) / 2
        axes.append(
            f'<text class="soft" x="{middle}" y="{self.height - 5}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        return _svg([*axes, *body], self.height, self.title or f"{self.y_label} against {self.x_label}")


def _svg(body: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _dot(point: Point, position: tuple[float, float], radius: float) -> str:
    return (
        f'<circle class="mark" cx="{position[0]:.1f}" cy="{position[1]:.1f}" r="{radius}">'
        f"<title>{escape(point.name)}: {point.x:.3f}, {point.y:.3f}</title></circle>"
    )


def _names(points: Sequence[Point], plane: _Plane) -> str:
    """Write names beside marks, pushed apart where they would overlap."""
    written = []
    lowest = plane.top - 14.0
    for p in sorted(points, key=lambda p: -p.y):
        x, y = plane.at(p.x, p.y)
        y = max(y + 4, lowest + 13)
        lowest = y
        end = x > (plane.left + plane.right) / 2
        anchor = f'x="{x - 8 if end else x + 8:.1f}" y="{y:.1f}" text-anchor="{"end" if end else "start"}"'
        written.append(f'<text class="halo" {anchor}>{escape(p.name)}</text>')
    return "".join(written)


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _padded(low: float, high: float) -> tuple[float, float]:
    gap = (high - low) * 0.07 or max(abs(high) * 0.05, 0.05)
    return low - gap, high + gap


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers from low to high."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _plain(tick: float) -> str:
    return f"{tick:g}"


def _cut(text: str, width: float) -> str:
    most = max(int(width / 7), 3)
    return text if len(text) <= most else f"{text[: most - 1]}…"

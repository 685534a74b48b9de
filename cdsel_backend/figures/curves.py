"""Curves and marks in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdsel_backend.figures.plane import Plane, floats, path_points
from cdsel_backend.figures.style import ORDER, Tone


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


def lines(
    curves: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    marks: bool = True,
) -> str:
    """Draw curves with their intervals as SVG, with `marks` a mark at each point; not-finite points are left out.

    Raises ValueError without a point.
    """
    xs = np.concatenate([np.asarray(curve.x, dtype=float) for curve in curves]) if curves else np.zeros(0)
    edges = [floats(values) for c in curves for values in (c.y, c.low, c.high) if values is not None]
    plane = Plane(xs, np.concatenate(edges) if edges else np.zeros(0), 270.0, x_label, y_label, title)
    plane.x_ticks = sorted(set(xs[np.isfinite(xs)].tolist())) if len(set(xs.tolist())) <= 6 else plane.x_ticks
    ordered = sorted(curves, key=lambda c: ORDER.index(c.tone))
    return plane.svg([_curve(curve, plane, marks=marks) for curve in ordered])


def _curve(curve: Line, plane: Plane, *, marks: bool) -> str:
    """Return a curve with its interval behind it, and with `marks` a mark at each point."""
    x, y = floats(curve.x), floats(curve.y)
    kept = np.isfinite(x) & np.isfinite(y)
    points = [plane.at(a, b) for a, b in zip(x[kept], y[kept], strict=True)]
    radius = 2.4 if curve.tone == "other" else 3.6
    dots = "".join(
        f'<circle class="mark" cx="{px:.1f}" cy="{py:.1f}" r="{radius}">'
        f"<title>{escape(curve.name)}, {escape(plane.x_label)} {a:g}: {b:.3f}</title></circle>"
        for (px, py), a, b in zip(points, x[kept], y[kept], strict=True)
        if marks
    )
    return (
        f'<g class="{curve.tone}">{_band(curve, plane)}<polyline class="path" points="{path_points(points)}">'
        f"<title>{escape(curve.name)}</title></polyline>{dots}</g>"
    )


def _band(curve: Line, plane: Plane) -> str:
    """Return the area of a curve's interval, "" where it has none, or is one of many curves in the background."""
    if curve.low is None or curve.high is None or curve.tone == "other":
        return ""
    x, low, high = floats(curve.x), floats(curve.low), floats(curve.high)
    known = np.isfinite(x) & np.isfinite(floats(curve.y)) & np.isfinite(low) & np.isfinite(high)
    ring = [plane.at(a, b) for a, b in zip(x[known], high[known], strict=True)]
    ring += [plane.at(a, b) for a, b in zip(x[known][::-1], low[known][::-1], strict=True)]
    if len(ring) == 2:  # an area of no width
        return f'<polyline class="path" points="{path_points(ring)}"/>'
    return f'<polygon class="band" points="{path_points(ring)}"/>' if ring else ""


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    front: bool = True,
    path: Sequence[Point] = (),
) -> str:
    """Draw marks as SVG, more being better on both axes.

    `front` draws the Pareto front of the marks that are no bound; `path` a curve through further marks, in order (the
    trade-off over a setting). Raises ValueError without a mark.
    """
    every = [*points, *path]
    plane = Plane(
        np.array([p.x for p in every]), np.array([p.y for p in every]), 300.0, x_label, y_label, title
    )
    usable = [p for p in points if p.tone != "bound"]
    body = []
    if front and usable:
        best = [usable[i] for i in pareto(np.array([[p.x, p.y] for p in usable]))]
        corners = [plane.at(best[0].x, best[0].y)]
        for p in best[1:]:
            corners += [(plane.at(p.x, p.y)[0], corners[-1][1]), plane.at(p.x, p.y)]
        body.append(
            f'<polyline class="zero" fill="none" points="{path_points(corners)}"><title>Pareto front</title></polyline>'
        )
    if path:
        track = [plane.at(p.x, p.y) for p in path]
        marks = "".join(_dot(p, position, 3) for p, position in zip(path, track, strict=True))
        body.append(
            f'<g class="{path[0].tone}"><polyline class="path" points="{path_points(track)}"/>{marks}</g>'
        )
    for p in sorted(points, key=lambda p: ORDER.index(p.tone)):
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


def _dot(point: Point, position: tuple[float, float], radius: float) -> str:
    return (
        f'<circle class="mark" cx="{position[0]:.1f}" cy="{position[1]:.1f}" r="{radius}">'
        f"<title>{escape(point.name)}: {point.x:.3f}, {point.y:.3f}</title></circle>"
    )


def _names(points: Sequence[Point], plane: Plane) -> str:
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

"""Tables as figures: counts as areas, values as shades."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from cdsel_backend.figures.plane import floats, shortened, svg
from cdsel_backend.figures.style import CYCLE, WIDTH


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
    widths = (room * table.sum(axis=0) / total).tolist()
    shown = shortened(columns, widths)
    x = left
    for j, column in enumerate(columns):
        width = widths[j]
        middle = x + width / 2
        if width > 7 * min(len(column), 6):
            body.append(
                f'<text x="{middle:.1f}" y="{height - 6:.1f}" text-anchor="middle">{escape(shown[j])}</text>'
            )
        y = bottom
        for i, row in enumerate(rows):
            part = (bottom - top) * float(table[i, j]) / max(float(table[:, j].sum()), 1e-9)
            share = table[i, j] / total
            y -= part
            body.append(
                f'<g class="{CYCLE[i % len(CYCLE)]}"><rect class="bar" opacity=".8" x="{x:.1f}" y="{y:.1f}" '
                f'width="{max(width, 0):.1f}" height="{max(part - 1.5, 0):.1f}">'
                f"<title>{escape(row)}, {escape(column)}: {table[i, j]:g} ({100 * share:.1f}\u00a0%)</title>"
                "</rect></g>"
            )
            if part > 16 and width > 34:
                body.append(
                    f'<text class="strong halo" x="{middle:.1f}" y="{y + part / 2 + 4:.1f}" '
                    f'text-anchor="middle">{100 * share:.0f}\u00a0%</text>'
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

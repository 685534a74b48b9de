"""The frame of a picture: axes with ticks over the ranges of the data, and the SVG around it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdsel_backend.figures.style import WIDTH


class Plane:
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
        self.x_low, self.x_high = padded(float(x.min()), float(x.max()))
        self.y_low, self.y_high = padded(float(y.min()), float(y.max()))
        self.x_ticks, self.y_ticks = (
            round_ticks(self.x_low, self.x_high, 4),
            round_ticks(self.y_low, self.y_high, 5),
        )

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
        return svg([*axes, *body], self.height, self.title or f"{self.y_label} against {self.x_label}")


def svg(body: Sequence[str], height: float, title: str) -> str:
    """Return a picture `WIDTH` wide as an SVG, with its title for those who hear the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def floats(values: ArrayLike) -> NDArray[np.float64]:
    """Return values as float64."""
    return np.asarray(values, dtype=np.float64)


def path_points(points: Sequence[tuple[float, float]]) -> str:
    """Return points as SVG writes them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def padded(low: float, high: float) -> tuple[float, float]:
    """Return a range with some room at both ends."""
    gap = (high - low) * 0.07 or max(abs(high) * 0.05, 0.05)
    return low - gap, high + gap


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers from low to high, `about` so many."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _plain(tick: float) -> str:
    return f"{tick:g}"


def shortened(names: Sequence[str], widths: Sequence[float]) -> list[str]:
    """Return names that are at most about so wide each in the units of a picture, and three letters at least.

    What names that would read the same have in common at their beginning is left out of them.
    """
    found = [_cut(name, width) for name, width in zip(names, widths, strict=True)]
    for i, (name, width) in enumerate(zip(names, widths, strict=True)):
        kept = found[i].removesuffix("…")
        alike = [other for other in names if other != name and other.startswith(kept)]
        if found[i] != name and alike:
            shared = os.path.commonprefix([name, *alike])  # noqa: RUF071 - by letters
            word = max(shared.rfind(" "), shared.rfind("-"), shared.rfind("_")) + 1
            found[i] = _cut(f"…{name[word:]}", width) if word else found[i]
    return found


def _cut(text: str, width: float) -> str:
    ends = np.cumsum([_letter_width(letter) for letter in text])
    if len(text) <= 3 or ends[-1] <= width:
        return text
    most = int(np.searchsorted(ends, width, side="right"))
    return f"{text[: max(most, 3) - 1]}…"


def _letter_width(letter: str) -> float:
    return 12.0 if letter in "MW@%" else 9.0 if letter.isupper() else 7.0

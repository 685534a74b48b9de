"""The axis across a figure of rows."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from cdsel_backend.figures.plane import round_ticks


@dataclass(frozen=True)
class Axis:
    """Values between `left` and `right`, in units of the picture: from `least` to `most`, or on a `log` scale from
    10^`least` to 10^`most`."""

    least: float
    most: float
    left: float
    right: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a value lies; what has no logarithm lies at the left end of a `log` scale."""
        position = value
        if self.log:
            position = float(np.log10(value)) if value > 0 else self.least
        return self.left + (self.right - self.left) * (position - self.least) / (self.most - self.least)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.log:
            return [10.0**e for e in range(int(self.least), int(self.most) + 1)]
        return round_ticks(self.least, self.most, 4)

    def line(self, value: float, top: float, bottom: float, kind: str = "axis") -> str:
        """Return a line down through the rows at a value."""
        x = self.at(value)
        return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:.1f}"/>'

    def number(self, value: float, bottom: float) -> str:
        """Return a value as text below the rows."""
        x = self.at(value)
        return f'<text class="soft" x="{x:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{value:g}</text>'

    def name(self, text: str, bottom: float) -> str:
        """Return what the axis shows as text below the numbers."""
        middle = (self.left + self.right) / 2
        return f'<text class="soft" x="{middle:.1f}" y="{bottom + 31:.1f}" text-anchor="middle">{escape(text)}</text>'

"""Pictures from arrays: each function returns a piece of HTML or SVG that needs nothing else but `STYLE`.

Every picture follows the reader's light or dark setting and fits a telephone's width; hovering over a mark gives
its numbers. Text is escaped here, so names may come from anywhere.
"""

from cdsel_backend.figures.bars import bars
from cdsel_backend.figures.curves import Line, Point, lines, pareto, scatter
from cdsel_backend.figures.dots import Dots, dots
from cdsel_backend.figures.style import STYLE, Mark, Tone, legend, row_legend
from cdsel_backend.figures.tables import heat_table, mosaic

__all__ = [
    "STYLE",
    "Dots",
    "Line",
    "Mark",
    "Point",
    "Tone",
    "bars",
    "dots",
    "heat_table",
    "legend",
    "lines",
    "mosaic",
    "pareto",
    "row_legend",
    "scatter",
]

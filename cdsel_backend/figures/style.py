"""How pictures look: the style sheet, the tones of marks, and legends."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

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


ORDER: tuple[Tone, ...] = ("other", "bound", "fourth", "third", "second", "first")  # drawn last lies on top


CYCLE: tuple[Tone, ...] = ("first", "second", "third", "fourth", "other", "bound")


def legend(entries: Sequence[tuple[str, Tone]], mark: Mark = "line") -> str:
    """Return the names of tones as an HTML list, each beside a swatch that looks like its mark in the picture."""
    items = "".join(f'<li class="{tone}"><i></i>{escape(name)}</li>' for name, tone in entries)
    return f'<ul class="legend of-{mark}">{items}</ul>'


def row_legend(rows: Sequence[str]) -> str:
    """Return the legend of a mosaic's rows."""
    return legend([(row, CYCLE[i % len(CYCLE)]) for i, row in enumerate(rows)], "bar")

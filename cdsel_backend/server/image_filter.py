"""Which images of a pool are meant: every filter of the gallery, as an address holds it.

`?label=benign&label=malignant&variable.site=north&search=P17&area=100,200,…&order=doubt`: any of the levels of a facet,
and all of the facets together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.server.facets import Facet

SEARCH, AREA, ORDER, PAGE = "search", "area", "order", "page"
ORDERS = {
    "task": "by task",
    "rank": "as they were selected",
    "doubt": "the most doubtful first",
}
LONGEST_SEARCH = 200
MOST_CORNERS = 200  # of an area


class BadFilter(ValueError):
    """A filter that cannot be read; the message names it and the fix."""


@dataclass(frozen=True)
class ImageFilter:
    """The filter that an address holds.

    `levels` maps the key of a facet to the levels of which an image must have any. `search` is a text, "" for none.
    `area` are corners (x, y) on the map, in the 65,536 steps of each of its axes. `order` is a key of `ORDERS`.
    """

    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    search: str = ""
    area: tuple[tuple[int, int], ...] = ()
    order: str = "task"

    @classmethod
    def read(cls, arguments: Mapping[str, Sequence[str]], facets: Sequence[Facet]) -> ImageFilter:
        """Read the parameters of an address.

        Raises:
            BadFilter: a parameter is no filter, or cannot be read; the message says what it should be. A filter that
            is not known must not let everything through: what is found may be excluded all at once.
        """
        known = {SEARCH, AREA, ORDER, PAGE, *(facet.key for facet in facets)}
        for name in arguments:
            if name not in known:
                raise BadFilter(f"nothing is known of {name[:80]!r} now, so that no image can be found by it")
        order = (arguments.get(ORDER) or ["task"])[0]
        if order not in ORDERS:
            raise BadFilter(
                f"the images can be ordered by {', '.join(ORDERS)}; {order[:40]!r} is none of these"
            )
        search = (arguments.get(SEARCH) or [""])[0].strip()
        if len(search) > LONGEST_SEARCH:
            raise BadFilter(f"search for at most {LONGEST_SEARCH} characters")
        levels = {facet.key: _given(arguments, facet) for facet in facets}
        return cls(
            levels={key: wanted for key, wanted in levels.items() if wanted},
            search=search,
            area=_corners((arguments.get(AREA) or [""])[0]),
            order=order,
        )

    def without(self, key: str, level: str = "") -> ImageFilter:
        """Return the filter with one level of a facet less, or without the search or the area."""
        kept = {
            name: tuple(kept_level for kept_level in wanted if (name, kept_level) != (key, level))
            for name, wanted in self.levels.items()
        }
        return ImageFilter(
            levels={name: wanted for name, wanted in kept.items() if wanted},
            search="" if key == SEARCH else self.search,
            area=() if key == AREA else self.area,
            order=self.order,
        )

    def arguments(self) -> dict[str, list[str]]:
        """Return the parameters of its address."""
        own = {key: list(wanted) for key, wanted in self.levels.items()}
        if self.search:
            own[SEARCH] = [self.search]
        if self.area:
            own[AREA] = [",".join(f"{x},{y}" for x, y in self.area)]
        if self.order != "task":
            own[ORDER] = [self.order]
        return own

    @property
    def empty(self) -> bool:
        """Whether it lets every image through."""
        return not (self.levels or self.search or self.area)

    def mask(self, facets: Sequence[Facet], places: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Return (n,): the images that it lets through, but for the search; `places` (n, 2) on the map."""
        found = np.ones(len(places), dtype=bool)
        for facet in facets:
            if wanted := self.levels.get(facet.key):
                found &= facet.mask(wanted)
        if self.area:
            found &= inside(places, self.area)
        return found


def inside(places: NDArray[np.uint16], corners: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return (n,): which places (n, 2) lie in a polygon, by the number of edges to their right (even-odd rule)."""
    polygon = np.array(corners, dtype=np.float64)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    near = np.flatnonzero(((places >= low) & (places <= high)).all(axis=1))
    x, y = places[near].astype(np.float64).T
    odd = np.zeros(len(near), dtype=bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        odd ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    found = np.zeros(len(places), dtype=bool)
    found[near[odd]] = True
    return found


def _given(arguments: Mapping[str, Sequence[str]], facet: Facet) -> tuple[str, ...]:
    return tuple(dict.fromkeys(level for level in arguments.get(facet.key, ()) if level))


def _corners(text: str) -> tuple[tuple[int, int], ...]:
    if not text:
        return ()
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    corners = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    known = all(-1 <= number <= 65_536 for number in numbers)
    if not known or len(numbers) % 2 or not 3 <= len(corners) <= MOST_CORNERS:
        raise BadFilter(
            f"an area is {MOST_CORNERS} corners at most and 3 at least, x and y of each from -1 to 65536 with commas "
            "between them; draw it anew on the map"
        )
    return corners

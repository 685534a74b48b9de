"""The map: the pool on its two main axes, coloured by whatever is known of the images (`facets.py`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from flask import Response, render_template
from numpy.typing import NDArray

from cdsel_backend.server.facets import STATES, Facet, state_codes
from cdsel_backend.server.pages.blueprint import pages, read_state, status_of
from cdsel_backend.server.pages.image_search import facets_of
from cdsel_backend.server.service import Service

MOST = 200_000  # images that are drawn: browsers take no more dots without waiting


@pages.get("/projects/<int:pool_project>/map")
def pool_map(pool_project: int) -> str:
    """The page; the script fetches the points."""
    return render_template("map.html", status=status_of(read_state(pool_project)))


@pages.get("/projects/<int:pool_project>/map.bin")
def pool_map_points(pool_project: int) -> Response:
    """The points: the length of a JSON head (uint32), the head, and the arrays it names, all little endian."""
    state = read_state(pool_project)
    table = Service.current().tables.table(state)
    found = facets_of(state, table)
    states = state_codes(state, table)
    rounds = next(facet for facet in found if facet.key == "round")
    rows = _drawn(states, rounds.codes != rounds.grey)
    places = table.unit[rows]
    variables = [MapVariable.of(number, facet) for number, facet in enumerate(found)]
    head = {
        "n": len(rows),
        "total": len(table),
        "title": state.project.title,
        "variables": [asdict(facet) for facet in variables],
        "states": STATES,
        "arrays": ["id:uint32", "task:uint32", "x:uint16", "y:uint16", "state:uint8"]
        + [f"{facet.key}:uint8" for facet in variables],
    }
    blob = json.dumps(head).encode()
    blob += b" " * (-len(blob) % 4)  # arrays of numbers start at multiples of four
    parts = [
        np.uint32(len(blob)).tobytes(),
        blob,
        table.ids[rows].astype("<u4").tobytes(),
        table.layout.pool.tasks[rows].astype("<u4").tobytes(),
        places[:, 0].tobytes(),
        places[:, 1].tobytes(),
        *(array[rows].astype("u1").tobytes() for array in (states, *(facet.codes for facet in found))),
    ]
    return Response(b"".join(parts), mimetype="application/octet-stream")


def _drawn(states: NDArray[np.uint8], selected: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows to draw, ascending: of a pool of more than `MOST` an even sample, and all that somebody has to do with."""
    n = len(states)
    if n <= MOST:
        return np.arange(n)
    shown = (states > 0) | selected
    rest = np.flatnonzero(~shown)
    sample = np.random.default_rng(0).choice(
        rest, max(0, min(len(rest), MOST - int(shown.sum()))), replace=False
    )
    shown[sample] = True
    return np.flatnonzero(shown)


@dataclass(frozen=True)
class MapVariable:
    """What the map can be coloured by, as its script reads it.

    `key`: the name of its codes; `filter`: the parameter by which the gallery filters; `grey`: the level that is drawn
    in grey; `counts`: how many images of the whole pool have each level.
    """

    key: str
    filter: str
    name: str
    note: str
    ordered: bool
    levels: tuple[str, ...]
    grey: int | None
    counts: Sequence[int]

    @classmethod
    def of(cls, number: int, facet: Facet) -> MapVariable:
        """What the script needs of a facet."""
        counts = np.bincount(facet.codes, minlength=len(facet.levels)).tolist()
        return cls(
            f"v{number}", facet.key, facet.name, facet.note, facet.ordered, facet.levels, facet.grey, counts
        )

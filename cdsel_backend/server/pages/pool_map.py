"""The map: the pool on its two main axes, coloured by variable, label or round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from flask import Response, render_template
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.server.pages.blueprint import pages, read_state
from cdsel_backend.server.pages.confounders import pool_tables
from cdsel_backend.server.pool_table import PoolTable
from cdsel_backend.server.service import Service
from cdsel_backend.server.status import project_status
from cdsel_backend.store import State

NOT_YET = "not labelled"
NO_ROUND = "not selected"
SEVERAL = "several of them"
STATES = ("in the pool", "labelled", "with the annotators", "skipped")
FAR = 1.8  # of the width that holds 99.8 % of the images: what the map shows at most
MOST = 200_000  # images that are drawn: browsers take no more dots without waiting
LEVELS = 250  # of a variable that can be drawn: codes are bytes


@pages.get("/projects/<int:pool_project>/map")
def pool_map(pool_project: int) -> str:
    """The page; the script fetches the points."""
    state = read_state(pool_project)
    return render_template("map.html", state=state, status=project_status(Service.current().store, state))


@pages.get("/projects/<int:pool_project>/map.bin")
def pool_map_points(pool_project: int) -> Response:
    """The points: the length of a JSON head (uint32), the head, and the arrays it names, all little endian."""
    state = read_state(pool_project)
    table = pool_tables().table(state)
    arrays, variables = _variables(state, table)
    states = _states(state, table)
    rows = _drawn(states, arrays[-1] < len(variables[-1].levels) - 1)
    places = _unit(table)[rows]
    head = {
        "n": len(rows),
        "total": len(table),
        "title": state.project.title,
        "variables": [asdict(one) for one in variables],
        "states": STATES,
        "arrays": ["id:uint32", "task:uint32", "x:uint16", "y:uint16", "state:uint8"]
        + [f"{one.key}:uint8" for one in variables],
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
        *(array[rows].astype("u1").tobytes() for array in (states, *arrays)),
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


def _unit(table: PoolTable) -> Any:
    """The places (n, 2) as uint16, one scale for both axes; the few that lie far out are put at the edge."""
    if not len(table):
        return np.zeros((0, 2), dtype="<u2")
    low, high = np.quantile(table.layout.places, [0.001, 0.999], axis=0)
    middle = (low + high) / 2
    farthest = 2 * float(np.abs(table.layout.places - middle).max())
    reach = max(min(farthest, FAR * float((high - low).max())), 1e-9) * 1.04
    return np.round(np.clip((table.layout.places - middle) / reach + 0.5, 0, 1) * 65535).astype("<u2")


def _states(state: State, table: PoolTable) -> Any:
    codes = np.zeros(len(table), dtype=np.uint8)
    for code, items in ((3, state.skipped), (2, state.open), (1, state.labels)):
        codes[table.rows(items)] = code
    return codes


@dataclass(frozen=True)
class MapVariable:
    """What the map can be coloured by, as its script reads it.

    `grey`: the level that is drawn in grey; `counts`: how many images of the whole pool have each level.
    """

    key: str
    name: str
    note: str
    ordered: bool
    levels: list[str]
    grey: int | None = None
    counts: Sequence[int] = ()


def _variables(state: State, table: PoolTable) -> tuple[list[NDArray[np.int64]], list[MapVariable]]:
    """Codes (n,) and names of what the map can be coloured by: confounders first, then label and round."""
    report = Report.from_json(state.project.report)
    order = {one.variable: place for place, one in enumerate(report.findings)}
    words = {one.variable: one.verdict for one in report.findings}
    columns = sorted(
        (one for one in table.columns if one.excluded is None and 1 < len(one.levels) <= LEVELS),
        key=lambda one: order.get(one.name, len(order)),
    )
    arrays = [column.codes for column in columns]
    variables = [
        MapVariable(f"v{place}", one.name, words.get(one.name, ""), one.kind == "numeric", list(one.levels))
        for place, one in enumerate(columns)
    ]
    classes = [*table.classes[: LEVELS - 1], *((SEVERAL,) if table.space.kind.several else ())]
    labels = np.full(len(table), len(classes))
    names = [f"round {row.number}" for row in state.rounds[: LEVELS - 1]]
    rounds = np.full(len(table), len(names))
    given = {item: codes for item, label in state.labels.items() if (codes := table.codes(label))}
    for row, codes in table.among(given):
        labels[row] = min(codes[0] if len(codes) == 1 else LEVELS, len(classes) - 1)
    for row, number in table.among({row.item: row.round for row in state.selections}):
        rounds[row] = min(number, len(names)) - 1
    arrays += [labels, rounds]
    variables += [
        MapVariable("label", "label", "", False, [*classes, NOT_YET], grey=len(classes)),
        MapVariable("round", "round", "", True, [*names, NO_ROUND], grey=len(names)),
    ]
    counted = [
        replace(one, counts=np.bincount(codes, minlength=len(one.levels)).tolist())
        for one, codes in zip(variables, arrays, strict=True)
    ]
    return arrays, counted

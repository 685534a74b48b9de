"""The images of a project that an address asks for: facets, filter, and rows in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest

from cdsel_backend.project.pool_predictions import PoolPredictions, read_predictions
from cdsel_backend.server.facets import VARIABLE, Facet, facets
from cdsel_backend.server.image_filter import BadFilter, ImageFilter
from cdsel_backend.server.pool_table import PoolTable
from cdsel_backend.server.service import Service
from cdsel_backend.store import State
from cdsel_backend.store.numbers import number_in


def predicted_of(state: State) -> PoolPredictions | None:
    """What the worker kept of the champion's predictions."""
    return read_predictions(Service.current().server, state)


def facets_of(state: State, table: PoolTable) -> list[Facet]:
    """What the images can be coloured and filtered by."""
    return facets(state, table, predicted_of(state))


@dataclass(frozen=True, eq=False)
class FoundImages:
    """The images that a filter lets through.

    `facets` of the embedded images, `beside` of the others; `ids` (m,): items in the order that the filter asks for,
    those that are not embedded last.
    """

    state: State
    table: PoolTable
    facets: Sequence[Facet]
    beside: Sequence[Facet]
    filter: ImageFilter
    ids: NDArray[np.int64]

    @cached_property
    def position(self) -> Mapping[int, int]:
        """Item -> where it is among those found, from 0."""
        return {item: number for number, item in enumerate(self.ids.tolist())}

    def facet(self, key: str) -> Facet | None:
        """A facet by its key."""
        return next((facet for facet in self.facets if facet.key == key), None)

    @property
    def unread(self) -> int:
        """How many images are not looked through, since so many wait that their metadata are not read."""
        by_variable = any(key.startswith(VARIABLE) for key in self.filter.levels)
        return len(_others(self.table)) if by_variable and not _others(self.table).columns else 0

    def counts(self, facet: Facet) -> dict[str, int]:
        """Level of one of the `facets` -> how many images have it, embedded or not."""
        found = facet.counts
        for other in self.beside:
            if other.key == facet.key:
                for level, count in other.counts.items():
                    found[level] = found.get(level, 0) + count
        return found

    def levels_of(self, ids: Sequence[int]) -> list[dict[str, str]]:
        """Facet -> level of some of the items found."""
        asked = np.array(ids, dtype=np.int64)
        listed = np.isin(asked, self.table.ids)
        rows, others = np.searchsorted(self.table.ids, asked), np.searchsorted(_others(self.table).ids, asked)
        return [
            {facet.key: facet.levels[facet.codes[row]] for facet in self.facets}
            if here
            else {facet.key: facet.levels[facet.codes[other]] for facet in self.beside}
            for row, other, here in zip(rows.tolist(), others.tolist(), listed.tolist(), strict=True)
        ]


def find_images(state: State, arguments: Mapping[str, Sequence[str]]) -> FoundImages:
    """Read a filter from the parameters of an address, and find its images, embedded or not.

    Raises:
        BadRequest: a parameter is none, in a sentence.
    """
    if not state.project.label_config:
        raise BadRequest("this project has no labeling config yet")
    table, predicted = Service.current().tables.table(state), predicted_of(state)
    others = _others(table)
    every = facets(state, table, predicted)
    beside = facets(state, others, predicted) if len(others) else []
    try:
        wanted = ImageFilter.read(arguments, every)
    except BadFilter as fault:
        raise BadRequest(str(fault)) from None
    mask = wanted.mask(every, table.unit)
    known = not wanted.area and wanted.levels.keys() <= {facet.key for facet in beside}
    more = wanted.mask(beside, others.unit) if known else np.zeros(len(others), dtype=bool)
    if wanted.search:
        searched = _searched(state, wanted.search)
        mask &= np.isin(table.ids, searched)
        more &= np.isin(others.ids, searched)
    rows = _ordered(state, table, np.flatnonzero(mask), wanted.order, predicted)
    ids = others.ids[more]
    # What was embedded between the two looks at the pool is in both.
    ids = np.concatenate([table.ids[rows], ids[~np.isin(ids, table.ids)]])
    return FoundImages(state, table, every, beside, wanted, ids)


def _others(table: PoolTable) -> PoolTable:
    """The images of a pool's table that are not embedded."""
    assert table.others is not None
    return table.others


def _searched(state: State, text: str) -> NDArray[np.int64]:
    """Items whose fields hold a text, and those whose task has it as its number, in the pool or in a queue."""
    items = state.store.items_with_text(state.project.id, text)
    number = number_in(text)
    if number is not None:
        items += [item.id for item in state.store.items_by_task(state.project.id, [number]).values()]
        tasks = state.in_queues
        items += tasks.item[tasks.live & (tasks.task == number)].tolist()
    return np.array(items, dtype=np.int64)


def _ordered(
    state: State, table: PoolTable, rows: NDArray[np.int64], order: str, predicted: PoolPredictions | None
) -> NDArray[np.int64]:
    """Rows in the order that is asked for; what has no place in it comes last, by task."""
    if order == "rank":
        last = np.iinfo(np.int64).max
        ranks, tasks = np.full(len(table), last), state.in_queues
        here, known = table.among(tasks.item[: tasks.first])
        ranks[here] = tasks.rank[: tasks.first][known]
        return rows[np.argsort(ranks[rows], kind="stable")]
    if order == "doubt" and predicted is not None:
        doubt = np.nan_to_num(predicted.among(table.ids).doubt, nan=-1.0)
        return rows[np.argsort(-doubt[rows], kind="stable")]
    return rows[np.argsort(table.layout.pool.tasks[rows], kind="stable")]

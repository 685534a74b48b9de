"""Tasks that show the same picture, byte for byte, and whose metadata say something else of it.

The same picture exported twice, or the same study in two folders, is no error: it is asked for once. A picture of two
patients, or of two scanners, is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form, listed, number_of
from cdsel_backend.pool.columns import FILE_PREFIX, MISSING, Column
from cdsel_backend.project.embedded import EmbeddedPool
from cdsel_backend.reconcile.context import Context
from cdsel_backend.sources.folder import FOLDER
from cdsel_backend.store.problems import MOST_TASKS, NamedTask

ORIGIN = "equal images"
_NAMED = 3  # variables and tasks that the message names


def report(context: Context, pool: EmbeddedPool) -> None:
    """Name the pictures of the pool that several tasks show with different metadata."""
    state, group = pool.state, pool.state.settings.group
    images = pool.vectors.positions
    differing = differences(images, pool.columns)
    if pool.typed.shared.any():
        differing = {str(group): pool.typed.shared} | differing
    if not differing:
        context.store.note_problems(state.project.id, ORIGIN, [])
        return
    rows = np.flatnonzero(np.any(list(differing.values()), axis=0))
    rows = rows[np.argsort(images[rows], kind="stable")]
    count = len(np.unique(images[rows]))
    items = pool.items(rows[:MOST_TASKS])
    first = [item for item, image in zip(items, images[rows], strict=False) if image == images[rows[0]]]
    names = [item.name for item in first]
    sentence = (
        f"{number_of(count, 'picture')} of the pool {form(count, 'is', 'are')} there several times, byte for byte, "
        f"with different metadata ({listed(map(repr, differing), _NAMED)}), such as {listed(names, _NAMED)}: correct "
        "the metadata, or delete what is wrong. Each is asked for once, and its labels stay on one side of the split"
    )
    home = state.project.pool_project
    tasks = [NamedTask(home, item.task, item.task) for item in items if item.source is None]
    context.store.note_problems(state.project.id, ORIGIN, [sentence], tasks)


def differences(images: NDArray[np.int64], columns: Sequence[Column]) -> dict[str, NDArray[np.bool_]]:
    """Variable -> (n,): whether another item shows the same picture with another level.

    Items of one picture have the same number in `images` (n,). Only variables that may confound are compared, without
    the folder, which says where a file lies. A missing level differs from none.
    """
    _, picture, sizes = np.unique(images, return_inverse=True, return_counts=True)
    double = sizes[picture] > 1
    found: dict[str, NDArray[np.bool_]] = {}
    if not double.any():
        return found
    for column in columns:
        if column.excluded is not None or column.name == FOLDER or column.name.startswith(FILE_PREFIX):
            continue
        known = double & (column.codes != _code_of_missing(column))
        low = np.full(len(sizes), np.iinfo(np.int64).max)
        high = np.full(len(sizes), -1)
        np.minimum.at(low, picture[known], column.codes[known])
        np.maximum.at(high, picture[known], column.codes[known])
        differ = (low < high)[picture]
        if differ.any():
            found[column.name] = differ
    return found


def _code_of_missing(column: Column) -> int:
    return column.levels.index(MISSING) if MISSING in column.levels else -1

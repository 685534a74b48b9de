"""What an admin wants of single images: excluded ones leave the queues, and those put first head the next selection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import is_task_of
from cdsel_backend.project.embedded import EmbeddedPool
from cdsel_backend.reconcile.books import WITHDRAWN, say
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State
from cdsel_backend.store.records import Directive, Item, Json, QueueTask


def withdraw_excluded(context: Context, state: State) -> bool:
    """Take open images that an admin excluded out of the queues, unless somebody is at them; returns whether any was.

    They stay selected and are in no queue, so that they come back where the exclusion is undone.
    """
    store, project = context.store, state.project.id
    if not state.open:
        return False
    wanted = store.directives(project, items=state.open)
    excluded = [item for item, directive in wanted.items() if directive is Directive.EXCLUDED]
    items = store.items_by_id(excluded)
    out: list[QueueTask] = []
    for item in excluded:
        rows = [row for row in state.tasks if row.item == item]
        tasks = [_task(context.studio, state, items[item], row) for row in rows]
        if any(task is not None and (task.get("annotations") or task.get("drafts")) for task in tasks):
            continue  # somebody is at it: what is submitted there counts
        # First the books: of a task that a kill leaves behind, the next look finds the mark, and it is taken out anew.
        store.take_out(project, [item])
        for task in tasks:
            if task is not None:
                _delete(context.studio, state, items[item], task)
        out += rows
    if out:
        count = len({row.item for row in out})
        words = (
            f"{count} image{'s were' if count > 1 else ' was'} taken out of the queue, because an administrator "
            f"excluded {'them; the budget gives their places' if count > 1 else 'it; the budget gives its place'} to "
            f"{'others' if count > 1 else 'another'}"
        )
        queue = state.queues.get(out[0].annotator, state.project.pool_project)
        say(context, queue, WITHDRAWN, [row.queue_task or 0 for row in out], words)
    return bool(out)


def first_rows(pool: EmbeddedPool, taken: NDArray[np.bool_], most: int) -> list[int]:
    """At most so many rows of the pool that an admin put first and that are not `taken` (n,), in his order."""
    put_first = [item for item, wanted in pool.state.directives.items() if wanted is Directive.FIRST]
    at = np.searchsorted(pool.ids, put_first) if put_first else np.zeros(0, dtype=np.int64)
    rows = [
        int(row)
        for row, item in zip(at, put_first, strict=True)
        if row < len(pool.ids) and pool.ids[row] == item and not taken[row]
    ]
    return rows[:most]


def _task(studio: LabelStudio, state: State, item: Item, row: QueueTask) -> Json | None:
    """The task by which an item is in a queue; None where it is gone, and another may have its number."""
    if _in_place(item, row.queue_task):
        return studio.task(item.task, state.project.pool_project)
    queue = state.queues.get(row.annotator)
    task = studio.task(row.queue_task or 0, queue) if queue is not None else None
    return task if task is not None and is_task_of(task["data"], item, space_of(state)) else None


def _in_place(item: Item, task: int | None) -> bool:
    """Whether a task is the pool's own."""
    return item.source is None and task == item.task


def _delete(studio: LabelStudio, state: State, item: Item, task: Json) -> None:
    """Take a task out of its queue; where that is the pool project itself, out of the order."""
    if not _in_place(item, task["id"]):
        studio.delete_task(task["id"])
        return
    for prediction in _predictions(studio, state, item.task):
        studio.delete_prediction(prediction)


def _predictions(studio: LabelStudio, state: State, task: int) -> Sequence[int]:
    return [
        int(prediction["id"])
        for prediction in studio.predictions(state.project.pool_project)
        if prediction["task"] == task and str(prediction["model_version"]).startswith("cdsel-round-")
    ]

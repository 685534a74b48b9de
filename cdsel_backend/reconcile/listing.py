"""The pool of Label Studio, brought in as it changes: what is new or changed is listed, and the tasks are counted.

A full listing costs Label Studio half a second of CPU for each 1,000 tasks. So it is listed whole only at first, once
a day, where the labeling config reads tasks in another way than before, and where the numbers disagree for no reason
that can be found.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from cdsel_backend.labelstudio.labels import LabelSpace
from cdsel_backend.labelstudio.source import LabelStudioPool, TaskItem
from cdsel_backend.labelstudio.tasks import unreadable_message
from cdsel_backend.project.content_history import remember_tasks
from cdsel_backend.reconcile.clock import is_over
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import PoolTask, State
from cdsel_backend.store.problems import NamedTask
from cdsel_backend.store.records import Json

LIST_WHOLE_SECONDS = 86_400.0
PART = 2000  # tasks taken in together
UNREADABLE = "unreadable tasks"  # the origin of a problem
MOST_COUNTS = 200  # requests to find what is gone
Rows = Callable[[TaskItem, int], Sequence[Json]]
"""A task with annotations, and its item -> rows of the label table."""


@dataclass(frozen=True)
class _Listed:
    """How far the pool was listed: the source's watermark, when it was listed whole, how its tasks were read."""

    watermark: str = ""
    whole_at: float = 0.0
    reading: str = ""
    unreadable: Sequence[int] = ()
    """Tasks at which Label Studio failed: the books may know nothing of them, but it counts them."""


def bring_in(context: Context, state: State, space: LabelSpace, rows_of: Rows) -> None:
    """Make the items what the pool project holds, and its labels those that are given there.

    Raises:
        LabelStudioError: the project cannot be listed; what was taken in stays, and is taken in again.
    """
    store, project, now = context.store, state.project, time.time()
    pool = LabelStudioPool(context.studio, project.pool_project, space.image)
    fact, reading = (
        f"listing of project {project.id}",
        json.dumps([project.label_config, state.settings.learn, state.settings.ignore_classes]),
    )
    listed = _Listed(*(store.fact(fact) or ()))
    again = listed.reading != reading or is_over(listed.whole_at, LIST_WHOLE_SECONDS, now)
    listing = pool.list("" if again else listed.watermark)
    seen = _take_in(context, state, pool, listing.items, rows_of)
    unreadable = {*listed.unreadable, *listing.unreadable} - seen
    if not listing.complete:
        known = sorted({*store.tasks_of_pool(project.id), *unreadable})
        if len(known) != listing.total:
            few = len(known) <= PART or len(known) < listing.total
            gone = None if few else find_gone(known, pool.count)
            if gone is None:  # too few to look for, or too many that are gone, or one that was never listed
                listing = pool.list()
                seen = _take_in(context, state, pool, listing.items, rows_of)
            else:
                _withdraw(context, state, gone)
                unreadable -= {*gone}
    if listing.complete:
        unreadable = listing.unreadable
        missing = sorted(set(store.tasks_of_pool(project.id)) - seen - unreadable)
        # Fewer than Label Studio counts is no whole listing: nothing is taken for deleted.
        if len(seen | unreadable) >= listing.total:
            _withdraw(context, state, missing)
        listed = _Listed(whole_at=now)
    messages = [unreadable_message(project.pool_project, unreadable)] if unreadable else []
    named = [NamedTask(project.pool_project, task) for task in sorted(unreadable)]
    store.note_problems(project.id, UNREADABLE, messages, named)
    store.set_fact(fact, [listing.watermark, listed.whole_at, reading, sorted(unreadable)])


def find_gone(known: Sequence[int], count: Callable[[int, int], int]) -> list[int] | None:
    """Return those of the `known` ids, ascending, that are not there any more, by counting ranges and halving them.

    `count(low, high)` says how many ids from `low` to `high` are there. None where a range holds more than is known,
    or where so many are gone that to look for each costs more than to list all.
    """
    gone: list[int] = []
    ranges = [(0, len(known))]
    for _ in range(MOST_COUNTS):
        if not ranges:
            return gone
        start, stop = ranges.pop()
        if start == stop:
            continue
        there = count(known[start], known[stop - 1])
        if there > stop - start:
            return None
        if there == 0:
            gone += known[start:stop]
        elif there < stop - start:
            middle = (start + stop) // 2
            ranges += [(start, middle), (middle, stop)]
    return None if ranges else gone


def _take_in(
    context: Context, state: State, pool: LabelStudioPool, items: Iterator[TaskItem], rows_of: Rows
) -> set[int]:
    """Take in tasks and their labels, part by part; returns which tasks there were."""
    store, project = context.store, state.project
    seen: set[int] = set()
    while part := list(islice(items, PART)):
        seen.update(task.task for task in part)
        tasks = [PoolTask(task.task, task.data, task.image, task.created_at) for task in part]
        replaced = store.set_aside(project.id, tasks)
        if replaced:  # what annotators gave on a task in the pool project is deleted with the task
            store.replace_labels(project.id, project.pool_project, [], items=replaced)
        remember_tasks(state, tasks)
        store.change_pool(project.id, tasks)
        by_task = store.items_by_task(project.id, [task.task for task in part])
        rows = [row for task in part if task.annotations for row in rows_of(task, by_task[task.task].id)]
        store.replace_labels(
            project.id, project.pool_project, rows, items=[item.id for item in by_task.values()]
        )
    return seen


def _withdraw(context: Context, state: State, tasks: Sequence[int]) -> None:
    """Note that tasks are gone, and with them what annotators said of them in the pool project."""
    store, project = context.store, state.project
    items = [item.id for item in store.items_by_task(project.id, tasks).values()]
    store.withdraw(project.id, items)
    store.replace_labels(project.id, project.pool_project, [], items=items)

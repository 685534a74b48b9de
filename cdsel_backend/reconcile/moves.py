"""Pictures whose address in the pool moved while they are in a queue: their tasks there get the address of now.

`replacements.compare` finds them: the content is what it was. Whoever is at such a task loses nothing by it.
"""

from __future__ import annotations

import logging

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.source import is_shown_as
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.project.content_history import forget_moved, moved_items
from cdsel_backend.project.display import Display
from cdsel_backend.project.source import source_item
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.edits import rewrite
from cdsel_backend.reconcile.notices import say
from cdsel_backend.reconcile.taking_out import is_in_place, task_of
from cdsel_backend.store import State

MOVED = "TASKS_MOVED"  # action of an event
log = logging.getLogger(__name__)


def readdress(context: Context, state: State) -> bool:
    """Give tasks of the queues the new address of their picture; returns whether any was given one.

    May be killed anywhere and run again: a task that has the address already is left as it is.
    """
    moved = moved_items(state)
    if not moved:
        return False
    space, display = space_of(state), Display(context.studio, context.server, state)
    items = {item: row for item, row in context.store.items_by_id(moved).items() if row.source is None}
    given: dict[int, list[int]] = {}
    for row in state.tasks:
        item = items.get(row.item)
        if item is None or not row.live or is_in_place(item, row.queue_task):
            continue
        task = task_of(context.studio, state, item, row)
        # A picture that was uploaded for it stays where it is.
        if task is None or is_shown_as(source_item(item), space.image.read(task["data"])):
            continue
        try:
            address = display.address(item)
        except UnreadableImage as fault:
            log.warning(
                "project %s: task %s keeps its address: %s", state.project.pool_project, task["id"], fault
            )
            continue
        data = item.data if address == item.image else space.image.with_address(item.data, address)
        rewrite(context, state, row, task, data)
        given.setdefault(state.queues[row.annotator], []).append(task["id"])
    forget_moved(state, moved)
    for queue, tasks in given.items():
        message = number_of(len(tasks), "task shows its image", "tasks show their images")
        say(
            context,
            queue,
            MOVED,
            tasks,
            f"{message} by the new address: it moved in the pool, and is the same picture",
        )
    return bool(given)

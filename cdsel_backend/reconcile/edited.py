"""Tasks of the queues whose data somebody changed in Label Studio: they are what they were, and what differs is named.

The pool says what an image is and what is known of it. A picture that was changed in the queue alone is another one
than the pool's, and a label given on it counts for the pool's; metadata that were corrected there are not read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdsel_backend.counted import form, listed
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import is_row_of, is_same_data, shown_by
from cdsel_backend.labelstudio.source import is_shown_as
from cdsel_backend.project.source import source_item
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.taking_out import is_in_place
from cdsel_backend.store import State
from cdsel_backend.store.problems import NamedTask
from cdsel_backend.store.records import Item, Json, Selection, Shown

SHOWN = 4  # tasks that a message names


def note_edits(
    context: Context, state: State, name: str, tasks: Sequence[Json]
) -> tuple[list[str], list[NamedTask]]:
    """Keep what the tasks of one queue show, and say which show something else than before: sentences, and the tasks.

    Args:
        context, state: the project's.
        name: whose queue.
        tasks: all tasks of the queue, `id`, `data` and `created_at` each.
    """
    store, project, space, queue = context.store, state.project.id, space_of(state), state.queues[name]
    listed = {int(task["id"]): task for task in tasks}
    rows = [row for row in state.tasks if row.annotator == name and row.queue_task in listed]
    items = store.items_by_id({row.item for row in rows})
    first: dict[int, Json] = {}
    copies: dict[tuple[int, str], Json] = {}
    pictures: list[tuple[int, Item]] = []
    metadata: list[tuple[int, Item]] = []
    for row in rows:
        task, item = listed[row.queue_task or 0], items[row.item]
        if is_in_place(item, row.queue_task) or not is_row_of(row, task, item, space):
            continue
        now, known = shown_by(task, space), row.shown
        if known is None or known.created_at != now.created_at:
            known = now if known is None else Shown(now.created_at, known.address, known.digest)
            values = {"shown": list(known.parts())}
            if isinstance(row, Selection):
                first[row.item] = values
            else:
                copies[row.item, row.annotator] = values
        if now.address != known.address and not is_shown_as(source_item(item), now.address):
            pictures.append((int(task["id"]), item))
        elif now.digest != known.digest and not is_same_data(task["data"], item, space):
            metadata.append((int(task["id"]), item))
    store.mark_selections(project, first)
    store.mark_copies(project, copies)
    pool = state.project.pool_project
    problems = []
    if pictures:
        other, count = "the pool" if state.queue_is_pool else f"the pool (project {pool})", len(pictures)
        problems.append(
            f"the {form(count, 'picture')} of {_named(pictures)} in the queue (project {queue}) "
            f"{form(count, 'was', 'were')} changed there, and {other} has {form(count, 'another', 'others')}: a label "
            "counts for the pool's picture. Where a new address is right, give it to the image in the pool, too; else "
            "write the former one into the task again, or delete the task"
        )
    if metadata:
        count = len(metadata)
        fix = form(count, "the task", "the tasks")
        fix = "the table that lists it" if state.queue_is_pool else f"{fix} of the pool (project {pool})"
        problems.append(
            f"the data of {_named(metadata)} in the queue (project {queue}) were changed there: metadata are not read "
            f"from the queue. Change {fix}, too: what the pool says counts"
        )
    edits = [*pictures, *metadata]
    return problems, [
        NamedTask(queue, task, item.task if item.source is None else None) for task, item in edits
    ]


def _named(edited: Sequence[tuple[int, Item]]) -> str:
    """The tasks of a queue, each with what it is in the pool."""
    named = [
        f"task {task} ({f'task {item.task} of the pool' if item.source is None else item.key})"
        for task, item in edited
    ]
    return listed(named, SHOWN)

"""Taking open images out of the queues, in the books and in Label Studio, unless somebody is at them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdsel_backend.labelstudio.adopting import IN_PLACE
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import UnreadableTask
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import is_row_of
from cdsel_backend.phrases import form, numbered
from cdsel_backend.reconcile.answers import TASKS_SHOWN
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.notices import WITHDRAWN, say
from cdsel_backend.store import State
from cdsel_backend.store.records import Directive, Item, Json, QueueTask


def take_out(
    context: Context, state: State, wanted: Collection[int], *, books_first: bool
) -> list[QueueTask]:
    """Take some open images out of the queues; returns the tasks that they had there.

    They stay selected and are in no queue, so that they come back unless they are excluded. One that somebody has
    begun to label stays: what is submitted there counts. So does one at which Label Studio fails.

    Args:
        context, state: the project's.
        wanted: items.
        books_first: whether the books say so before Label Studio does. Of a task that a kill leaves behind then, the
            next look finds the mark, and it is taken out anew. Where the mark holds no more, because the task shows
            another image, the task has to go first: what is missing there is withdrawn at the next look.
    """
    store, project = context.store, state.project.id
    items = store.items_by_id(wanted)
    out: list[QueueTask] = []
    for item in sorted(items):
        rows = [row for row in state.tasks if row.item == item]
        try:
            if any(is_begun(task_of(context.studio, state, items[item], row)) for row in rows):
                continue
        except UnreadableTask:
            continue  # nobody can see whether somebody is at it; the look at the queue names it
        if books_first:
            store.take_out(project, [item])
        # Asked for again: the database may have kept us waiting, and a task is deleted with what is submitted to it.
        left = False
        for row in rows:
            task = task_of(context.studio, state, items[item], row)
            left |= is_begun(task)
            if task is not None and not is_begun(task):
                _delete(context.studio, state, items[item], task)
        if left:
            continue  # the next look finds it there, in the books or by its mark
        if not books_first:
            store.take_out(project, [item])
        out += rows
    return out


def say_taken_out(context: Context, state: State, out: Sequence[QueueTask], message: str) -> None:
    """Keep, for the log and the activity page, why the tasks that `take_out` returned left their queues."""
    queue = state.queues.get(out[0].annotator, state.project.pool_project)
    say(context, queue, WITHDRAWN, [row.queue_task or 0 for row in out], message)


def excluded_but_unreadable(
    context: Context, state: State, name: str, unreadable: Collection[int]
) -> str | None:
    """That images stay in a queue though they are excluded, as Label Studio fails at their tasks; None where none do.

    Args:
        context, state: the project's.
        name: whose queue.
        unreadable: its tasks at which Label Studio fails.
    """
    rows = [row for row in state.tasks if row.annotator == name and row.queue_task in unreadable]
    wanted = context.store.directives(state.project.id, items={row.item for row in rows} & state.open)
    stay = [row.queue_task or 0 for row in rows if wanted.get(row.item) is Directive.EXCLUDED]
    if not stay:
        return None
    count, tasks = len(stay), numbered("task", sorted(stay), TASKS_SHOWN)
    return (
        f"{tasks} of the queue (project {state.queues[name]}) {form(count, 'shows an image', 'show images')} that an "
        f"administrator excluded, and {form(count, 'stays', 'stay')} there, as nobody can see whether somebody is at "
        f"{form(count, 'it', 'them')}: delete {form(count, 'it', 'them')} by Label Studio's API (DELETE "
        f"/api/tasks/{min(stay)}/)"
    )


def is_begun(task: Json | None) -> bool:
    """Whether somebody has labelled a task, or begun to; None is a task that is gone."""
    return task is not None and bool(task.get("annotations") or task.get("drafts"))


def is_in_place(item: Item, task: int | None) -> bool:
    """Whether the task of a queue is the pool's own."""
    return item.source is None and task == item.task


def task_of(studio: LabelStudio, state: State, item: Item, row: QueueTask) -> Json | None:
    """The task by which an item is in a queue; None where it is gone, and another may have its number."""
    if is_in_place(item, row.queue_task):
        return studio.task(item.task, state.project.pool_project)
    queue = state.queues.get(row.annotator)
    task = studio.task(row.queue_task or 0, queue) if queue is not None else None
    return task if task is not None and is_row_of(row, task, item, space_of(state)) else None


def _delete(studio: LabelStudio, state: State, item: Item, task: Json) -> None:
    """Take a task out of its queue; where that is the pool project itself, out of the order."""
    if not is_in_place(item, task["id"]):
        studio.delete_task(task["id"])
        return
    for prediction in _predictions(studio, state, item.task):
        studio.delete_prediction(prediction)


def _predictions(studio: LabelStudio, state: State, task: int) -> Sequence[int]:
    return [
        int(prediction["id"])
        for prediction in studio.predictions(state.project.pool_project)
        if prediction["task"] == task and str(prediction["model_version"]).startswith(IN_PLACE)
    ]

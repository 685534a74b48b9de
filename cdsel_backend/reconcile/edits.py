"""Tasks of the queues against what the pool holds of their images.

The pool says what an image is and what is known of it. Metadata that are corrected there are written into the open
tasks of the queues, whose annotators may see them. What somebody changed in a queue is named: a picture that was
changed there alone is another one than the pool's, and a label given on it counts for the pool's; metadata that were
corrected there are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cdsel_backend.labelstudio.client import NotFound, RequestRefused
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import is_row_of, is_same_data, shown_by, with_ours
from cdsel_backend.labelstudio.source import is_shown_as
from cdsel_backend.phrases import form, listed, number_of
from cdsel_backend.project.source import source_item
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.notices import say
from cdsel_backend.reconcile.taking_out import is_in_place
from cdsel_backend.store import State
from cdsel_backend.store.problems import NamedTask
from cdsel_backend.store.records import Item, Json, QueueTask, Shown

SHOWN = 4  # tasks that a message names
MOST_CORRECTIONS = 100  # tasks that are written in one look; the others are due at the next
MOST_REFUSALS = 3  # after which the others are not tried in this look
CORRECTED = "TASKS_CORRECTED"  # action of an event


def note_edits(
    context: Context, state: State, name: str, tasks: Sequence[Json]
) -> tuple[list[str], list[NamedTask]]:
    """Keep what the tasks of one queue show, and say which show something else than before: sentences, and the tasks.

    Open ones that nobody changed get the metadata that were corrected in the pool.

    Args:
        context, state: the project's.
        name: whose queue.
        tasks: all tasks of the queue, `id`, `data`, `created_at` and `annotations` each.
    """
    queue = state.queues[name]
    edits = _compare(context, state, name, tasks)
    _keep(context, state.project.id, edits.seen)
    problems = _correct(context, state, queue, edits.outdated[:MOST_CORRECTIONS])
    if edits.pictures:
        problems.append(_pictures_changed(state, queue, edits.pictures))
    if edits.metadata:
        problems.append(_metadata_changed(state, queue, edits.metadata))
    changed = [*edits.pictures, *edits.metadata]
    return problems, [
        NamedTask(queue, task, item.task if item.source is None else None) for task, item in changed
    ]


@dataclass
class _Edits:
    """How the tasks of a queue differ from what they showed before, and from the pool.

    `seen` is what they show now, where that has to be kept. `outdated` are open tasks whose metadata were corrected in
    the pool. `pictures` and `metadata` are tasks, by their ids, that somebody changed in the queue.
    """

    seen: list[tuple[QueueTask, Shown]] = field(default_factory=list)
    outdated: list[tuple[QueueTask, Json, Item]] = field(default_factory=list)
    pictures: list[tuple[int, Item]] = field(default_factory=list)
    metadata: list[tuple[int, Item]] = field(default_factory=list)


def _compare(context: Context, state: State, name: str, tasks: Sequence[Json]) -> _Edits:
    """Compare the tasks of a queue with what they showed before, and with the pool."""
    space, found = space_of(state), _Edits()
    by_id = {int(task["id"]): task for task in tasks}
    rows = [row for row in state.tasks if row.annotator == name and row.queue_task in by_id]
    items = context.store.items_by_id({row.item for row in rows})
    for row in rows:
        task, item = by_id[row.queue_task or 0], items[row.item]
        if is_in_place(item, row.queue_task) or not is_row_of(row, task, item, space):
            continue
        now, known = shown_by(task, space), row.shown
        known = now if known is None else replace(known, created_at=now.created_at)
        same = is_same_data(task["data"], item, space)
        if same and now.digest != known.digest:
            known = replace(known, digest=now.digest)
        if known != row.shown:
            found.seen.append((row, known))
        if now.address != known.address and not is_shown_as(source_item(item), now.address):
            found.pictures.append((int(task["id"]), item))
        elif same:
            continue
        elif now.digest != known.digest:
            found.metadata.append((int(task["id"]), item))
        elif row.item in state.open and not task.get("annotations") and not item.gone:
            found.outdated.append((row, task, item))
    return found


def _pictures_changed(state: State, queue: int, tasks: Sequence[tuple[int, Item]]) -> str:
    """The sentence on tasks whose picture was changed in a queue."""
    count, pool = len(tasks), state.project.pool_project
    other = "the pool" if state.queue_is_pool else f"the pool (project {pool})"
    return (
        f"the {form(count, 'picture')} of {_named(tasks)} in the queue (project {queue}) "
        f"{form(count, 'was', 'were')} changed there, and {other} has {form(count, 'another', 'others')}: a label "
        "counts for the pool's picture. Where a new address is right, give it to the image in the pool, too; else "
        "write the former one into the task again, or delete the task"
    )


def _metadata_changed(state: State, queue: int, tasks: Sequence[tuple[int, Item]]) -> str:
    """The sentence on tasks whose metadata were changed in a queue."""
    pool_tasks = form(len(tasks), "the task", "the tasks")
    where = (
        "the table that lists it"
        if state.queue_is_pool
        else f"{pool_tasks} of the pool (project {state.project.pool_project})"
    )
    return (
        f"the data of {_named(tasks)} in the queue (project {queue}) were changed there: metadata are not read "
        f"from the queue. Change {where}, too: what the pool says counts"
    )


def _correct(
    context: Context, state: State, queue: int, outdated: Sequence[tuple[QueueTask, Json, Item]]
) -> list[str]:
    """Give tasks of a queue the metadata that the pool holds by now; their pictures stay what they are.

    Returns what Label Studio refused, as sentences: no label waits for that.
    """
    image = space_of(state).image
    corrected: list[int] = []
    refused: list[str] = []
    for row, task, item in outdated:
        data: Json
        if item.source is not None:
            data = {**item.data, str(image.plain): task["data"].get(str(image.plain))}
        elif image.plain is not None:
            data = image.with_address(item.data, str(image.read(task["data"])))
        elif is_shown_as(source_item(item), image.read(task["data"])):
            data = item.data
        else:
            continue  # its address is made of several fields, and the pool has another picture by now
        try:
            rewrite(context, state, row, task, data)
        except NotFound:
            continue  # deleted since it was listed
        except RequestRefused as fault:
            refused.append(
                f"task {task['id']} of the queue (project {queue}) keeps metadata that were corrected in the pool: "
                f"{fault}"
            )
            if len(refused) == MOST_REFUSALS:
                break
            continue
        corrected.append(int(task["id"]))
    if corrected:
        count = len(corrected)
        message = (
            f"{number_of(count, 'open task')} of the queue (project {queue}) {form(count, 'has', 'have')} the metadata "
            "that were corrected in the pool"
        )
        say(context, queue, CORRECTED, corrected, message)
    return refused


def rewrite(context: Context, state: State, row: QueueTask, task: Json, data: Json) -> None:
    """Give a task of a queue the data of the pool, beside what is ours in it, and keep what it shows by then."""
    data = with_ours(data, task)
    context.studio.update_task(int(task["id"]), data)
    _keep(context, state.project.id, [(row, shown_by({**task, "data": data}, space_of(state)))])


def _keep(context: Context, project: int, seen: Sequence[tuple[QueueTask, Shown]]) -> None:
    """Keep what tasks show."""
    context.store.mark_tasks(project, ((row, {"shown": list(shown.parts())}) for row, shown in seen))


def _named(edited: Sequence[tuple[int, Item]]) -> str:
    """The tasks of a queue, each with what it is in the pool."""
    named = [
        f"task {task} ({f'task {item.task} of the pool' if item.source is None else item.key})"
        for task, item in edited
    ]
    return listed(named, SHOWN)

"""The books against Label Studio: what each queue holds is what the books say is in it.

Each listing of a queue is compared with what was pushed. A task that was deleted there is withdrawn: its image, if
nobody labelled it, leaves the budget to another one and is not selected again; the labels that had come from it stay.
A task that carries a mark of ours and is not in the books, because these were lost or restored, is taken back. A label
that is gone from a task which was not changed since belongs to a Label Studio that was restored from an earlier backup:
it stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import nan

from cdsel_backend.labelstudio.adopting import adopt_in_place, adopt_tasks
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import UnreadableTask
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import is_row_of, named_items, read_mark
from cdsel_backend.labelstudio.own_config import Kept, ensure_config
from cdsel_backend.labelstudio.queue_projects import order_problem
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.labelstudio.tasks import unreadable_message
from cdsel_backend.labelstudio.times import seconds_of
from cdsel_backend.phrases import form, number_of
from cdsel_backend.project.identity import known_project
from cdsel_backend.reconcile.answers import label_rows
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.edits import note_edits
from cdsel_backend.reconcile.notices import WITHDRAWN, say
from cdsel_backend.reconcile.queue_listing import tasks_of_queue
from cdsel_backend.reconcile.strangers import Strangers
from cdsel_backend.reconcile.taking_out import excluded_but_unreadable, is_begun
from cdsel_backend.store import State
from cdsel_backend.store.problems import NamedTask
from cdsel_backend.store.records import Json, QueueTask

RETURNED, ADOPTED = "TASKS_RETURNED", "TASKS_TAKEN_BACK"  # actions of events, as the next two
CONFIG_KEPT, LABELS_KEPT = "CONFIG_KEPT", "LABELS_KEPT"
UNREADABLE_IN_QUEUE = "unreadable queue tasks"
ORIGINS = ("foreign", "edited tasks", UNREADABLE_IN_QUEUE, "order", "queue config")  # of problems of queues
RESTORED_SECONDS = 60.0
"""By which an annotation is newer than its task where Label Studio's database is older than the annotation: it notes on
a task when an annotation of it is made, changed or deleted."""
MOST_LOOKS = 500
"""Tasks that Label Studio is asked for one by one in one look; the others are due at the next."""


def sync_queues(context: Context, state: State, queues: Sequence[int], now: float) -> None:
    """Take what was pushed, deleted and answered in these queues, and keep their labeling config that of the pool, or
    as somebody changed it."""
    project, wrong = state.project, _Wrong()
    names = {queue: name for name, queue in state.queues.items()}
    for queue in queues:
        space = space_of(state)
        if queue != project.pool_project:
            there = known_project(context.store, context.studio, queue)
            kept = keep_config(context, state, there, project.label_config)
            space = kept.space
            wrong.add("order", [order_problem(queue, kept.found)])
            wrong.add("queue config", [kept.problem])
        expected = sum(row.annotator == names[queue] for row in state.tasks)
        tasks, unreadable = tasks_of_queue(context.queue_listings, context.studio, queue, expected)
        if unreadable:
            named = [NamedTask(queue, task) for task in sorted(unreadable)]
            stay = excluded_but_unreadable(context, state, names[queue], unreadable)
            wrong.add(UNREADABLE_IN_QUEUE, [unreadable_message(queue, unreadable), stay], named)
        if compare(context, state, names[queue], tasks, now):
            state = context.read_state(project.id)
        wrong.add("edited tasks", *note_edits(context, state, names[queue], tasks))
        strangers = take_answers(context, state, queue, tasks, space, unreadable)
        if state.queue_is_pool and not context.store.sources(project.id, removed=True):
            continue  # whose images they are is known once their source is named again
        messages = strangers.messages(queue, outside=state.queue_is_pool)
        wrong.add("foreign", messages, [NamedTask(queue, task) for task in strangers.all])
    if set(queues) == set(state.queues.values()):
        for origin in ORIGINS:
            context.store.note_problems(project.id, origin, wrong.sentences[origin], wrong.tasks[origin])
        context.store.update_project(project.id, queue_synced_at=now)


class _Wrong:
    """What is wrong with queues, by the origin of the problem: sentences, and the tasks that these are about."""

    def __init__(self) -> None:
        self.sentences: dict[str, list[str]] = {origin: [] for origin in ORIGINS}
        self.tasks: dict[str, list[NamedTask]] = {origin: [] for origin in ORIGINS}

    def add(self, origin: str, sentences: Iterable[str | None], tasks: Iterable[NamedTask] = ()) -> None:
        """Add what was found in one queue; None is no sentence."""
        self.sentences[origin] += filter(None, sentences)
        self.tasks[origin] += tasks


def keep_config(context: Context, state: State, found: Json, label_config: str, *, former: str = "") -> Kept:
    """Make a queue's labeling config that of the pool, or say that somebody's own is kept (`ensure_config`)."""

    def tell(message: str) -> None:
        say(context, int(found["id"]), CONFIG_KEPT, [], message)

    return ensure_config(context.studio, state, found, label_config, tell, former=former)


def compare(context: Context, state: State, name: str, tasks: Sequence[Json], now: float) -> bool:
    """Make the books say what a queue holds, given all its tasks; returns whether they changed.

    Args:
        context, state: the project's.
        name: whose queue.
        tasks: `id`, `data` and `created_at` of each.
        now: seconds since the epoch.
    """
    queue, project, space = state.queues[name], state.project.id, space_of(state)
    listed = {int(task["id"]): task for task in tasks}
    # Where an answer came from a queue that was deleted since, its task lay there.
    elsewhere = {row.item for row in state.annotations if row.source not in state.sources}
    own = [row for row in (*state.selections, *state.copies) if row.annotator == name]
    items = context.store.items_by_id({row.item for row in own})

    def is_there(row: QueueTask) -> bool:
        """Whether the queue holds the very task, and not another with its number."""
        item = items[row.item]
        if item.source is None and row.queue_task == item.task:
            return row.live  # of a round that was delivered in place: it is the pool's task
        return row.queue_task in listed and is_row_of(row, listed[row.queue_task], item, space)

    missing = [row for row in own if row.live and not is_there(row) and row.item not in elsewhere]
    numbers = {row.queue_task or 0 for row in missing}
    numbers = deleted_tasks(context.studio, queue, len(tasks), numbers - listed.keys()) | (
        numbers & listed.keys()
    )
    deleted = [row for row in missing if row.queue_task in numbers]
    back = [row for row in own if row.withdrawn_at is not None and is_there(row)]
    if deleted:
        context.store.withdraw_tasks(project, pairs(deleted), now)
        say(context, queue, WITHDRAWN, numbers, withdrawn_message(state, queue, deleted))
    if back:
        context.store.withdraw_tasks(project, pairs(back), None)
        message = f"{_tasks(len(back))} back in the queue (project {queue})"
        say(context, queue, RETURNED, [task for _, task in pairs(back)], message)
    adopted = adopt_tasks(context.read_state(project), space_of(state), {name: tasks})
    if adopted:
        message = (
            f"{_tasks(adopted)} in the queue (project {queue}) without being in this backend's data folder, as after "
            "a restored backup, a lost folder or a killed push: they carry its mark, and count in the budget again"
        )
        say(context, queue, ADOPTED, [], message)
    return bool(deleted or back or adopted)


def deleted_tasks(studio: LabelStudio, project: int, listed: int, missing: Collection[int]) -> set[int]:
    """The tasks, of those `missing` in a listing of `listed` tasks, that were deleted.

    A listing may be cut short, or emptied by a gateway. So a task counts as deleted only where Label Studio's own count
    of the project's tasks is that of the listing, and it does not know the task by its number.
    """
    if not missing or int(studio.project(project).get("task_number") or 0) != listed:
        return set()
    return {task for task in sorted(missing)[:MOST_LOOKS] if _is_gone(studio, project, task)}


def _is_gone(studio: LabelStudio, project: int, task: int) -> bool:
    try:
        return studio.task(task, project) is None
    except UnreadableTask:
        return False


def pairs(rows: Sequence[QueueTask]) -> set[tuple[int, int]]:
    """(item, task in the queue) of each row that has a task."""
    return {(row.item, row.queue_task) for row in rows if row.queue_task is not None}


def withdrawn_message(state: State, queue: int, deleted: Sequence[QueueTask]) -> str:
    """The sentence that tasks were deleted from a queue, and on what becomes of their images."""
    items = {row.item for row in deleted}
    kept = len(items & state.labels.keys())
    lost = len(items - state.labels.keys() - {row.item for row in state.tasks if row not in deleted})
    message = f"{_tasks(len(deleted), 'was')} deleted from the queue (project {queue})"
    if lost:
        message += (
            f": {number_of(lost, 'image')} without a label {form(lost, 'is', 'are')} withdrawn and not "
            "selected again, and the budget lets another in"
        )
    if kept:
        message += f"; {number_of(kept, 'label')} that had come in {form(kept, 'stays', 'stay')}"
    return message


def take_back_in_place(context: Context, state: State) -> None:
    """Take back the rounds that were delivered in place, where the books know none, as after the folder was lost."""
    if state.settings.delivery != "in_place" or state.rounds:
        return
    pool = state.project.pool_project
    count = adopt_in_place(state, context.studio.predictions(pool))
    if count:
        message = (
            f"{_tasks(count)} in rounds that were delivered in the pool project (project {pool}) without being in this "
            "backend's data folder, as after it was lost: they count in the budget again"
        )
        say(context, pool, ADOPTED, [], message)


def withdraw_left(context: Context, state: State, now: float) -> None:
    """Take images out of the queues whose task was deleted from the pool project, or whose source was removed.

    Unless somebody is at them. Their labels would teach nothing: what left the pool is not trained on. What merely
    left a source outside Label Studio may only be out of reach, and stays.
    """
    pool = state.project.pool_project
    listed = {source.id for source in context.store.sources(state.project.id)}
    items_by_id = context.store.items_by_id(state.open)
    gone = {
        item.id
        for item in items_by_id.values()
        if item.gone and (not state.queue_is_pool if item.source is None else item.source not in listed)
    }
    rows = [row for row in state.tasks if row.item in gone and row.queue_task is not None]
    space, deleted = space_of(state), []
    for row in rows:
        # Where the pool is the queue, what left the one left the other.
        queue = state.queues.get(row.annotator)
        try:
            task = context.studio.task(row.queue_task or 0, queue) if queue is not None else None
        except UnreadableTask:
            continue  # nobody can see whether somebody is at it; the next look names it
        if task is not None and not is_row_of(row, task, items_by_id[row.item], space):
            task = None  # another has its number
        if is_begun(task):
            continue
        if task is not None:
            context.studio.delete_task(row.queue_task or 0)
        deleted.append(row)
    if deleted:
        context.store.withdraw_tasks(state.project.id, pairs(deleted), now)
        why = f"the images were deleted from the pool (project {pool})"
        if state.queue_is_pool:
            why = "their source was removed"
        message = (
            f"{_tasks(len(deleted), 'was')} taken out of the queue, because {why}; the budget lets others in"
        )
        say(context, pool, WITHDRAWN, [row.queue_task or 0 for row in deleted], message)


def take_answers(
    context: Context,
    state: State,
    queue: int,
    tasks: Sequence[Json],
    space: LabelSpace,
    unreadable: Collection[int] = (),
) -> Strangers:
    """Take the labels given in one queue, given all its tasks; those of tasks that were deleted there stay.

    So do those of tasks at which Label Studio fails (`unreadable`). Returns the tasks that are none of ours.
    """
    project = state.project.id
    pushed = {row.queue_task: row.item for row in state.tasks}
    # A task of ours that the books have no place for, such as a third one of the same image in this queue.
    strangers = [task["data"] for task in tasks if task["id"] not in pushed]
    by_task = context.store.items_by_task(project, named_items(strangers)) if strangers else {}
    copies = {(row.queue_task, row.item) for row in state.copies if row.live}
    firsts = {(row.item, row.annotator) for row in state.selections if row.live}
    names = {number: name for name, number in state.queues.items()}
    withdrawn = {row.queue_task for row in state.deleted_tasks}
    rows: list[Json] = []
    labelled: list[int] = []
    unlabelled: list[int] = []
    doubles: list[int] = []
    for task in tasks:
        number, answered = int(task["id"]), bool(task.get("annotations"))
        item = pushed.get(number)
        if item is None and (mark := read_mark(task["data"], by_task, space)) is not None:
            item = mark.item
            doubles.append(number)
        elif (number, item) in copies and (item, names.get(queue)) in firsts:
            # Second readings say what they are; a copy that was taken back does not.
            data = task["data"]
            doubles += [number] if "cdsel_item" in data and "cdsel_copy" not in data else []
        if item is None and number not in withdrawn:
            (labelled if answered else unlabelled).append(number)
        if item is not None and answered:
            rows += label_rows(number, task["annotations"], item, space)
    kept = _keep_unlisted(context, state, queue, tasks)
    kept |= {
        (row.item, row.task)
        for row in state.annotations
        if row.source == queue and row.task is not None and row.task in unreadable
    }
    context.store.replace_labels(project, queue, rows, deleted=pairs(state.deleted_tasks) | kept)
    return Strangers(labelled, unlabelled, doubles)


def _keep_unlisted(context: Context, state: State, queue: int, tasks: Sequence[Json]) -> set[tuple[int, int]]:
    """The items and tasks of labels that Label Studio lost when it was restored from a backup; says so of new ones."""
    unanswered = {
        int(task["id"]): seconds_of(task.get("updated_at"), otherwise=nan)
        for task in tasks
        if not task.get("annotations")
    }
    lost = [
        row
        for row in state.annotations
        if row.source == queue
        and row.task in unanswered
        # Numbers below 0 are of those that are kept already.
        and (
            row.annotation < 0
            or seconds_of(row.updated_at, otherwise=nan) - unanswered[row.task] > RESTORED_SECONDS
        )
    ]
    numbers = {row.task or 0 for row in lost if row.annotation > 0}
    if numbers:
        count = len(numbers)
        message = (
            f"{number_of(count, 'label')} of the queue (project {queue}) {form(count, 'is', 'are')} not in Label "
            f"Studio any more, and {form(count, 'its task was', 'their tasks were')} not changed since, as after Label "
            f"Studio was restored from a backup: {form(count, 'it stays', 'they stay')} in this backend, and whoever "
            f"labels {form(count, 'the task', 'a task')} there anew replaces {form(count, 'it', 'its label')}"
        )
        say(context, queue, LABELS_KEPT, numbers, message)
    return {(row.item, row.task) for row in lost if row.task is not None}


def _tasks(count: int, verb: str = "is") -> str:
    return f"{number_of(count, 'task')} {form(count, verb, {'is': 'are', 'was': 'were'}[verb])}"

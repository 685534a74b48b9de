"""Pictures that were replaced in the pool after they were labelled or pushed: their labels are of the former.

A task whose image gets another address may show the same picture, as after a move of the storage. So the content of the
former is remembered until the new one has been read. Where it is another, what is open in a queue leaves it and waits
to be pushed anew, with the picture of now, unless somebody has begun to label it. What was labelled is named until
somebody has looked: until each label is newer than the replacement, or gone. A label that came in from a task with the
former picture is named in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from cdsel_backend.labelstudio.times import seconds_of
from cdsel_backend.phrases import form, listed, number_of
from cdsel_backend.project.content_history import forget, former_contents, note_moved
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.taking_out import is_in_place, say_taken_out, take_out
from cdsel_backend.store import State
from cdsel_backend.store.problems import NamedTask
from cdsel_backend.store.records import Item

ORIGIN = "replaced images"
SHOWN = 6  # tasks that a message names


def compare(state: State, read: Mapping[int, str]) -> None:
    """Note which items show another picture now than when they were labelled or pushed.

    `read` maps the items whose image was just read to the hash of its content. An item with another address or file
    and the same content has only moved, which is noted as well.
    """
    former = former_contents(state) if read else {}
    seen = {item: digest for item, digest in read.items() if item in former}
    if not seen:
        return
    others = {str(item): time.time() for item, digest in seen.items() if former[item] != digest}
    forget(state, seen)
    if same := [item for item, digest in seen.items() if former[item] == digest]:
        note_moved(state, same)
    if others:
        state.store.set_fact(_others(state), (state.store.fact(_others(state)) or {}) | others)


def withdraw_replaced(context: Context, state: State) -> bool:
    """Take open images out of the queues that show a former picture there; returns whether there was any.

    They wait to be pushed again, as far as the budget goes, or for another choice by a newer model. What cannot be
    taken out, and labels of a former picture, are named.
    """
    others = context.store.fact(_others(state))
    if not others:
        return False
    items = context.store.items_by_id({int(item) for item in others} & state.open)
    wanted = _shown(state, items)
    out = take_out(context, state, wanted, books_first=False) if wanted else []
    report(context.read_state(state.project.id))
    if not out:
        return False
    count = len({row.item for row in out})
    message = (
        f"{number_of(count, 'image was', 'images were')} taken out of the queue, which showed the former "
        f"{form(count, 'picture')}: the pool holds {form(count, 'another', 'others')} by now, and "
        "the queue gets what is worth labelling of these or of others"
    )
    say_taken_out(context, state, out, message)
    return True


def report(state: State) -> None:
    """Name the tasks that were labelled, or are open, with a former picture, as problems; forget what is settled."""
    store = state.store
    others: dict[str, float] = store.fact(_others(state)) or {}
    if not others:
        return
    items = store.items_by_id(list(map(int, others)))
    shown = _shown(state, items)
    open_before: set[int] = set(store.fact(_open(state)) or ())
    labelled: list[int] = []
    waiting: list[int] = []
    for item, at in ((int(item), at) for item, at in others.items()):
        given = [seconds_of(row.updated_at) for row in state.deciding.get(item, ())]
        if given and item in open_before:
            at = others[str(item)] = max(at, *given)  # it was the former picture that was looked at
        if any(moment <= at for moment in given):
            labelled.append(item)
        elif item in state.open & shown:
            waiting.append(item)
    left = {item: at for item, at in others.items() if int(item) in {*labelled, *waiting}}
    for fact, value in ((_others(state), left), (_open(state), waiting)):
        if value != store.fact(fact):
            store.set_fact(fact, value)
    messages = []
    if labelled:
        messages.append(
            f"{_replaced(labelled, items)} labelled, and the label is of the former picture: correct or delete it in "
            "the queue; submitting it again says that it holds"
        )
    if waiting:
        messages.append(
            f"{_replaced(waiting, items)} pushed, and the queue shows the former picture, which somebody has begun to "
            "label: delete the draft there, or the task, and another image takes its place"
        )
    pool = state.project.pool_project
    of_pool = [
        items[item].task for item in (*labelled, *waiting) if item in items and items[item].source is None
    ]
    store.note_problems(state.project.id, ORIGIN, messages, [NamedTask(pool, task, task) for task in of_pool])


def _others(state: State) -> str:
    return f"replaced pictures of project {state.project.id}"


def _shown(state: State, items: Mapping[int, Item]) -> set[int]:
    """The items, of some, that a queue may show with a former picture: their task there is not the pool's own."""
    return {
        row.item
        for row in state.tasks
        if row.item in items and not is_in_place(items[row.item], row.queue_task)
    }


def _open(state: State) -> str:
    return f"open with a former picture in project {state.project.id}"


def _replaced(replaced: Sequence[int], items: Mapping[int, Item]) -> str:
    """The beginning of a sentence, to be followed by "labelled" or "pushed"."""
    named = [items[item].name for item in sorted(replaced) if item in items]
    which = listed(named, SHOWN)
    if len(named) == 1:
        return f"the picture of {which} in the pool was replaced by another after it was"
    return f"the pictures of {which} in the pool were replaced by others after each was"

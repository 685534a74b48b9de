"""Pictures that were replaced in the pool project after they were labelled or pushed: their labels are of the former.

A task whose image gets another address may show the same picture, as after a move of the storage. So the content of the
former is remembered until the new one has been read; where it is another, the tasks are named until somebody has
looked: until each label is newer than the replacement, or gone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from cdsel_backend.project.view import seconds_of
from cdsel_backend.store import PoolTask, State, Store

ORIGIN = "replaced images"
SHOWN = 12  # tasks that a message names


def remember(store: Store, state: State, tasks: Sequence[PoolTask]) -> None:
    """Remember what the images of labelled or open items hold, before tasks with other addresses are taken in."""
    matters = state.labels.keys() | state.open
    if not matters:
        return
    known = store.items_by_task(state.project.id, [task.task for task in tasks])
    former = {
        str(item.id): item.content_hash
        for task in tasks
        if (item := known.get(task.task))
        and item.id in matters
        and item.content_hash
        and item.image != task.image
    }
    if former:
        kept = store.fact(_former(state)) or {}
        store.set_fact(_former(state), former | kept)  # what was labelled is what was known first


def compare(store: Store, state: State, read: Mapping[int, str]) -> None:
    """Note which pictures that were read (item -> content hash) are others than those that were labelled or pushed."""
    former = store.fact(_former(state)) if read else None
    if not former:
        return
    seen = {item: digest for item, digest in read.items() if str(item) in former}
    if not seen:
        return
    others = {str(item): time.time() for item, digest in seen.items() if former[str(item)] != digest}
    store.set_fact(_former(state), {item: digest for item, digest in former.items() if int(item) not in seen})
    if others:
        store.set_fact(_others(state), (store.fact(_others(state)) or {}) | others)
        report(store, state)


def report(store: Store, state: State) -> None:
    """Name the tasks whose labels are of a former picture, and those that are open with one; forget what is settled."""
    others: dict[str, float] = store.fact(_others(state)) or {}
    if not others:
        return
    labelled, waiting = [], []
    for item, at in ((int(item), at) for item, at in others.items()):
        if any(seconds_of(given.updated_at) <= at for given in state.readings.get(item, ())):
            labelled.append(item)
        elif item in state.open:
            waiting.append(item)
    store.set_fact(
        _others(state), {item: at for item, at in others.items() if int(item) in {*labelled, *waiting}}
    )
    tasks = {item.id: item.task for item in store.items_by_id([*labelled, *waiting]).values()}
    words = []
    if labelled:
        words.append(
            f"{_replaced(labelled, tasks)} labelled, and the label is of the former picture: correct or delete it in "
            "the queue; submitting it again says that it holds"
        )
    if waiting:
        words.append(
            f"{_replaced(waiting, tasks)} pushed, and the queue shows the former picture: exclude the image in the "
            "gallery, or delete its task in the queue project, and another takes its place"
        )
    store.note_problems(state.project.id, ORIGIN, words)


def _former(state: State) -> str:
    return f"former pictures of project {state.project.id}"


def _others(state: State) -> str:
    return f"replaced pictures of project {state.project.id}"


def _replaced(items: Sequence[int], tasks: Mapping[int, int]) -> str:
    """That pictures were replaced after they were ..., to be followed by what."""
    named = sorted(tasks[item] for item in items if item in tasks)
    more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
    which = f"{', '.join(map(str, named[:SHOWN]))}{more}"
    if len(named) == 1:
        return f"the picture of task {which} in the pool project was replaced by another after it was"
    return f"the pictures of tasks {which} in the pool project were replaced by others after each was"

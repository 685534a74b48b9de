"""What pictures that were labelled or pushed held before another took their place in the pool.

A task whose image gets another address may show the same picture, as after a move of the storage, and a file that is
written anew may hold what it held. So the content is remembered until the new one has been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cdsel_backend.pool.source import SourceItem
from cdsel_backend.store import PoolTask, State
from cdsel_backend.store.records import Item, Source


def remember_tasks(state: State, tasks: Sequence[PoolTask]) -> None:
    """Remember what the images of labelled or open items hold, before tasks with other addresses are taken in."""
    if not (state.labels or state.open):
        return
    known = state.store.items_by_task(state.project.id, [task.task for task in tasks])
    pairs = ((known.get(task.task), task) for task in tasks)
    _remember(state, (item for item, task in pairs if item is not None and item.image != task.image))


def remember_files(state: State, source: Source, items: Sequence[SourceItem]) -> None:
    """Remember what the images of labelled or open items hold, before what a source outside Label Studio lists is taken
    in: their files may have been written anew."""
    if not (state.labels or state.open):
        return
    known = state.store.items_by_key(source.id, [item.key for item in items])
    pairs = ((known.get(item.key), item) for item in items)
    changed = (
        own for own, item in pairs if own is not None and (own.stamp, own.image) != (item.stamp, item.image)
    )
    _remember(state, changed)


def former_contents(state: State) -> dict[int, str]:
    """Item -> the hash of what its picture held."""
    return {int(item): digest for item, digest in (state.store.fact(_name(state)) or {}).items()}


def forget(state: State, items: Iterable[int]) -> None:
    """Forget what some pictures held."""
    gone = {str(item) for item in items}
    state.store.change_fact(
        _name(state), lambda known: {item: known[item] for item in known or () if item not in gone}
    )


def note_moved(state: State, items: Iterable[int]) -> None:
    """Keep that some items have another address or file now, and still show the same picture."""
    state.store.change_fact(_moved(state), lambda known: sorted({*(known or ()), *items}))


def moved_items(state: State) -> set[int]:
    """The items that moved (`note_moved`), and whose tasks in the queues may still show the former address."""
    return set(state.store.fact(_moved(state)) or ())


def forget_moved(state: State, items: Iterable[int]) -> None:
    """Forget that some items moved, once their tasks show the address of now."""
    state.store.change_fact(_moved(state), lambda known: sorted(set(known or ()) - set(items)))


def _remember(state: State, changed: Iterable[Item]) -> None:
    matters = state.labels.keys() | state.open
    former = {str(item.id): item.content_hash for item in changed if item.id in matters and item.content_hash}
    if former:
        # What was labelled is what was known first.
        state.store.change_fact(_name(state), lambda known: former | (known or {}))


def _name(state: State) -> str:
    return f"former pictures of project {state.project.id}"


def _moved(state: State) -> str:
    return f"moved pictures of project {state.project.id}"

"""What a task of a queue says of itself, checked: anybody with an account may import a task that says the same.

A queue's tasks hold the pool task that they represent (`cdsel_item`), their rank, and whether they are a second
reading. The books say which tasks were pushed; a mark counts only for tasks that are not in them, because a push died
before it was recorded or the books were lost, and then only where the task shows the very image of the item that it
names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdsel_backend.labelstudio.source import is_shown_as
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.store.numbers import is_number
from cdsel_backend.store.records import Item, Json, QueueTask, Shown

OURS = "cdsel_"  # what the names of our own fields of a task begin with
ANNOTATOR = "cdsel_annotator"  # in a task's data: the account whose own queue it was pushed to
MAX_SENTENCE = 2000  # characters of a reason that are read


@dataclass(frozen=True)
class Mark:
    """A mark that holds: our item, its rank, whether it is a second reading, its round (0: not said) and reason."""

    item: int
    rank: int
    copy: bool
    round: int = 0
    sentence: str = ""


def read_mark(data: object, by_task: Mapping[int, Item], space: LabelSpace) -> Mark | None:
    """The mark in a task's data; None where there is none, or one that does not hold.

    Args:
        data: the data of a task of a queue.
        by_task: pool task -> its item.
        space: the project's, which knows where a task holds its image.
    """
    if not isinstance(data, Mapping):
        return None
    task, rank, copy = data.get("cdsel_item"), data.get("cdsel_rank"), data.get("cdsel_copy", False)
    if not (is_number(task) and is_number(rank) and isinstance(copy, bool)):
        return None
    item = by_task.get(task)
    if item is None:
        return None
    if item.source is not None:
        # An image from outside Label Studio was uploaded for the task: its address there is not ours to know, and
        # after the books were lost its number may be another image's.
        holds = data.get("cdsel_key") == key_mark(item)
    else:
        # A task with a key shows an image from outside Label Studio, whose number there may be that of any task.
        shown = SourceItem(str(item.task), item.image, item.data)
        holds = "cdsel_key" not in data and is_shown_as(shown, space.image.read(data))
    if not holds:
        return None
    number, sentence = data.get("cdsel_round"), data.get("cdsel_reason")
    return Mark(
        item.id,
        rank,
        copy,
        number if is_number(number) else 0,
        sentence[:MAX_SENTENCE] if isinstance(sentence, str) else "",
    )


def is_task_of(data: object, item: Item, space: LabelSpace) -> bool:
    """Whether a task of a queue is an item's task, judged by its data, where its number is that of the item's task.

    Label Studio on SQLite gives the number of the task that was deleted last to the next one. As an administrator may
    have changed the data of the item's own task, a task counts as the item's unless its data say otherwise.
    """
    if not isinstance(data, Mapping):
        return False
    named, key = data.get("cdsel_item"), data.get("cdsel_key")
    if item.source is not None and key is not None:
        return bool(key == key_mark(item))
    if item.task > 0 and is_number(named) and named == item.task:
        return True
    if item.source is not None:
        return not is_number(named)
    # The pool task's number belongs to another item now, the item's number to another task, as after the pool was
    # imported again, or the task says of none: its image tells.
    number = named if is_number(named) else item.task
    return is_shown_as(SourceItem(str(number), item.image, item.data), space.image.read(data))


def is_row_of(row: QueueTask, task: Mapping[str, Any], item: Item, space: LabelSpace) -> bool:
    """Whether a task of a queue is a row's task, where it has the number of that: by the time at which it was made, or
    else by its data."""
    made = str(task.get("created_at") or "")
    same = row.shown is not None and made != "" and row.shown.created_at == made
    return same or is_task_of(task.get("data"), item, space)


def shown_by(task: Mapping[str, Any], space: LabelSpace) -> Shown:
    """What a task of a queue shows; before the task is pushed, `created_at` is ""."""
    data = task.get("data")
    data = data if isinstance(data, Mapping) else {}
    words = json.dumps(_others(data, space), sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.blake2b(words.encode(errors="replace"), digest_size=8).hexdigest()
    return Shown(str(task.get("created_at") or ""), space.image.read(data) or "", digest)


def is_same_data(data: object, item: Item, space: LabelSpace) -> bool:
    """Whether a task of a queue holds what the pool holds of an item, the address of the image apart."""
    return isinstance(data, Mapping) and _others(data, space) == _others(item.data, space)


def _others(data: Mapping[str, Any], space: LabelSpace) -> Json:
    """A task's data without what is ours and without the address of the image."""
    return space.image.metadata(without_ours(data))


def without_ours(data: Mapping[str, Any]) -> dict[str, Any]:
    """A task's data, or a row of a table, without fields that are named as ours."""
    return {name: value for name, value in data.items() if not name.startswith(OURS)}


def with_ours(data: Mapping[str, Any], task: Mapping[str, Any]) -> Json:
    """New data for a task of a queue, with our own fields as the task has them."""
    return {
        **without_ours(data),
        **{name: task["data"][name] for name in task["data"] if name.startswith(OURS)},
    }


def key_mark(item: Item) -> str:
    """A digest of an item's name in its source: the name itself may tell annotators more than they should know."""
    return hashlib.blake2b((item.key or "").encode(), digest_size=16).hexdigest()


def named_items(data: Iterable[object]) -> set[int]:
    """The tasks of the pool that the data of tasks name, right or wrong: those to look up for `read_mark`."""
    named = (of_task.get("cdsel_item") for of_task in data if isinstance(of_task, Mapping))
    return {task for task in named if is_number(task)}

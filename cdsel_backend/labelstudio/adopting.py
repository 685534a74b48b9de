"""Tasks of the queues that the books do not know, because a push died before it was recorded or the books were lost.

Whatever carries a mark that holds (`marks.py`) is recorded, whatever its rank: an open task that nobody knows of would
be pushed beyond the budget, and its image a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cdsel_backend.labelstudio.marks import Mark, key_mark, named_items, read_mark, shown_by
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.store import State
from cdsel_backend.store.queue import Adopted
from cdsel_backend.store.records import Item, Json

NO_REASON = "Selected before this backend's data folder was made or restored; why is not known any more."
IN_PLACE = "cdsel-round-"
"""Before a round's number: the model version of the predictions that show it in place."""
_ROUND = re.compile(rf"{IN_PLACE}(\d{{1,9}})")
SPARE_RANKS = 1000
"""Ranks beyond two for each item of the pool that a task may claim: whoever imports one can write any number."""


def adopt_tasks(state: State, space: LabelSpace, queues: Mapping[str, Sequence[Json]]) -> int:
    """Record every task of the queues that carries a mark that holds and is not in the books; returns how many.

    Args:
        state, space: the project's.
        queues: whose queue -> its tasks, `id`, `data` and `created_at` each.
    """
    known = {row.queue_task for row in state.tasks}
    unknown = [(name, task) for name, tasks in queues.items() for task in tasks if task["id"] not in known]
    if not unknown:
        return 0
    by_task = state.store.items_by_task(state.project.id, named_items(task["data"] for _, task in unknown))
    by_key = _by_key(state, [task["data"] for _, task in unknown]) if state.queue_is_pool else {}
    found = [
        (mark, name, task)
        for name, task in unknown
        if (
            mark := read_mark(task["data"], by_task, space)
            or read_mark(task["data"], by_key.get(_key(task["data"]), {}), space)
        )
        is not None
    ]
    if not found:
        return 0
    # First tasks before copies, each in the order in which annotators see them.
    adoption = _Adoption(state)
    for mark, name, task in sorted(found, key=lambda marked: (marked[0].copy, marked[2]["id"])):
        adoption.take(mark, name, int(task["id"]), list(shown_by(task, space).parts()))
    state.store.adopt(
        state.project.id,
        adoption.selected,
        adoption.recorded,
        adoption.copies,
        strategy=state.settings.strategy,
    )
    return len(adoption.selected) + len(adoption.recorded) + len(adoption.copies)


def _key(data: object) -> object:
    return data.get("cdsel_key") if isinstance(data, Mapping) else None


def _by_key(state: State, tasks: Sequence[object]) -> dict[object, dict[int, Item]]:
    """Find the items of images from outside Label Studio by the keys that tasks carry.

    Once the books were lost, and the source was listed anew, an image may have another number than its task names.

    Returns: key -> number that a task with this key names -> the item of that key.
    """
    named = {_key(data): named_items([data]) for data in tasks}
    found: dict[object, list[Item]] = {}
    for part in state.store.iter_items(state.project.id) if named.keys() - {None} else ():
        for item in part:
            if item.source is not None and (mark := key_mark(item)) in named:
                found.setdefault(mark, []).append(item)
    # Two sources may have an image of the same name each: then nothing tells which it is.
    return {mark: dict.fromkeys(named[mark], items[0]) for mark, items in found.items() if len(items) == 1}


def adopt_in_place(state: State, predictions: Iterable[Json]) -> int:
    """Record the rounds that were delivered in place, by the predictions that show them; returns how many images.

    To be called while the books know no round: they were lost, or there was none. The ranks are those of the scores,
    round by round.

    Args:
        state: the project's.
        predictions: those of the pool project: `task`, `score` and `model_version` each.
    """
    shown: dict[int, tuple[int, float]] = {}
    for prediction in predictions:
        match = _ROUND.fullmatch(str(prediction.get("model_version") or ""))
        if match and int(match[1]) <= state.item_count:
            position = int(match[1]), float(prediction.get("score") or 0.0)
            shown[int(prediction["task"])] = min(position, shown.get(int(prediction["task"]), position))
    items = state.store.items_by_task(state.project.id, shown)
    order = sorted(
        (position, task) for task, position in shown.items() if task in items and not items[task].gone
    )
    selected = [
        Adopted(items[task].id, rank, 0.0, NO_REASON, {}, number, task, "")
        for rank, ((number, _), task) in enumerate(order, start=1)
    ]
    if selected:
        state.store.adopt(state.project.id, selected, {}, [], strategy=state.settings.strategy)
    return len(selected)


class _Adoption:
    """Collects what has to be recorded: new selections, tasks of selections that had none, and copies."""

    def __init__(self, state: State) -> None:
        self._first = {row.item: row.annotator for row in state.selections if row.queue_task is not None}
        self._unrecorded = {row.item: row.rank for row in state.selections if row.queue_task is None}
        self._copied = {(row.item, row.annotator) for row in state.copies}
        self._ranks = {row.rank for row in state.selections}
        self._last = state.last_rank
        self._most = 2 * state.item_count + SPARE_RANKS
        self._round = max((row.number for row in state.rounds), default=1)
        self.selected: list[Adopted] = []
        self.recorded: dict[int, Json] = {}
        self.copies: list[Json] = []

    def take(self, mark: Mark, name: str, task: int, shown: Sequence[str]) -> None:
        """Note the task of a mark, which is in the queue of `name`, and what it shows."""
        if mark.copy and (mark.item in self._first or mark.item in self._unrecorded):
            self._copy(mark, name, task, shown)
        elif mark.item in self._unrecorded:
            own = self._unrecorded.pop(mark.item)
            rank = own if mark.rank == own else self._rank(mark)
            self.recorded[mark.item] = {
                "queue_task": task,
                "annotator": name,
                "rank": rank,
                "shown": shown,
            }
            self._first[mark.item] = name
        elif mark.item in self._first:
            self._copy(mark, name, task, shown)
        else:
            self._first[mark.item] = name
            number = mark.round if 0 < mark.round <= self._most else self._round
            self.selected.append(
                Adopted(
                    item=mark.item,
                    rank=self._rank(mark),
                    gain=0.0,
                    sentence=mark.sentence or NO_REASON,
                    reason={},
                    round=number,
                    queue_task=task,
                    annotator=name,
                    shown=shown,
                )
            )

    def _copy(self, mark: Mark, name: str, task: int, shown: Sequence[str]) -> None:
        if (mark.item, name) not in self._copied:
            self._copied.add((mark.item, name))
            rank = mark.rank if mark.rank <= self._most else self._next()
            self._last = max(self._last, rank)
            values = {"item": mark.item, "annotator": name, "rank": rank, "queue_task": task}
            self.copies.append({**values, "shown": shown})

    def _rank(self, mark: Mark) -> int:
        """The rank that the mark says, or the next one where that is taken or can be none of ours."""
        rank = mark.rank if mark.rank <= self._most and mark.rank not in self._ranks else self._next()
        self._ranks.add(rank)
        self._last = max(self._last, rank)
        return rank

    def _next(self) -> int:
        return max(self._last, max(self._ranks, default=0)) + 1

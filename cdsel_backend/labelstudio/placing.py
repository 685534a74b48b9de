"""What is to enter which queue next. Nothing is kept of a plan: it follows from the state, again after a kill.

An image goes to one queue first. A further task of it (a copy) is made

- for a second reading (setting `overlap`), in another annotator's queue, or, where all share one queue, there again
  once the round is in: Label Studio's own overlap would show tasks at random;
- when it is open only in the queue of somebody who is no annotator any more, or of all where each has one now. Its
  task there stays, so that nothing submitted late is lost.

A queue is only ever added to with rising ranks. What comes to one late (a copy, or an image meant for somebody who
has left) gets the next rank after all others instead of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cdsel_backend.selection.dealing import deal, second_readings
from cdsel_backend.store import State
from cdsel_backend.store.records import Selection

EVERYONE = ""
UNBOUNDED = 10**9


@dataclass(frozen=True)
class Placement:
    """An image that is to enter a queue: whose, at which rank, and whether it is in one already."""

    item: int
    annotator: str
    rank: int
    copy: bool


def plan(state: State, limit: int) -> list[Placement]:
    """The placements that are due now, in rank order, for about `limit` images; empty where nothing is due."""
    if state.stopped or state.settings.delivery == "in_place":
        return []
    draft = _Draft(state)
    draft.place_first(state.waiting[: min(state.left, limit)])
    if not draft.placements:
        draft.move(stranded(state)[:limit])
    if not draft.placements:
        draft.read_again(_unread(state)[:limit])
    return sorted(draft.placements, key=lambda placement: placement.rank)


def stranded(state: State) -> list[int]:
    """Open images that are only in queues of people who are no annotators any more, in order of items."""
    left = state.open.difference(*(state.placed[name] for name in state.staff))
    if not left:
        return []
    deleted = {row.item for row in state.deleted_tasks if row.annotator in state.staff}  # not put back there
    return sorted(left - deleted)


class _Draft:
    """A plan in the making: who has how many places left, and how far each queue's ranks go."""

    def __init__(self, state: State) -> None:
        self._state = state
        bounded = state.staff != {EVERYONE: None}
        self._places = dict(state.places) if bounded else {EVERYONE: UNBOUNDED}
        self._last = state.last_rank
        self.placements: list[Placement] = []

    # Most passes find nothing to place, and these read every image that was ever selected.

    @cached_property
    def _rows(self) -> dict[int, Selection]:
        return {row.item: row for row in self._state.selections}

    @cached_property
    def _seconds(self) -> set[int]:
        return _wanted(self._state)

    @cached_property
    def _top(self) -> Counter[str]:
        top: Counter[str] = Counter()
        for row in self._state.tasks:
            top[row.annotator] = max(top[row.annotator], row.rank)
        return top

    def place_first(self, rows: Sequence[Selection]) -> None:
        """Images that are in no queue yet; with queues of their own for each, second readings beside them."""
        spare = sum(self._places.values()) - len(self._state.waiting)
        for row, name in zip(rows, self._deal(rows), strict=True):
            if name is None:
                continue
            rank = self._add(row.item, name, row.rank, copy=False)
            if row.item in self._seconds and spare > 0 and len(self._places) > 1:
                other = self._other({name})
                if other is not None:
                    self._add(row.item, other, rank, copy=True)
                    spare -= 1

    def move(self, items: Sequence[int]) -> None:
        """Images whose queues are left behind."""
        rows = [self._rows[item] for item in items]
        for row, name in zip(rows, self._deal(rows), strict=True):
            if name is not None:
                self._add(row.item, name, row.rank, copy=True)

    def read_again(self, items: Sequence[int]) -> None:
        """Second readings that were not pushed beside the first."""
        spare = sum(self._places.values()) - len(self._state.waiting)
        readers: dict[int, set[str]] = {}
        email_of = {str(row.user): email for email, row in self._state.annotators.items()}
        for annotation in self._state.store.labels_of(self._state.project.id, items):
            readers.setdefault(annotation.item, set()).add(email_of.get(annotation.annotator, ""))
        for item in items[: max(0, spare)]:
            taken = readers.get(item, set()) | {
                name for name, held in self._state.placed.items() if item in held
            }
            other = self._other(taken - {EVERYONE})
            if other is not None:
                self._add(item, other, self._rows[item].rank, copy=True)

    def _deal(self, rows: Sequence[Selection]) -> list[str | None]:
        if not rows:
            return []
        before = {
            name: [self._rows[item].levels for item in sorted(self._state.placed[name])]
            for name in self._places
        }
        return deal([row.levels for row in rows], self._places, before)

    def _other(self, taken: Collection[str]) -> str | None:
        """Who reads an image a second time: of those who have not, who has most places left."""
        free = [name for name, places in self._places.items() if places > 0 and name not in taken]
        return max(free, key=lambda name: self._places[name], default=None)

    def _add(self, item: int, name: str, rank: int, *, copy: bool) -> int:
        if rank <= self._top[name]:
            self._last += 1
            rank = self._last
        self._top[name] = rank
        self._places[name] -= 1
        self.placements.append(Placement(item, name, rank, copy))
        return rank


def _wanted(state: State) -> set[int]:
    """Images that two annotators shall label."""
    if not state.settings.overlap:
        return set()
    by_round: Mapping[int, list[int]] = {row.number: [] for row in state.rounds}
    for row in state.selections:
        by_round[row.round].append(row.item)
    members = [sorted(items) for items in by_round.values()]
    chosen = second_readings(
        [len(items) for items in members], state.settings.overlap, seed=state.settings.seed
    )
    return {items[index] for items, indices in zip(members, chosen, strict=True) for index in indices}


def _unread(state: State) -> list[int]:
    """Images in a queue that still lack their second reading, in order of items; none while a round is coming in."""
    if not state.settings.overlap or (state.waiting and state.staff == {EVERYONE: None}):
        return []
    # A second reading that was deleted is not asked for again.
    tasks = Counter(row.item for row in (*state.tasks, *state.deleted_tasks))
    round_of = {row.item: row.round for row in state.selections}
    wanted = _wanted(state)
    # After the books were lost others may be due in a round, which then has as many as it should have.
    due = Counter(round_of[item] for item in wanted)
    due.subtract(round_of[item] for item, count in tasks.items() if count > 1)
    lacking = {item for item in wanted & state.pushed if tasks[item] < 2 and due[round_of[item]] > 0}
    return sorted(state.present(lacking - state.skipped))

"""The queue: every image that was ever selected, in rank order, with its reason and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template, request

from cdsel_backend.project.label_text import label_reader
from cdsel_backend.server.pages.blueprint import page_of, pages, read_state, status_of
from cdsel_backend.server.pages.review import tasks_of
from cdsel_backend.store import State

PAGE = 18
STATES = {
    "open": "with the annotators",
    "labelled": "labelled",
    "skipped": "skipped",
    "other": "annotated for another question only",
    "undecided": "labelled with a class that is not learned",
    "withdrawn": "withdrawn: deleted in Label Studio",
    "excluded": "excluded by an administrator",
    "waiting": "selected, not pushed yet",
    "elsewhere": "labelled elsewhere, or gone",
}


@pages.get("/projects/<int:pool_project>/queue")
def queue(pool_project: int) -> str:
    """A page of the queue, perhaps of one round or one state only."""
    state = read_state(pool_project)
    every, rounds = queue_states(state), state.in_queues.round.tolist()
    wanted, number = request.args.get("state", ""), request.args.get("round", type=int)
    found = [
        (item, became)
        for (item, became), chosen_in in zip(every, rounds, strict=False)
        if (not wanted or became == wanted) and (not number or chosen_in == number)
    ]
    page, pages_in_all = page_of(len(found), PAGE)
    shown = queue_rows(state, found[(page - 1) * PAGE : page * PAGE])
    counts = Counter(became for _, became in every)
    return render_template(
        "queue.html",
        state=state,
        status=status_of(state),
        rows=shown,
        tasks=tasks_of(state, [row.item for row in shown]),
        found=len(found),
        total=len(every),
        page=page,
        pages_in_all=pages_in_all,
        counts={name: counts[name] for name in STATES if counts[name]},
        names=STATES,
        wanted=wanted,
        number=number,
    )


@dataclass(frozen=True)
class QueueRow:
    """An image that was selected: why, and what became of it (a key of `STATES`)."""

    rank: int
    round: int
    state: str
    label: str | None
    annotator: str | None
    reason: str
    drawn_at_random: bool
    item: int


def queue_states(state: State) -> list[tuple[int, str]]:
    """Every selected item in rank order, and its state (a key of `STATES`)."""
    # What comes last goes before what comes first.
    became = dict.fromkeys(state.waiting_items, "waiting")
    for name, items in (
        ("excluded", state.excluded),
        ("other", state.pushed & state.answered_otherwise),
        ("withdrawn", state.withdrawn),
        ("open", state.open),
        ("skipped", state.skipped),
        ("undecided", state.undecided),
        ("labelled", state.labels),
    ):
        became.update(dict.fromkeys(items, name))
    found = state.in_queues
    return [(item, became.get(item, "elsewhere")) for item in found.item[: found.first].tolist()]


def queue_rows(state: State, selected: Sequence[tuple[int, str]]) -> list[QueueRow]:
    """Selected items with the state of each, in rank order, as the page and the CSV show them."""
    became, project, read = dict(selected), state.project.id, label_reader(state)
    given = state.store.labels_of(project, became)
    by = {row.item: row.annotator for row in given if row.label is not None}
    return [
        QueueRow(
            rank=row.rank,
            round=row.round,
            state=became[row.item],
            label=read(state.labels[row.item]) if row.item in state.labels else None,
            annotator=by.get(row.item),
            reason=row.sentence,
            drawn_at_random=row.drawn_at_random,
            item=row.item,
        )
        for row in state.store.selections_of(project, became)
    ]

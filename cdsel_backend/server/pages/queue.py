"""The queue: every image that was ever selected, in rank order, with its reason and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template, request

from cdsel_backend.project.label_text import label_reader
from cdsel_backend.server.pages.blueprint import page_number, pages, read_state, status_of
from cdsel_backend.server.pages.review import tasks_of
from cdsel_backend.store import State
from cdsel_backend.store.records import Selection

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
    every = queue_states(state)
    wanted, number = request.args.get("state", ""), request.args.get("round", type=int)
    found = [
        (row, became)
        for row, became in every
        if (not wanted or became == wanted) and (not number or row.round == number)
    ]
    pages_in_all = max(1, -(-len(found) // PAGE))
    page = min(page_number(), pages_in_all)
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


def queue_states(state: State) -> list[tuple[Selection, str]]:
    """Every selected image in rank order, and its state (a key of `STATES`)."""
    # What comes last goes before what comes first.
    became = dict.fromkeys((row.item for row in state.waiting), "waiting")
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
    return [(row, became.get(row.item, "elsewhere")) for row in state.selections]


def queue_rows(state: State, selected: Sequence[tuple[Selection, str]]) -> list[QueueRow]:
    """Selected images with the state of each, as the page and the CSV show them."""
    shown = {row.item for row, _ in selected}
    read = label_reader(state)
    by = {row.item: row.annotator for row in state.annotations if row.label is not None and row.item in shown}
    return [
        QueueRow(
            rank=row.rank,
            round=row.round,
            state=became,
            label=read(state.labels[row.item]) if row.item in state.labels else None,
            annotator=by.get(row.item),
            reason=row.sentence,
            drawn_at_random=row.drawn_at_random,
            item=row.item,
        )
        for row, became in selected
    ]

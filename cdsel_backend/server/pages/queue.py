"""The queue: every image that was ever selected, in rank order, with its reason and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request

from cdsel_backend.labels import display_label
from cdsel_backend.server.pages.blueprint import page_number, pages, read_state, status_of
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
    every = queue_rows(state)
    wanted, number = request.args.get("state", ""), request.args.get("round", type=int)
    rows = [
        row for row in every if (not wanted or row.state == wanted) and (not number or row.round == number)
    ]
    pages_in_all = max(1, -(-len(rows) // PAGE))
    page = min(page_number(), pages_in_all)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    counts = {name: sum(row.state == name for row in every) for name in STATES}
    return render_template(
        "queue.html",
        state=state,
        status=status_of(state),
        rows=shown,
        tasks=tasks_of(state, [row.item for row in shown]),
        found=len(rows),
        total=len(every),
        page=page,
        pages_in_all=pages_in_all,
        counts={name: n for name, n in counts.items() if n},
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


def queue_rows(state: State) -> list[QueueRow]:
    """Every selected image in rank order, as the page and the CSV show it."""
    waiting = {row.item for row in state.waiting}
    excluded = state.excluded
    by = {row.item: row.annotator for row in state.annotations if row.label is not None}
    rows = []
    for row in state.selections:
        if row.item in state.labels:
            became = "labelled"
        elif row.item in state.undecided:
            became = "undecided"
        elif row.item in state.skipped:
            became = "skipped"
        elif row.item in state.open:
            became = "open"
        elif row.item in state.withdrawn:
            became = "withdrawn"
        elif row.item in state.pushed and row.item in state.answered_otherwise:
            became = "other"
        elif row.item in excluded:
            became = "excluded"
        else:
            became = "waiting" if row.item in waiting else "elsewhere"
        rows.append(
            QueueRow(
                rank=row.rank,
                round=row.round,
                state=became,
                label=display_label(state.labels[row.item]) if row.item in state.labels else None,
                annotator=by.get(row.item),
                reason=row.sentence,
                drawn_at_random=row.drawn_at_random,
                item=row.item,
            )
        )
    return rows

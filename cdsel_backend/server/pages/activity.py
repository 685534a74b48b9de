"""What happens and happened: images left out, events, and who changed what."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from flask import render_template

from cdsel_backend.server.pages.blueprint import pages, read_state
from cdsel_backend.server.service import Service
from cdsel_backend.server.status import project_status
from cdsel_backend.store import State
from cdsel_backend.store.records import Event

SHOWN = 50
EVENTS = 500  # of which runs of the same kind are shown as one


@pages.get("/projects/<int:pool_project>/activity")
def activity(pool_project: int) -> str:
    """The newest of each; the CSV files hold all."""
    store = Service.current().store
    state = read_state(pool_project)
    return render_template(
        "activity.html",
        state=state,
        status=project_status(store, state),
        unusable=store.unusable(state.project.id, limit=SHOWN),
        noted=store.noted(state.project.id, limit=SHOWN),
        events=runs(store.events(sources(state), limit=EVENTS))[:SHOWN],
        audit=store.audit(state.project.id, limit=SHOWN),
        shown=SHOWN,
    )


def sources(state: State) -> list[int]:
    """The Label Studio projects whose events concern this one."""
    return state.sources


@dataclass(frozen=True)
class Run:
    """Events of one kind that follow each other: when the newest came, and whether they wait to be looked at."""

    at: float
    words: str
    times: int
    open: bool
    reason: str | None
    tasks: list[int]


def _kind(event: Event) -> tuple[str, bool, str | None, str | None]:
    """What events have in common that are shown as one."""
    payload = event.payload
    return event.action, event.handled_at is not None, payload.get("variable"), payload.get("sentence")


def runs(events: list[Event]) -> list[Run]:
    """Events as the page shows them: those of one kind that follow each other are one line.

    A verdict that changed, or whatever else comes with a sentence, is a line of its own, with its reason.
    """
    found = []
    for (action, handled, change, sentence), group in groupby(events, key=_kind):
        rows = list(group)
        newest = rows[0].payload
        found.append(
            Run(
                at=rows[0].received_at,
                words=f"{change}: {newest['before']}, now {newest['after']}"
                if change
                else action.replace("_", " ").lower(),
                times=len(rows),
                open=not handled,
                reason=sentence,
                tasks=[task for row in rows for task in row.payload.get("tasks") or ()],
            )
        )
    return found

"""What happens and happened: the worker, what waits, webhooks and pushes, images left out, and who changed what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from flask import render_template

from cdsel_backend.project.sentences.events import brought, event_text
from cdsel_backend.project.sentences.models import outcome
from cdsel_backend.server.pages.blueprint import number_of, pages, read_state, status_of
from cdsel_backend.store import State
from cdsel_backend.store.activity import Request
from cdsel_backend.store.facts import REPEATS_FACT
from cdsel_backend.store.records import Event

SHOWN = 50
SHOWN_FIRST = 12  # of webhooks and pushes; the others are folded
EVENTS = 500  # of which runs of the same kind are shown as one
SOURCES = ("SOURCE_ADDED", "SOURCE_REMOVED")  # of a pool outside Label Studio, by commands
SENT = ("TASKS_PUSHED", "PREDICTIONS_SHOWN")  # what we did in Label Studio, by tasks


@pages.get("/projects/<int:pool_project>/activity")
def activity(pool_project: int) -> str:
    """The newest of each; the CSV files hold all."""
    state = read_state(pool_project)
    store = state.store
    open_events = store.open_events(state.sources)
    return render_template(
        "activity.html",
        status=status_of(state),
        pulses=store.pulses(),
        due=len(open_events),
        oldest=min((event.received_at for event in open_events), default=None),
        selected=len(state.waiting_items),
        repeated=len(state.repeated),
        unusable=store.unusable(state.project.id, limit=SHOWN),
        noted=store.noted(state.project.id, limit=SHOWN),
        events=runs(store.events(state.sources, limit=EVENTS), state)[:SHOWN],
        audit=store.audit(state.project.id, limit=SHOWN),
        repeats=store.fact(REPEATS_FACT.format(state.project.id)) or 0,
        shown=SHOWN,
        shown_first=SHOWN_FIRST,
    )


@dataclass(frozen=True)
class Run:
    """Events of one kind that follow each other, as one line of the page.

    `at` is when the newest came, `what` names them, `seconds` is how long the longest took (None while they wait),
    `result` is what came of them, and `reason` a sentence that explains them.
    """

    at: float
    what: str
    times: int
    seconds: float | None
    result: str
    reason: str | None
    source: int | None
    tasks: list[int]

    @property
    def open(self) -> bool:
        """Whether the worker has still to look at them."""
        return self.seconds is None


def _kind(event: Event) -> tuple[str, int | None, bool, str | None, str | None]:
    """The key of an event: events of equal keys that follow each other are shown as one line."""
    payload = event.payload
    return (
        event.action,
        event.source,
        event.handled_at is not None,
        payload.get("variable"),
        payload.get("sentence"),
    )


def runs(events: Sequence[Event], state: State) -> list[Run]:
    """Events as the page shows them, newest first: those of one kind that follow each other are one line.

    A verdict that changed, or whatever else comes with a sentence, is a line of its own, with its reason.
    """
    found = []
    for (action, source, handled, change, sentence), group in groupby(events, key=_kind):
        rows = list(group)
        newest = rows[0].payload
        took = [event.handled_at - event.received_at for event in rows if event.handled_at is not None]
        found.append(
            Run(
                at=rows[0].received_at,
                what=f"{change}: {newest['before']}, now {newest['after']}" if change else event_text(action),
                times=len(rows),
                seconds=max(0.0, *took) if handled else None,
                result=_result(action, rows, state) if handled else "",
                reason=_as_sentence(sentence, capital=not change) if sentence else None,
                source=source,
                tasks=[task for event in rows for task in event.payload.get("tasks") or ()],
            )
        )
    return found


def _as_sentence(text: str, *, capital: bool) -> str:
    """A message with its full stop, and a capital unless it begins with the name of a variable."""
    first = text[:1].upper() if capital else text[:1]
    return f"{first}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _result(action: str, rows: Sequence[Event], state: State) -> str:
    """What came of handled events of one kind, in a few words; empty where that is not known."""
    if action in SENT:
        return number_of(sum(len(event.payload.get("tasks") or ()) for event in rows), "image")
    since, until = rows[-1].received_at, rows[0].handled_at or rows[0].received_at
    if action == Request.TRAIN:
        made = [row for row in state.trainings if since <= row.created_at <= until + 1.0]
        return (
            f"{made[-1].version or 'no model'}: {outcome(made[-1].outcome)}" if made else "labels unchanged"
        )
    if action == Request.SELECT:
        chosen = [row.number for row in state.rounds if since <= row.created_at <= until + 1.0]
        return f"round {chosen[-1]}" if chosen else "nothing to select"
    if action in SOURCES:  # the command brought the images itself, before the look that its event asks for
        return brought({"images": sum(event.payload.get("images", 0) for event in rows)})
    # One look may have answered several events.
    looks = {event.handled_at: event.result for event in rows if event.result is not None}
    totals: Counter[str] = Counter()
    for found in looks.values():
        totals.update(found)
    return brought(totals) if looks else ""

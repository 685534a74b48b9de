"""The labelling queues: fill them in rank order, hold them to the budget, show predictions on them.

Two ways to deliver it (setting `delivery`):

- `queue_project`: a project of its own beside the pool project, or one for each annotator. Sequential sampling shows
  tasks in the order of their ids, so importing in rank order is the order annotators see; locks and overlap 1 keep
  two of them apart.
- `in_place`: the pool project itself. Each round's images get a prediction whose score is their rank, and
  uncertainty sampling shows ascending scores. It promises neither strict order with several annotators nor a hard
  budget: after the round's images Label Studio goes on with the rest of the pool.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from cdsel_backend.labelstudio.adopting import IN_PLACE, adopt_tasks
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError, PredictionsRefused
from cdsel_backend.labelstudio.labels import LabelSpace
from cdsel_backend.labelstudio.marks import ANNOTATOR, key_mark, shown_by, without_ours
from cdsel_backend.labelstudio.placing import Placement, plan
from cdsel_backend.labelstudio.source import annotator_address
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.selection import neutral_sentence
from cdsel_backend.store import State, Store
from cdsel_backend.store.records import Item, Json, QueueTask, Selection, Shown

PUSHED, PREDICTED = "TASKS_PUSHED", "PREDICTIONS_SHOWN"  # events of our own, for the activity page
CHUNK = 50  # tasks of one import: what a budget lowered in the middle of a push may still let through

log = logging.getLogger(__name__)

Show = Callable[[Item], str | None]
"""The address by which annotators see an item's image; None where it cannot be shown, which the books then say."""


def task_address(item: Item) -> str | None:
    """The address of an image of the pool project."""
    return annotator_address(SourceItem(str(item.task), item.image, item.data))


def push(
    studio: LabelStudio,
    state: State,
    space: LabelSpace,
    show: Show = task_address,
    *,
    most: int | None = None,
) -> bool:
    """Push the next selected images that budget and quotas let into the queues; returns whether any was pushed.

    `most`: how many images at most, those adopted apart; None: all.

    May be killed anywhere and run again: what an earlier run imported and did not record is found in the queues by
    its `cdsel_item` and adopted. Every queue that the plan names must exist.
    """
    if state.settings.delivery == "in_place":
        return _push_in_place(studio, state)
    pushed = adopt(studio, state, space)
    while most is None or most > 0:
        # Read again before each chunk: a budget lowered meanwhile stops the push here.
        state = State(state.store, state.project.id)
        fresh = plan(state, CHUNK if most is None else min(most, CHUNK))
        if not fresh or {placement.annotator for placement in fresh} - state.queues.keys():
            return pushed
        for name in dict.fromkeys(placement.annotator for placement in fresh):
            own = [placement for placement in fresh if placement.annotator == name]
            _import(studio, state, space, name, own, show)
        most = None if most is None else most - len(fresh)
        pushed = True
    return pushed


def _import(
    studio: LabelStudio,
    state: State,
    space: LabelSpace,
    name: str,
    placements: Sequence[Placement],
    show: Show,
) -> None:
    """Put images into one queue, and record it; one that cannot be shown is left out."""
    items = state.store.items_by_id([placement.item for placement in placements])
    addresses = {item.id: show(item) for item in items.values()}
    placements = [placement for placement in placements if addresses[placement.item] is not None]
    if not placements:
        return
    rows = {row.item: row for row in state.selections}
    before = len(state.placed[name])
    tasks = [
        {
            "data": task_data(
                state,
                rows[placement.item],
                items[placement.item],
                str(addresses[placement.item]),
                space,
                placement,
                before + number,
            )
        }
        for number, placement in enumerate(placements, start=1)
    ]
    began = time.monotonic()
    ids = studio.import_tasks(state.queues[name], tasks)
    shown = {number: shown_by(task, space) for number, task in zip(ids, tasks, strict=True)}
    pushed = list(zip(placements, ids, strict=True))
    _record(state, pushed, shown)
    _note_creation(studio, state, name, pushed, shown)
    note_sent(state.store, state.queues[name], PUSHED, ids, began)


def note_sent(store: Store, queue: int, action: str, tasks: Sequence[int], began: float) -> None:
    """Keep that tasks or predictions were sent to a queue since `began` (monotonic seconds), for the activity page."""
    store.add_event(
        queue, action, {"tasks": list(tasks)}, handled=True, seconds=max(0.0, time.monotonic() - began)
    )


def _record(
    state: State,
    pushed: Sequence[tuple[Placement, int]],
    shown: Mapping[int, Shown] = MappingProxyType({}),
) -> None:
    """Record which tasks images got; `shown` is what each shows."""

    def values(placement: Placement, task: int) -> Json:
        parts = list(shown[task].parts()) if task in shown else None
        return {"queue_task": task, "annotator": placement.annotator, "rank": placement.rank, "shown": parts}

    state.store.mark_selections(
        state.project.id,
        {placement.item: values(placement, task) for placement, task in pushed if not placement.copy},
    )
    copies = [
        {"item": placement.item, **values(placement, task)} for placement, task in pushed if placement.copy
    ]
    state.store.add_copies(state.project.id, copies)


def _note_creation(
    studio: LabelStudio,
    state: State,
    name: str,
    pushed: Sequence[tuple[Placement, int]],
    shown: Mapping[int, Shown],
) -> None:
    """Keep when Label Studio made tasks: by that it knows them, whatever somebody writes into them a moment later."""
    try:
        after = min(shown) - 1
        made = {
            task["id"]: str(task.get("created_at") or "")
            for task in studio.tasks(state.queues[name], after=after, unreadable=set())
        }
    except LabelStudioError as fault:  # the next look at the queue keeps it
        log.warning("project %s: %s", state.project.pool_project, fault)
        return
    seen = {
        task: {"shown": list(replace(shows, created_at=made[task]).parts())}
        for task, shows in shown.items()
        if made.get(task)
    }
    first = {placement.item: seen[task] for placement, task in pushed if not placement.copy and task in seen}
    state.store.mark_selections(state.project.id, first)
    further = {
        (placement.item, placement.annotator): seen[task]
        for placement, task in pushed
        if placement.copy and task in seen
    }
    state.store.mark_copies(state.project.id, further)


def task_data(
    state: State,
    selection: Selection,
    item: Item,
    shown: str,
    space: LabelSpace,
    placement: Placement,
    number: int,
) -> Json:
    """The data of an annotator's task: those of the pool task, and our fields: the place in the queue, the reason, and
    the marks by which the task is found again (`marks.py`).

    Args:
        state, space: the project's.
        selection: why the image was chosen.
        item: the image.
        shown: the address by which annotators see it.
        placement: whose queue it enters, and its rank.
        number: how many tasks that queue has with this one.
    """
    data = item.data
    if item.source is not None:
        data = {**data, str(space.image.plain): shown}
    elif shown != item.image:
        data = space.image.with_address(data, shown)
    return {
        # What is named as ours may be another queue's, as in a table that was made of an export.
        **without_ours(data),
        "cdsel_item": item.task,
        "cdsel_round": selection.round,
        "cdsel_rank": placement.rank,
        "cdsel_place": _place(state, placement, number),
        "cdsel_reason": shown_reason(state, selection),
        **({"cdsel_copy": True} if placement.copy else {}),
        **({ANNOTATOR: placement.annotator} if placement.annotator else {}),
        **({"cdsel_key": key_mark(item)} if item.source is not None else {}),
    }


def shown_reason(state: State, selection: Selection) -> str:
    """What an annotator reads of why an image was chosen, as the setting `show_reason` wants it."""
    if state.settings.show_reason == "none":
        return ""
    if state.settings.show_reason == "neutral":
        return neutral_sentence(selection.reason)
    return selection.sentence


def _place(state: State, placement: Placement, number: int) -> str:
    """ "12 of 200": where an image stands in its queue, and how many this may come to."""
    quota = state.staff[placement.annotator]
    if quota is not None:
        return f"{number} of {quota}"
    seconds = int(state.settings.overlap * state.budget + 0.5)
    return f"{placement.rank} of {max(state.budget + seconds, placement.rank)}"


def adopt(studio: LabelStudio, state: State, space: LabelSpace) -> bool:
    """Record tasks of the queues that the books do not know; returns whether any was found."""
    queues = {name: list(studio.tasks(queue, unreadable=set())) for name, queue in state.queues.items()}
    return adopt_tasks(state, space, queues) > 0


def _push_in_place(studio: LabelStudio, state: State) -> bool:
    rows = state.waiting[: state.left]
    if not rows:
        return False
    version = f"{IN_PLACE}{rows[0].round}"
    rows = [row for row in rows if row.round == rows[0].round]
    items = state.store.items_by_id([row.item for row in rows])
    last = max(row.rank for row in state.selections)
    pool = state.project.pool_project
    scored = _tasks_with(studio, pool, version)
    fresh = [
        {
            "task": items[row.item].task,
            "result": [],
            "score": row.rank / (last + 1),
            "model_version": version,
        }
        for row in rows
        if items[row.item].task not in scored
    ]
    if fresh:
        studio.import_predictions(pool, fresh)
    studio.update_project(pool, sampling="Uncertainty sampling", model_version=version)
    state.store.mark_selections(
        state.project.id, {row.item: {"queue_task": items[row.item].task} for row in rows}
    )
    return True


def shown_prediction(
    state: State, space: LabelSpace, probabilities: Sequence[float]
) -> tuple[list[Json], float]:
    """The `result` and the `score` that an annotator gets; no result below the setting `preannotate_from`."""
    result, score = space.prediction(probabilities)
    sure = state.settings.preannotate and score >= state.settings.preannotate_from
    return (result if sure else []), score


def preannotate(
    studio: LabelStudio,
    state: State,
    space: LabelSpace,
    rows: Sequence[QueueTask],
    probabilities: Mapping[int, Sequence[float]],
) -> None:
    """Show the champion's prediction on open images of the queues.

    Run again after a kill, it imports only what the queues do not show yet.

    Args:
        studio, state, space: the project's.
        rows: selections and copies, with their tasks.
        probabilities: item -> probabilities (c,).
    """
    store, version = state.store, state.project.champion
    for name, queue in state.queues.items():
        own = [row for row in rows if row.annotator == name]
        if not own:
            continue
        shown = _tasks_with(studio, queue, version)
        fresh: list[Json] = []
        for row in own:
            if row.queue_task not in shown:
                result, score = shown_prediction(state, space, probabilities[row.item])
                fresh.append(
                    {"task": row.queue_task, "result": result, "score": score, "model_version": version}
                )
        if fresh:
            began = time.monotonic()
            try:
                studio.import_predictions(queue, fresh)
            except PredictionsRefused as fault:
                # As where somebody took a class out of the queue's labeling config, which is named: those show none.
                log.warning("%s", fault)
            note_sent(store, queue, PREDICTED, [row.queue_task or 0 for row in own], began)
        studio.update_project(queue, model_version=version)
        store.mark_tasks(state.project.id, ((row, {"predicted_by": version}) for row in own))


def _tasks_with(studio: LabelStudio, project: int, version: str | None) -> set[int]:
    """The tasks of a project that show predictions of a version."""
    return {row["task"] for row in studio.predictions(project) if row["model_version"] == version}

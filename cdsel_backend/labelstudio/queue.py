"""The labelling queue: create it, fill it in rank order, hold it to the budget, show predictions on it.

Two ways to deliver it (setting `delivery`):

- `queue_project`: a project of its own beside the pool project. Sequential sampling shows tasks in the order of
  their ids, so importing in rank order is the order annotators see; locks and overlap 1 keep two of them apart.
- `in_place`: the pool project itself. Each round's images get a prediction whose score is their rank, and
  uncertainty sampling shows ascending scores. It promises neither strict order with several annotators nor a hard
  budget: after the round's images Label Studio goes on with the rest of the pool.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import Row

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import LabelSpace, queue_config
from cdsel_backend.store import State, Store

CHUNK = 50  # tasks of one import: what a budget lowered in the middle of a push may still let through
TITLE_LENGTH = 50  # Label Studio refuses a longer one
CLOUD_SCHEMES = ("s3://", "gs://", "azure-blob://")


def push(studio: LabelStudio, store: Store, state: State, space: LabelSpace) -> bool:
    """Push the next selected images that the budget lets into the queue; returns whether any was pushed.

    May be killed anywhere and run again: what an earlier run imported and did not record is found in the queue by
    its `cdsel_item` and adopted.
    """
    if state.settings.delivery == "in_place":
        return _push_in_place(studio, store, state, space)
    queue = int(state.project.queue_project)
    pushed = _adopt(studio, store, state, queue)
    while True:
        # Read again before each chunk: a budget lowered meanwhile stops the push here.
        state = State(store, state.project.id)
        fresh = state.waiting[: min(state.left, CHUNK)]
        if not fresh or state.settings.paused:
            return pushed
        items = {row.id: row for row in state.items}
        tasks = [{"data": task_data(state, row, items[row.item], space)} for row in fresh]
        ids = studio.import_tasks(queue, tasks)
        store.mark_selections(
            state.project.id, {row.item: {"queue_task": task} for row, task in zip(fresh, ids, strict=True)}
        )
        pushed = True


def task_data(state: State, selection: Row[Any], item: Row[Any], space: LabelSpace) -> dict[str, Any]:
    """What the annotator's task holds: the pool task's data, its place in the queue and the reason."""
    data = dict(item.data)
    if item.image.startswith(CLOUD_SCHEMES):
        # The queue project has no cloud storage of its own: Label Studio signs through the pool's task.
        uri = quote(base64.b64encode(item.image.encode()).decode())
        data[space.image_key] = f"/tasks/{item.task}/presign/?fileuri={uri}"
    return {
        **data,
        "cdsel_item": item.task,
        "cdsel_round": selection.round,
        "cdsel_rank": selection.rank,
        "cdsel_place": f"{selection.rank} of {state.settings.budget}",
        "cdsel_reason": selection.sentence,
    }


def ensure_queue_project(studio: LabelStudio, store: Store, state: State) -> int:
    """Create the queue project, or find by its mark one whose making died before it was recorded."""
    mark = queue_mark(state.project.pool_project)
    found = [
        int(project["id"]) for project in studio.projects() if mark in (project.get("description") or "")
    ]
    if found:
        queue = min(found)
    else:
        title = state.project.title or f"Project {state.project.pool_project}"
        queue = studio.create_project(
            f"{title[: TITLE_LENGTH - len(' · queue')]} · queue",
            queue_config(state.project.label_config),
            description=(
                f"The images worth labelling next, in order, chosen by cdsel from “{title}”. "
                f"Press “Label All Tasks”. The budget is set in the pool project. {mark}"
            ),
            sampling="Sequential sampling",
            maximum_annotations=1,
            skip_queue="IGNORE_SKIPPED",
            enable_empty_annotation=False,
        )
    store.update_project(state.project.id, queue_project=queue)
    return queue


def queue_mark(pool_project: int) -> str:
    """What a queue project's description holds so that its backend finds it again."""
    return f"[cdsel queue of project {pool_project}]"


def _adopt(studio: LabelStudio, store: Store, state: State, queue: int) -> bool:
    """Record tasks of the queue that an earlier run imported without recording; returns whether any was found."""
    waiting = {row.item for row in state.waiting}
    by_task = {row.task: row.id for row in state.items}
    found: dict[int, dict[str, int]] = {}
    for task in studio.tasks(queue):
        item = by_task.get(task["data"].get("cdsel_item"))
        if item is not None and item in waiting and item not in found:
            found[item] = {"queue_task": task["id"]}
    store.mark_selections(state.project.id, found)
    return bool(found)


def _push_in_place(studio: LabelStudio, store: Store, state: State, space: LabelSpace) -> bool:
    rows = state.waiting[: state.left]
    if not rows:
        return False
    version = f"cdsel-round-{rows[0].round}"
    rows = [row for row in rows if row.round == rows[0].round]
    items = {row.id: row for row in state.items}
    last = max(row.rank for row in state.selections)
    pool = state.project.pool_project
    scored = {
        prediction["task"]
        for prediction in studio.predictions(pool)
        if prediction["model_version"] == version
    }
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
    store.mark_selections(state.project.id, {row.item: {"queue_task": items[row.item].task} for row in rows})
    return True


def preannotate(
    studio: LabelStudio,
    store: Store,
    state: State,
    space: LabelSpace,
    rows: Sequence[Row[Any]],
    probabilities: Mapping[int, Sequence[float]],
) -> None:
    """Show the champion's prediction on open images of the queue: selection rows, and item -> probabilities (c,).

    Run again after a kill, it imports only what the queue does not show yet.
    """
    version, queue = state.project.champion, int(state.project.queue_project)
    shown = {
        prediction["task"]
        for prediction in studio.predictions(queue)
        if prediction["model_version"] == version
    }
    fresh = []
    for row in rows:
        shares = probabilities[row.item]
        best = max(range(len(shares)), key=lambda index: shares[index])
        if row.queue_task not in shown:
            fresh.append(
                {
                    "task": row.queue_task,
                    "result": space.result_for(space.classes[best]),
                    "score": float(shares[best]),
                    "model_version": version,
                }
            )
    if fresh:
        studio.import_predictions(queue, fresh)
    studio.update_project(queue, model_version=version)
    store.mark_selections(state.project.id, {row.item: {"predicted_by": version} for row in rows})

"""The step that mirrors the labels of the queue into the pool project (setting `mirror`)."""

from __future__ import annotations

import hashlib
import json
import time

from cdsel_backend.export.labelled_set import results_of
from cdsel_backend.labelstudio.labels import UnknownLabel, space_of
from cdsel_backend.labelstudio.mirroring import due, mirrored
from cdsel_backend.phrases import number_of
from cdsel_backend.reconcile.clock import is_over
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

ORIGIN = "mirror"
MOST = 40  # annotations written in one step
PAUSE_SECONDS = 20.0  # between two looks while labels come in
LOOK_SECONDS = 86_400.0
"""Between looks while nothing changes: somebody may have deleted a mirrored annotation."""


def mirror(context: Context, state: State) -> bool:
    """Make the pool project say what the queue says; returns whether anything was written.

    Nothing is written before all that is to be written is known.
    """
    store, project, now = context.store, state.project, time.time()
    refusal = _refusal(state)
    if refusal or not state.settings.mirror:
        if [refusal] != project.problems.get(ORIGIN, [None]):
            store.note_problems(project.id, ORIGIN, [refusal] if refusal else [])
        return False
    fact, key = f"mirror of project {project.id}", _key(state)
    known, at = store.fact(fact) or ("", 0.0)
    if not is_over(at, LOOK_SECONDS if known == key else PAUSE_SECONDS, now):
        return False
    wanted, lacking = _wanted(context, state)
    if lacking:
        problem = (
            f"mirror: {number_of(lacking, 'label is', 'labels are')} not in Label Studio any more, as their queue "
            "was deleted, and cannot be written again (regions, or a class that is gone): nothing is copied into the "
            "pool project, since it would not be complete"
        )
        store.note_problems(project.id, ORIGIN, [problem])
        store.set_fact(fact, [key, now])
        return False
    pool = project.pool_project
    listed = context.studio.tasks(pool, with_annotations=True, annotated=True)
    found = {int(task["id"]): list(task.get("annotations") or ()) for task in listed}
    steps = due(wanted, found)
    left = MOST
    for annotation in steps.delete[:left]:
        context.studio.delete_annotation(annotation)
    left -= len(steps.delete[:left])
    for annotation, result in steps.change[:left]:
        context.studio.update_annotation(annotation, result)
    left -= len(steps.change[:left])
    for task, result in steps.create[:left]:
        context.studio.submit(task, result)
    count = len(steps.delete) + len(steps.change) + len(steps.create)
    if count <= MOST:
        store.set_fact(fact, [key, now])
        store.note_problems(project.id, ORIGIN, [])
    return count > 0


def _refusal(state: State) -> str | None:
    if not state.settings.mirror:
        return None
    if state.queue_is_pool:
        return "mirror does nothing: the images come from outside Label Studio, and the connected project is the queue"
    if state.settings.delivery == "in_place":
        return "mirror does nothing with the delivery in_place: labels are given in the pool project itself"
    return None


def _wanted(context: Context, state: State) -> tuple[dict[int, list[Json]], int]:
    """Task of the pool -> what is to stand there; and how many labels cannot be written any more."""
    space, pool = space_of(state), state.project.pool_project
    own = {row.item for row in state.annotations if row.source == pool}
    items = {
        number: item
        for number, item in context.store.items_by_id(state.labels.keys() - own).items()
        if not item.gone and item.source is None
    }
    results = results_of(state, context.studio) if items else {}
    wanted: dict[int, list[Json]] = {}
    lacking = 0
    for number, item in items.items():
        result = results.get(number)
        try:
            # Where the annotation is gone its label can be written again, but no region.
            again = result is None and not space.regions
            result = space.result_for(state.labels[number]) if again else result
        except UnknownLabel:
            result = None
        if result is None:
            lacking += 1
        else:
            # A queue may ask more than the pool (`own_config.py`), and what the pool does not ask cannot stand there.
            asked = [part for part in result if part.get("from_name") in (None, *space.controls)]
            wanted[item.task] = mirrored(item.task, asked, space)
    return wanted, lacking


def _key(state: State) -> str:
    """What the mirrored labels depend on."""
    rows = sorted(
        (row.annotation, row.source, row.item, row.label or "", row.updated_at, row.ground_truth)
        for row in state.annotations
    )
    parts = [rows, state.project.label_config, state.settings.learn, state.project.pool_version]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

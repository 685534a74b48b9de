"""The step that mirrors the labels of the queue into the pool project (setting `mirror`).

What is to be written is found once, by listing queues and pool, and then written part by part. From then on the images
alone whose annotations changed are looked at, one by one: to list 50,000 labels costs Label Studio a minute.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cdsel_backend.export.labelled_set import Results, results_of
from cdsel_backend.labelstudio.labels import UnknownLabel, space_of
from cdsel_backend.labelstudio.mirroring import Due, due, mirrored
from cdsel_backend.labelstudio.tasks import annotated_tasks
from cdsel_backend.phrases import number_of
from cdsel_backend.project.digests import digest_of
from cdsel_backend.reconcile.books import UNREADABLE_IN_QUEUE
from cdsel_backend.reconcile.clock import is_over
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.listing import UNREADABLE
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

ORIGIN = "mirror"
MOST = 40  # annotations written in one step
PAUSE_SECONDS = 20.0  # between two looks while labels come in
LOOK_SECONDS = 86_400.0
"""Between looks at everything: somebody may have deleted a mirrored annotation."""
ONE_BY_ONE = 0.01
"""The share of the images with annotations up to which those that changed are looked at one by one: to ask for a task
and its copy costs Label Studio about as much as to list a hundred of each."""

Given: TypeAlias = dict[int, list[tuple[object, ...]]]
"""Item -> what its copy depends on of each of its annotations."""


@dataclass
class Plan:
    """What this process knows of the copies of a project, and what is still to be written.

    `mark` is what the database noted at the last write: it holds another where another worker has written since.
    `common` is what all copies depend on, `given` the annotations that were planned for, and `left` maps a task of the
    pool to what is still to be done there.
    """

    mark: str
    common: Sequence[object]
    given: Given
    left: dict[int, Due] = field(default_factory=dict)


def mirror(context: Context, state: State) -> bool:
    """Make the pool project say what the queue says; returns whether anything was written.

    Nothing is written before all that is to be written is known.
    """
    store, project, now = context.store, state.project, time.time()
    refusal = _refusal(state)
    if refusal or not state.settings.mirror:
        store.update_problems(project, ORIGIN, [refusal] if refusal else [])
        return False
    fact, common, given = f"mirror of project {project.id}", _common(state), _given(state)
    mark, at = store.fact(fact) or ("", 0.0)
    # Kept again below: after a fault nobody knows how far it came.
    plan = context.mirrored.pop(project.id, None)
    if plan is not None and (plan.mark, plan.common) != (mark, common):
        plan = None
    done = mark == _key(common, given) if plan is None else plan.given == given and not plan.left
    if plan is None and done and not project.problems.get(ORIGIN):
        plan = Plan(mark, common, given)
    writes = False
    if (plan is not None and plan.left) or is_over(at, LOOK_SECONDS if done else PAUSE_SECONDS, now):
        former = None if is_over(at, LOOK_SECONDS, now) else plan
        plan = _planned(context, state, former, common, given)
        if plan is not None and plan.left:
            # Whoever finds this after a kill, or after another worker, looks at everything.
            plan.mark = secrets.token_hex(8)
            store.set_fact(fact, [plan.mark, now])
            _write(context, plan.left)
            writes = True
        if plan is None or not plan.left:
            mark = _key(common, given)
            store.set_fact(fact, [mark, now])
        if plan is not None and not plan.left:
            plan.mark = mark
            store.note_problems(project.id, ORIGIN, [])
    if plan is not None:
        context.mirrored[project.id] = plan
    return writes


def _planned(
    context: Context, state: State, plan: Plan | None, common: Sequence[object], given: Given
) -> Plan | None:
    """A former plan, if any, brought up to the annotations of now; None where some label cannot be written."""
    changed = None if plan is None else _changed(plan.given, given)
    if plan is None or changed is None or len(changed) > ONE_BY_ONE * len(given):
        plan, changed = Plan("", common, given), None
    elif not changed:
        return plan
    wanted, lacking, left_out = _wanted(context, state, changed)
    if lacking:
        problem = (
            f"mirror: {number_of(lacking, 'label is', 'labels are')} not in Label Studio any more, as their queue "
            "was deleted, and cannot be written again (regions, or a class that is gone): nothing is copied into the "
            "pool project, since it would not be complete"
        )
        context.store.note_problems(state.project.id, ORIGIN, [problem])
        return None
    found, unreadable = _found(context, state, changed)
    # What cannot be read, in the queue or in the pool, stays as it is: it would be written twice, or deleted.
    for task in left_out | unreadable:
        wanted.pop(task, None)
        found.pop(task, None)
        plan.left.pop(task, None)
    for task in sorted(wanted.keys() | found.keys()):
        of_task = [{task: known[task]} if task in known else {} for known in (wanted, found)]
        steps = due(*of_task)
        if steps.count:
            plan.left[task] = steps
        else:
            plan.left.pop(task, None)
    plan.given = given
    return plan


def _changed(before: Given, now: Given) -> set[int]:
    """The items whose annotations are not what they were."""
    return {item for item in before.keys() | now.keys() if before.get(item) != now.get(item)}


def _write(context: Context, left: dict[int, Due]) -> None:
    """Write some of what is left, until about `MOST` annotations are written, and remove it from `left`."""
    count = 0
    while left and count < MOST:
        task, steps = next(iter(left.items()))
        for annotation in steps.delete:
            context.studio.delete_annotation(annotation)
        for annotation, result in steps.change:
            context.studio.update_annotation(annotation, result)
        for _, result in steps.create:
            context.studio.submit(task, result)
        count += steps.count
        del left[task]


def _refusal(state: State) -> str | None:
    if not state.settings.mirror:
        return None
    if state.queue_is_pool:
        return "mirror does nothing: the images come from outside Label Studio, and the connected project is the queue"
    if state.settings.delivery == "in_place":
        return "mirror does nothing with the delivery in_place: labels are given in the pool project itself"
    return None


def _wanted(
    context: Context, state: State, among: Collection[int] | None
) -> tuple[dict[int, list[Json]], int, set[int]]:
    """What the pool project should hold, for some items (`among`) or all (None).

    Returns: task of the pool -> the `result` of its copy; how many labels cannot be written any more; and the tasks of
    the pool whose label lies in a task of a queue at which Label Studio fails.
    """
    space, pool = space_of(state), state.project.pool_project
    own = {row.item for row in state.annotations if row.source == pool}
    asked = state.labels.keys() if among is None else state.labels.keys() & among
    items = {
        number: item
        for number, item in context.store.items_by_id(asked - own).items()
        if not item.gone and item.source is None
    }
    read = results_of(state, context.studio, None if among is None else items.keys()) if items else Results()
    wanted: dict[int, list[Json]] = {}
    lacking = 0
    for number, item in items.items():
        if number in read.left_out:
            continue
        result = read.results.get(number)
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
            parts = [part for part in result if part.get("from_name") in (None, *space.controls)]
            wanted[item.task] = mirrored(item.task, parts, space)
    return wanted, lacking, {items[number].task for number in read.left_out & items.keys()}


def _found(
    context: Context, state: State, among: Collection[int] | None
) -> tuple[dict[int, list[Json]], set[int]]:
    """What the pool project holds, for the tasks of some items (`among`) or all tasks with annotations (None).

    Returns: task of the pool -> its annotations; and the tasks at which Label Studio fails.
    """
    pool, asked = state.project.pool_project, None
    # A listing of the tasks with annotations says nothing of the others, at which it fails as well.
    unreadable = {task.task for task in context.store.problem_tasks(state.project.id).get(UNREADABLE, ())}
    if among is not None:
        asked = {item.task for item in context.store.items_by_id(among).values() if item.source is None}
        asked -= unreadable
    listed = annotated_tasks(context.studio, pool, asked, unreadable)
    return {int(task["id"]): list(task.get("annotations") or ()) for task in listed}, unreadable


def _common(state: State) -> list[object]:
    """What all copies depend on: also which tasks cannot be read, as what was left out is due once they can."""
    unreadable = [state.project.problems.get(origin, []) for origin in (UNREADABLE, UNREADABLE_IN_QUEUE)]
    return [state.project.label_config, state.settings.learn, state.project.pool_version, *unreadable]


def _given(state: State) -> Given:
    """What the copies depend on, by their items."""
    given: Given = {}
    for row in state.annotations:
        parts = row.annotation, row.source, row.label or "", row.updated_at, row.ground_truth
        given.setdefault(row.item, []).append(parts)
    return given


def _key(common: Sequence[object], given: Given) -> str:
    """What stands for all that the copies depend on."""
    return digest_of([common, sorted(given.items())])

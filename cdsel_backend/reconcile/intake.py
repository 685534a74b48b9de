"""The step that brings tasks and labels in from Label Studio."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdsel_backend.labelstudio.errors import LabelStudioError
from cdsel_backend.labelstudio.labels import (
    LabelSpace,
    UnsupportedLabelConfig,
    label_space,
    parse_label_space,
    space_of,
)
from cdsel_backend.labelstudio.mirroring import is_copy
from cdsel_backend.labelstudio.own_config import another_question
from cdsel_backend.labelstudio.queue_projects import SEQUENTIAL, is_queue_of_outside_pool
from cdsel_backend.labelstudio.source import TaskItem
from cdsel_backend.pool.source import SourceError
from cdsel_backend.project.identity import known_project
from cdsel_backend.project.sentences.problems import sources_lost
from cdsel_backend.project.serving import misfit, model_folder
from cdsel_backend.project.source import take_in
from cdsel_backend.project.view import note_offer
from cdsel_backend.reconcile import connection, webhooks
from cdsel_backend.reconcile.accounts import name_annotators
from cdsel_backend.reconcile.answers import label_rows, other_answers_problem
from cdsel_backend.reconcile.books import keep_config, sync_queues, take_back_in_place, withdraw_left
from cdsel_backend.reconcile.clock import is_over, was_set_back
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.listing import bring_in
from cdsel_backend.reconcile.queues import find_queues, look_up, rename_queues, settle_lost
from cdsel_backend.reconcile.webhooks import ensure_webhooks
from cdsel_backend.store import State
from cdsel_backend.store.activity import Request
from cdsel_backend.store.records import Event, Json
from cdsel_backend.training import ModelFormatError, load

REQUESTS = frozenset(Request)
UPDATED = "PROJECT_UPDATED"  # what Label Studio calls a change of a project's own fields
REFUSED = 400  # the status of what Label Studio finds wrong with a request
RELIST_SECONDS = 3600.0  # between looks at a source outside Label Studio; `cdsel pool add` looks at once
FORMER_CONFIG = "former labeling config"  # the origin of a problem: that of now is not used
POOL_POLL = 10  # the pool is listed once in so many polls of the queue


def sync(context: Context, state: State) -> bool:
    """Bring tasks and labels in from Label Studio, when an event says so or a poll is due; returns whether it was."""
    project, now = state.project, time.time()
    events = context.store.open_events(state.sources)  # before the look that they ask for
    due = _due(context, state, events, now)
    if not due.pool and not due.queues:
        context.store.handle_events([event.id for event in events if event.action == UPDATED], {})
        return False
    if was_set_back(max(project.pool_synced_at, project.queue_synced_at), now):
        context.store.read_again(project.id, now)
    before = _known(state) if due.by_event else None
    state = _look(context, state, due, now)
    problem = other_answers_problem(state, space_of(state)) if state.project.label_config else []
    context.store.note_problems(project.id, "answers", problem)
    state = context.read_state(project.id)
    settle_lost(context, state)
    name_annotators(context, state)
    handled = [event.id for event in events if event.action not in REQUESTS]
    context.store.handle_events(handled, None if before is None else _brought(before, _known(state)))
    context.looked[project.id] = frozenset(event.id for event in events)
    if due.again:
        context.unsettled.add(project.id)
    elif due.pool:
        context.unsettled.discard(project.id)
    return True


@dataclass(frozen=True)
class _Due:
    """What of a project has to be looked at in Label Studio: the `pool`, and `queues` by their projects.

    `first`: this process has not looked yet. `every`: all queues are due. `by_event`: an event is a cause.
    `again`: the pool is due once more, one poll later. For Label Studio sends the webhook of an import before others
    can see the tasks, and that of a deleted annotation before it marks the task as changed.
    """

    first: bool
    pool: bool
    again: bool
    every: bool
    queues: Sequence[int]
    by_event: bool


def _due(context: Context, state: State, events: Sequence[Event], now: float) -> _Due:
    """Judge by the events and by the time since the last looks what is due."""
    project, poll = state.project, context.server.poll_seconds
    # A project that was updated, as by our own line in its description, holds the same tasks.
    happened = [event for event in events if event.action != UPDATED]
    # The books may have been restored since: nothing is chosen before this process has looked.
    first = project.id not in context.looked
    # By their numbers, not by when they came: the web server may run by another clock.
    new = [event for event in happened if event.id not in context.looked.get(project.id, ())]
    again = any(event.source == project.pool_project for event in new)
    pool = (
        first
        or again
        or is_over(project.pool_synced_at, pool_poll(context, project.id), now)
        or (len(happened) < len(events) and _pool_project_changed(context, state))
    )
    every = is_over(project.queue_synced_at, poll, now) or any(event.action in REQUESTS for event in new)
    labelled_in = {event.source for event in happened if event.action not in REQUESTS}
    queues = [queue for queue in state.queues.values() if every or queue in labelled_in]
    return _Due(first, pool, again, every, queues, bool(happened))


def pool_poll(context: Context, project: int) -> float:
    """Seconds between two looks at a pool while no event asks for one."""
    return context.server.poll_seconds * (1 if project in context.unsettled else POOL_POLL)


def _pool_project_changed(context: Context, state: State) -> bool:
    """Whether Label Studio has another title, labeling config or least number of labels for the pool project than the
    books."""
    project = state.project
    if FORMER_CONFIG in project.problems:  # the books have the config of before, which may be back
        return True
    found = context.studio.project(project.pool_project)
    known = (project.title, project.label_config, project.least_labels)
    return (found["title"], found["label_config"], least_labels(found)) != known


def _look(context: Context, state: State, due: _Due, now: float) -> State:
    """Take in what is due, the pool before the queues; returns the state after that."""
    project, queues = state.project, due.queues
    if due.pool:
        sync_pool(context, state, now)
        state = context.read_state(project.id)
        # The queues' labeling config follows that of the pool, and says how their answers are to be read.
        if due.first or state.project.label_config != project.label_config:
            queues = list(state.queues.values())
    if queues:
        sync_queues(context, state, queues, now)
        if due.every and not due.pool:
            connection.glance(context, state)
    state = context.read_state(project.id)
    if due.pool:
        if due.first:
            take_back_in_place(context, state)
            state = context.read_state(project.id)
        withdraw_left(context, state, now)
    return state


def _known(state: State) -> tuple[dict[tuple[int, int], str], int]:
    """Every annotation and when it was changed last, and how many images there are."""
    return state.store.changed_at(state.project.id), state.item_count


def _brought(
    before: tuple[dict[tuple[int, int], str], int], after: tuple[dict[tuple[int, int], str], int]
) -> dict[str, int]:
    """Count what a look brought, for `Event.result`: annotations new or changed, annotations gone, images more."""
    old, new = before[0], after[0]
    return {
        "answers": sum(old.get(key) != changed for key, changed in new.items()),
        "withdrawn": len(old.keys() - new.keys()),
        "images": after[1] - before[1],
    }


def sync_pool(context: Context, state: State, now: float) -> None:
    """Make the items what the pool project holds, and take the labels given there."""
    project = state.project
    found = known_project(context.store, context.studio, project.pool_project)
    label_config, refusal = config_in_force(context, state, found["label_config"])
    space = label_space(label_config, state.settings.learn, state.settings.ignore_classes)
    rename_queues(context, state, found["title"])
    context.store.update_project(
        project.id, title=found["title"], label_config=label_config, least_labels=least_labels(found)
    )
    # By the labeling config of now, which says what is to be listed again.
    state = context.read_state(project.id)
    note_offer(context.store, project.id, space.classes, now)
    if not project.pool_synced_at and is_queue_of_outside_pool(context.studio, found, space):
        context.store.update_project(project.id, queue_project=project.pool_project)
        state = context.read_state(project.id)
    if state.queue_is_pool:
        list_sources(context, state, found)
    else:
        list_tasks(context, state, space)
    connection.look(context, state)
    if state.settings.delivery == "queue_project":
        find_queues(context, context.read_state(project.id))  # by the labeling config that was just read
        look_up(context, context.read_state(project.id))
    state = context.read_state(project.id)  # with the queues that were taken back
    if not state.disconnected:  # whoever removed this backend wants no webhook to it, either
        refused = ensure_webhooks(context, state, state.sources)
        context.store.note_problems(project.id, webhooks.ORIGIN, refused)
    context.store.update_project(project.id, pool_synced_at=now)
    for origin, message in ((FORMER_CONFIG, refusal), ("classes", set_aside(context, project.id, space))):
        context.store.note_problems(project.id, origin, [message] if message else [])


def list_tasks(context: Context, state: State, space: LabelSpace) -> None:
    """Make the items what the pool project holds, and take the labels given there, without those we mirrored there."""

    def rows(task: TaskItem, item: int) -> list[Json]:
        given = [annotation for annotation in task.annotations if not is_copy(task.task, annotation)]
        return label_rows(task.task, given, item, space)

    bring_in(context, state, space, rows)


def list_sources(context: Context, state: State, found: Mapping[str, Any]) -> None:
    """Look for what is new or changed in the sources of a pool outside Label Studio, as often as each is due."""
    if found.get("sampling") != SEQUENTIAL:
        context.studio.update_project(state.project.pool_project, sampling=SEQUENTIAL)
    messages = []
    if not context.store.sources(state.project.id, removed=True):
        messages.append(sources_lost(state.project.pool_project))
    for source in context.store.sources(state.project.id):
        if is_over(source.listed_at, RELIST_SECONDS, time.time()):
            try:
                for _ in take_in(context.store, source, context.server.data_dir):
                    pass
            except SourceError as fault:
                messages.append(f"{fault}; what is known of it stays")
    context.store.note_problems(state.project.id, "sources", messages)


def least_labels(found: Json) -> int:
    """The labels that a project of Label Studio asks for before it trains by itself; 0 asks for none."""
    return int(found.get("min_annotations_to_start_training") or 0)


def config_in_force(context: Context, state: State, found: str) -> tuple[str, str | None]:
    """The labeling config to go by, given the pool project's; and, where it is another, the sentence that says why.

    Classes may come and go. A config that cannot be used never replaces one that can; and Label Studio refuses
    another control in a queue whose annotations answer the old one. Where somebody changed the config of a queue, it is
    left alone, and the control that it has is the one to ask for.
    """
    known = state.project.label_config
    if found == known:
        return found, None
    try:
        parse_label_space(found)
    except UnsupportedLabelConfig as fault:
        if not known:
            raise
        return known, f"the former labeling config is still used: {fault}"
    for queue in state.queues.values():
        if queue == state.project.pool_project:
            continue  # whose labeling config it is
        try:
            there = known_project(context.store, context.studio, queue)
            kept = keep_config(context, state, there, found, former=known)
        except LabelStudioError as fault:
            if fault.status != REFUSED:
                raise
            return known, (
                f"the former labeling config is still used, because annotations of the queue (project {queue}) "
                "answer another control than the new one has: give the control its former name and kind, or "
                "start a new pool project"
            )
        own, learn = str(kept.found["label_config"]), state.settings.learn
        changed = kept.problem is not None and another_question(own, label_space(found, learn))
        if changed and known and not another_question(own, label_space(known, learn)):
            return known, (
                f"the former labeling config is still used, because that of the queue (project {queue}), which was "
                "changed in Label Studio, asks the question of before: give the control its former name and kind, "
                f"or paste the new labeling config into project {queue}, too"
            )
    return found, None


def set_aside(context: Context, project: int, space: LabelSpace) -> str | None:
    """The sentence on why the champion cannot serve the classes of the labeling config; None where it can."""
    champion = context.store.project(project).champion
    if champion is None:
        return None
    try:
        why = misfit(load(model_folder(context.server, project) / champion), space)
    except ModelFormatError:
        return None  # `check_champion` says so
    return f"{champion} is set aside until the next training: {why}" if why else None

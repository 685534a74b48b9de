"""The loop: look at a project's state, do the next thing that is due.

There is no job queue. Each step compares what is with what should be, does a bounded piece of work, commits it, and
says whether it did anything. Any of them may be killed at any instruction and run again.

sync from Label Studio -> embed what has no vector -> keep the queue from running dry -> re-detect confounders ->
train -> select the next round -> push it -> show predictions on it -> explain the training -> lay the pool out for the
map. What annotators wait for comes first: what only an admin reads, and what is computed longest, follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from cdsel_backend.labelstudio.client import RequestRefused
from cdsel_backend.labelstudio.labels import settings_refusal
from cdsel_backend.project.layout import keep_layout
from cdsel_backend.project.pool_predictions import keep_predictions
from cdsel_backend.project.sentences.settings import refused
from cdsel_backend.reconcile.confounders import detect_confounders, update_report
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.current import Current
from cdsel_backend.reconcile.directives import withdraw_excluded
from cdsel_backend.reconcile.embedding import embed, embed_lost
from cdsel_backend.reconcile.idle import Standing, rests, settle
from cdsel_backend.reconcile.intake import sync
from cdsel_backend.reconcile.mirror import mirror
from cdsel_backend.reconcile.moves import readdress
from cdsel_backend.reconcile.owner import holds
from cdsel_backend.reconcile.queues import describe, find_annotators, forget_lost
from cdsel_backend.reconcile.replacements import withdraw_replaced
from cdsel_backend.reconcile.rounds import preannotate, push, refill, select_round
from cdsel_backend.reconcile.training import check_champion
from cdsel_backend.reconcile.training_process import explain_apart, train_apart
from cdsel_backend.reconcile.tuning import embed_tuned
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.vectors import LostVectors

log = logging.getLogger(__name__)


def check_settings(context: Context, state: State) -> bool:
    """Name the settings that were accepted once and are refused now, and those that need another one."""
    faults = [refused(refusal) for refusal in state.resolved.refused]
    if state.settings.group_cap is not None and state.settings.group is None:
        faults.append(
            "group_cap does nothing without group: set it to the variable that names the patient or lesion"
        )
    classes = settings_refusal(state)
    if classes:
        faults.append(classes)
    if state.settings.training == "head":  # a fine-tune that failed is not asked for any more
        context.store.update_problems(state.project, "fine-tune", [])
    context.store.update_problems(state.project, "settings", faults)
    return False


def lay_out(context: Context, state: State) -> bool:
    """Lay the pool out for the map, and ask the champion about it for map and gallery, again whenever either moved."""
    if keep_layout(context.server, state):
        return True
    return keep_predictions(context.server, state, context.predictions)


STEPS: tuple[Callable[[Context, State], bool], ...] = (
    check_settings,
    describe,
    sync,
    find_annotators,
    withdraw_excluded,
    withdraw_replaced,
    readdress,
    embed,
    check_champion,
    refill,
    detect_confounders,
    train_apart,
    select_round,
    push,
    embed_tuned,
    preannotate,
    mirror,
    explain_apart,
    update_report,
    lay_out,
)
LOOKS = (describe, sync)
COMPUTES = (check_champion, detect_confounders, select_round, update_report, lay_out)
"""Steps that compute on the vectors of the whole pool."""


def reconcile(context: Context, project: int) -> bool:
    """Look at Label Studio if need be, then do the next thing that is due; returns whether there was one.

    A look never takes the place of a step: where labels come in faster than they are listed, or listing takes longer
    than the time between two polls, the project would otherwise stand still.
    """
    if rests(context, project):
        return False
    context.at_rest.pop(project, None)
    before = Standing.of(context, project)
    current = Current(context, project)
    if not _do(holds, context, current.state()):
        return False
    for step in STEPS:
        context.steps[project] = step.__name__
        with context.computing if step in COMPUTES else nullcontext():
            state = current.state()
            done = _do(step, context, state)
        if done:
            level = logging.DEBUG if step in LOOKS else logging.INFO  # polls would drown the rest
            log.log(level, "project %s: %s", state.project.pool_project, step.__name__)
            if step not in LOOKS:
                return True
            before = before.looked(context, project)
    if not before.trains:  # a training tells itself how far it is
        state = current.state()
        context.show(state, waiting_for(state))
    settle(context, project, before)
    return False


def _do(step: Callable[[Context, State], bool], context: Context, state: State) -> bool:
    """Take a step; one that met a queue, or vectors, that are gone has its next turn without these."""
    try:
        return step(context, state)
    except LostVectors:
        if not embed_lost(context, state):
            raise
        return True
    except RequestRefused:
        # Not all that Label Studio answers about a project that is gone is a 404: its webhooks are a bad request.
        if not forget_lost(context, state):
            raise
        return True


def waiting_for(state: State) -> Activity:
    """What the project waits for."""
    if not state.item_count:
        return Activity(Step.NO_IMAGES)
    if state.disconnected:
        return Activity(Step.DISCONNECTED)
    if state.open:
        return Activity(Step.WAITING_FOR_LABELS, open=len(state.open))
    if state.settings.paused:
        return Activity(Step.PAUSED)
    if not state.left:
        return Activity(Step.BUDGET_USED)
    return Activity(Step.POOL_USED if state.room else Step.QUOTAS_USED)

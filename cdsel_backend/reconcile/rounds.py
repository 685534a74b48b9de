"""The steps that give out work: choose a round, push it into the queue, show predictions on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio import queue
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.placing import plan
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.project.digests import digest_of
from cdsel_backend.project.display import Display
from cdsel_backend.project.embedded import EmbeddedPool, read_pool
from cdsel_backend.project.serving import predict_pool
from cdsel_backend.reconcile import connection
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.directives import first_rows
from cdsel_backend.reconcile.embedding import pause_after
from cdsel_backend.reconcile.owner import holds
from cdsel_backend.reconcile.queues import open_queues
from cdsel_backend.round import next_round, seed_of_round, strength_of
from cdsel_backend.selection import PUT_FIRST, SelectionOptions, sentence_without_label
from cdsel_backend.store import Selected, State
from cdsel_backend.store.activity import Activity, Request, Step
from cdsel_backend.store.facts import REPEATS_FACT
from cdsel_backend.store.records import Item

log = logging.getLogger(__name__)


def refill(context: Context, state: State) -> bool:
    """Keep the queue from running dry before longer steps are taken: choose from what is known, and push."""
    if not (state.rounds and state.runs_dry):
        return False
    return select_round(context, state) or push(context, context.read_state(state.project.id))


def select_round(context: Context, state: State) -> bool:
    """Choose the next round, when few of the last are open, it fell short or somebody asks, and the budget has room.

    What of a round is not pushed yet is chosen again once a new model serves.
    """
    settings = state.settings
    if _outranked(context, state):
        return _choose_again(context, state)
    asked = context.requests(state, Request.SELECT)
    if (
        state.stopped
        or state.waiting
        or not state.room
        or not (state.runs_low or asked or _fell_short(state))
    ):
        context.store.handle_events(asked)
        return False
    if context.store.training_runs(state.project.id) and not asked and not state.runs_dry:
        return False  # its model helps to choose
    size = min(settings.round_size, state.room)
    key = selection_key(context, state, size)
    if key == state.project.exhausted_key:
        context.store.handle_events(asked)
        return False
    pool = read_pool(state, context.server)
    repeats = pool.pictures.repeats(pool.taken)
    _note_repeats(context, state, int(repeats.sum()))
    if (pool.taken | repeats).all():
        return _exhausted(context, state, key, asked)
    context.show(state, Activity(Step.SELECTING, 0, size))
    number = state.rounds[-1].number + 1 if state.rounds else 1
    selected = _choose(context, pool, pool.taken, size, number, last_rank=state.last_rank)
    if not selected:
        return _exhausted(context, state, key, asked)
    context.store.add_round(
        state.project.id,
        number,
        selected,
        strategy=settings.strategy,
        seed=seed_of_round(settings.seed, number),
        model_version=state.project.champion,
    )
    context.store.handle_events(asked)
    return True


def _outranked(context: Context, state: State) -> bool:
    """Whether images wait to be pushed that were chosen by another model than the champion of now."""
    return bool(
        state.waiting
        and state.left
        and not state.stopped
        and state.rounds[-1].model_version != state.project.champion
        and not context.store.training_runs(state.project.id)
    )


def _choose_again(context: Context, state: State) -> bool:
    """Choose what of the last round is not in a queue yet by the model that serves now; its size stays."""
    last = state.rounds[-1].number
    context.show(state, Activity(Step.SELECTING, 0, len(state.waiting)))
    in_queues = state.pushed and state.settings.delivery == "queue_project"
    # What a push that was killed left in a queue is no longer free.
    if in_queues and queue.adopt(context.studio, state, space_of(state)):
        return True
    items = {row.item for row in state.waiting if row.round == last}
    kept = [row.rank for row in (*state.selections, *state.copies) if row.item not in items]
    pool = read_pool(state, context.server)
    taken = pool.taken & ~np.isin(pool.ids, sorted(items))
    selected = _choose(context, pool, taken, len(items), last, last_rank=max(kept, default=0))
    context.store.choose_again(
        state.project.id,
        last,
        items if selected else (),
        selected,
        strategy=state.settings.strategy,
        model_version=state.project.champion,
    )
    return True


def _choose(
    context: Context, pool: EmbeddedPool, taken: NDArray[np.bool_], size: int, number: int, *, last_rank: int
) -> list[Selected]:
    """Up to `size` images for round `number` that are not `taken` (n,), ranked from `last_rank` + 1 on.

    Those that an admin put first come first; the strategy chooses the rest as if they had been chosen before.
    """
    state = pool.state
    settings = state.settings
    first = first_rows(pool, taken, size)
    taken = taken.copy()
    taken[first] = True
    champion = context.predictions.model(state)
    chosen = next_round(
        pool.round_pool,
        pool.labels,
        taken,
        size - len(first),
        strategy=settings.strategy,
        strength=strength_of(settings.strength, champion),
        probabilities=partial(predict_pool, champion, pool) if champion else None,
        seed=seed_of_round(settings.seed, number),
        options=SelectionOptions(
            random_share=settings.random_share,
            group_cap=settings.group_cap,
            near_duplicate=settings.near_duplicate,
        ),
    )
    return [
        Selected(
            item=int(pool.ids[index]),
            rank=rank,
            gain=float(gain),
            sentence=sentence_without_label(reason, pool.classes),
            reason={
                **reason.to_json(),
                "levels": {c.name: c.levels[c.codes[index]] for c in pool.confounders},
            },
        )
        for rank, (index, gain, reason) in enumerate(
            [
                *((row, 0.0, PUT_FIRST) for row in first),
                *zip(chosen.indices, chosen.gains, chosen.reasons, strict=True),
            ],
            start=last_rank + 1,
        )
    ]


def selection_key(context: Context, state: State, size: int) -> str:
    """A digest of all that the choice of a round of `size` images depends on."""
    project = state.project
    parts = [
        size,
        project.backbone,
        context.store.embedding_progress(project.id).embedded,
        project.pool_version,
        project.label_config,
        project.report_key,
        project.champion,
        state.settings.model_dump(mode="json"),
        len(state.rounds),
        sorted(state.labels.items()),
        sorted(state.skipped),
        context.store.last_directive(project.id),
    ]
    return digest_of(parts)


def _note_repeats(context: Context, state: State, count: int) -> None:
    """Keep how many images of the pool repeat another, for the activity page."""
    name = REPEATS_FACT.format(state.project.id)
    if count != (context.store.fact(name) or 0):
        context.store.set_fact(name, count)


def _exhausted(context: Context, state: State, key: str, asked: Sequence[int]) -> bool:
    """Keep that nothing can be selected as things stand: the whole pool is not searched again until they change."""
    context.store.update_project(state.project.id, exhausted_key=key)
    context.store.handle_events(asked)
    return False


def _fell_short(state: State) -> bool:
    """Whether the last round is smaller than a round should be: an admin who raises the budget waits for nobody.

    It ends by itself, since the round that follows is a whole one or takes all the room there is.
    """
    if not state.rounds:
        return False
    selected = state.in_queues.round[: state.in_queues.first]
    return int((selected == state.rounds[-1].number).sum()) < state.settings.round_size


def push(context: Context, state: State) -> bool:
    """Push what is selected into the queues, as far as budget and quotas let it."""
    if state.settings.delivery == "in_place":
        due = bool(state.waiting and state.left and not state.stopped)
    else:
        due = bool(plan(state, 1))
    most = _most(context, state)
    if not due or most == 0:
        return False
    if not holds(context, state, now=True):
        return False
    if connection.look(context, state):
        return True
    context.show(state, Activity(Step.FILLING_QUEUE, 0, len(state.waiting)))
    if state.settings.delivery == "queue_project" and open_queues(context, state):
        return True
    display = Display(context.studio, context.server, state)

    def show(item: Item) -> str | None:
        try:
            return display.address(item)
        except UnreadableImage as fault:
            log.warning("project %s: task %s is left out: %s", state.project.pool_project, item.task, fault)
            context.store.note_unusable([(item.id, str(fault), time.time() + pause_after(item.attempts))])
            return None

    if state.settings.delivery == "in_place":
        due_items = context.store.items_by_id([row.item for row in state.waiting[: state.left]])
        if None in [show(item) for item in due_items.values()]:
            return True  # the others follow
    return queue.push(context.studio, state, space_of(state), show, most=most)


def _most(context: Context, state: State) -> int | None:
    """How many images may be pushed now; None: all that are due.

    While a model is trained, only so many as keep the queue from running dry: the new model chooses the rest again.
    """
    if not state.low_water or state.staff != {"": None} or not context.store.training_runs(state.project.id):
        return None
    return max(0, state.low_water - len(state.open)) if state.waiting else None


def preannotate(context: Context, state: State) -> bool:
    """Show the champion's predictions on the open images of the queue."""
    champion = state.project.champion
    if not state.settings.preannotate or state.settings.delivery != "queue_project":
        return False
    rows = [row for row in state.tasks if row.item in state.open and row.predicted_by != champion]
    # Whatever left the pool meanwhile can stay open for weeks: the pool is not read for it in every pass.
    known = context.store.with_vector(state.project.id, state.project.backbone, {row.item for row in rows})
    probabilities = context.predictions.of_items(state, known) if known else None
    if probabilities is None:
        return False
    queue.preannotate(
        context.studio,
        state,
        space_of(state),
        [row for row in rows if row.item in probabilities],
        {item: shares.tolist() for item, shares in probabilities.items()},
    )
    return True

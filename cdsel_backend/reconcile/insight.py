"""What a training tells the admin beside its model's accuracy, from the labels as they are.

It takes longer than most trainings, and nothing waits for it: it is computed once the model serves and the queue holds
what that model chose. It goes into the training's metrics under `insight`: `random_share` (error and prevalence of the
pool), `curve` (what another round would bring), `saved` (labels saved against chance, a sentence), `provisional`
(accuracy by group while few labels are held out), `one_class` (sentences on levels of which the labels show one class)
and `suspects` (labels that may be wrong: `item`, `label`, `other`, their probabilities as `own` and `likelihood`, and
the `class` in question where an image may show several).

All of it goes by heads that have not seen the label in question (`training/cross_fit.py`): the champion has seen most
labels of the random share and would flatter itself, and those it has not seen, held out or newer, are too few.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.project.embedded import EmbeddedPool, read_pool
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State
from cdsel_backend.store.arrays import among
from cdsel_backend.store.records import Json
from cdsel_backend.training import NotEnoughLabels
from cdsel_backend.training.cross_fit import Unseen, cross_fit
from cdsel_backend.training.curve import learning_curve
from cdsel_backend.training.labels_saved import labels_saved_sentence, too_few
from cdsel_backend.training.one_class import one_class_levels
from cdsel_backend.training.provisional import provisional
from cdsel_backend.training.random_share import RandomShare, pool_estimates
from cdsel_backend.training.suspects import find_suspects

log = logging.getLogger(__name__)


def explain(context: Context, state: State) -> bool:
    """Compute the insight of the newest training, if that is still to be done; returns whether it was."""
    training = state.unexplained
    if training is None:
        return False
    found = insight(read_pool(state, context.server))
    context.store.note_insight(state.project.id, training.number, found)
    return True


def insight(pool: EmbeddedPool) -> Json | None:
    """The insight of the labels as they are; None where they do not suffice."""
    try:
        return _insight(pool)
    except NotEnoughLabels:
        return None
    except Exception:  # the next training may have more luck
        log.exception("project %s: nothing can be said of the labels", pool.state.project.id)
        return None


def _insight(pool: EmbeddedPool) -> Json:
    settings = pool.state.settings
    unseen = cross_fit(pool.round_pool, pool.training_labels, pool.training_options)
    labels, probabilities = pool.training_labels.take(unseen.rows), unseen.at_full_size()
    share = random_share(pool, unseen)
    once = first_of_each(pool.vectors.positions[unseen.rows], share)
    columns = [column.take(unseen.rows) for column in pool.confounders]
    trained = ~pool.held_out[unseen.rows]
    now, drawn = int(trained.sum()), share.drawn & trained
    # Without room, what a whole round would bring if the budget were raised.
    asked = min(settings.round_size, pool.state.room) or settings.round_size
    saved = too_few(int(drawn.sum()), now)
    if saved is None:
        by_chance = np.zeros(len(pool.ids), dtype=bool)
        by_chance[unseen.rows[drawn]] = True
        drawn_labels = replace(pool.training_labels, trainable=by_chance)
        chance = cross_fit(pool.round_pool, drawn_labels, pool.training_options)
        saved = labels_saved_sentence(unseen, chance, labels, columns, seed=settings.seed)
    return {
        "random_share": pool_estimates(share.among(once), labels.take(once), probabilities[once]),
        "curve": learning_curve(
            unseen,
            labels,
            columns,
            labels_now=now,
            labels_more=round(asked * now / len(labels)),
            asked=asked,
            seed=settings.seed,
        ),
        "saved": saved,
        "provisional": provisional(unseen, labels, columns, seed=settings.seed),
        "one_class": one_class_levels(labels.take(trained), [column.take(trained) for column in columns]),
        "suspects": _suspects(pool, unseen),
    }


def random_share(pool: EmbeddedPool, unseen: Unseen) -> RandomShare:
    """Which of the labels were drawn by chance, in which round, and how large the pool was that they were drawn from.

    Images that were skipped, or excluded without a label, are no part of that pool. An image that an admin put first
    was taken before the draws of its round, and so counts as half a round earlier. Files that show the same picture
    count as one.
    """
    selected = {row.item: row for row in pool.state.selections}
    rows = [selected.get(int(item)) for item in pool.ids[unseen.rows]]
    left_out = pool.state.skipped | (pool.state.excluded - pool.state.labels.keys())
    pictures = pool.vectors.positions
    never = among(pool.ids, left_out)
    never = np.setdiff1d(pictures[never], pictures[unseen.rows])
    return RandomShare(
        np.array(
            [0 if row is None else 2 * row.round - bool(row.reason.get("put_first")) for row in rows],
            dtype=np.int64,
        ),
        np.array([row is not None and bool(row.reason.get("drawn_at_random")) for row in rows]),
        len(np.setdiff1d(pictures, never)),
    )


def first_of_each(pictures: NDArray[np.int64], share: RandomShare) -> NDArray[np.bool_]:
    """(m,): whether a labelled item was the first with its picture. Items of one picture have one number (m,)."""
    order = np.lexsort((~share.drawn, share.round))
    first = np.zeros(len(pictures), dtype=bool)
    first[order[np.unique(pictures[order], return_index=True)[1]]] = True
    return first


def _suspects(pool: EmbeddedPool, unseen: Unseen) -> list[Json]:
    listed: list[Json] = []
    labels = pool.training_labels.take(unseen.rows)
    for suspect in find_suspects(unseen.at_full_size(), labels):
        decision = labels.decisions[suspect.column]
        listed.append(
            {
                "item": int(pool.ids[unseen.rows[suspect.row]]),
                "class": decision.name,
                "label": decision.outcomes[suspect.label],
                "other": decision.outcomes[suspect.other],
                "own": round(suspect.own, 4),
                "likelihood": round(suspect.likelihood, 4),
            }
        )
    return listed

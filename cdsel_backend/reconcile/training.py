"""The step that trains a model from the labels so far, and promotes it where it is not worse than the champion."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form, number_of
from cdsel_backend.project.embedded import EmbeddedPool, read_pool
from cdsel_backend.project.serving import load_version, model_folder, predict, trained_on
from cdsel_backend.project.versions import group_of, predecessors, provenance, prune
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.tuning import try_fine_tune
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Request, Step
from cdsel_backend.store.records import Became, Json, Outcome
from cdsel_backend.training import (
    Model,
    ModelFormatError,
    NotEnoughLabels,
    evaluate,
    load,
    save,
    train_model,
)

MARGIN = 0.02  # a candidate may be this much worse on held-out labels and still replace the champion


def training_due(context: Context, state: State) -> bool:
    """Whether enough labels moved, the round is complete with new ones, somebody asked, or the vectors are new ones.

    Below the labels that Label Studio's project asks for, a training only comes of being asked for.
    """
    if _outdated(context, state):
        return True
    if not state.changed_labels:
        return False
    if context.requests(state, Request.TRAIN):
        return True
    if len(state.labels) < state.project.least_labels:
        return False
    if state.changed_labels >= state.settings.retrain_every or not state.trainings:
        return state.changed_labels >= state.settings.retrain_every or state.ended_rounds > 0
    last = state.trainings[-1]
    # Where the labels did not suffice for a model, the whole round is waited for.
    return (state.ended_rounds if last.version else state.complete_rounds) > last.round


def _outdated(context: Context, state: State) -> bool:
    """Whether the champion was trained on vectors of another backbone than the pool has now."""
    champion = state.project.champion
    if champion is None:
        return False
    try:
        backbone = trained_on(model_folder(context.server, state.project.id) / champion)
    except ModelFormatError:
        return False  # `check_champion` says so
    return backbone not in (None, state.project.backbone)


def check_champion(context: Context, state: State) -> bool:
    """See that the champion's folder is whole; if it is not, the newest earlier one that is serves again."""
    if state.project.champion is None:
        return False
    folder = model_folder(context.server, state.project.id)
    faults = []
    for version in (state.project.champion, *predecessors(state)):
        try:
            load(folder / version)
        except ModelFormatError as fault:
            faults.append(str(fault))
            continue
        break
    else:
        version = None
    if not faults:
        return False
    if not context.store.replace_champion(state.project.id, version, instead_of=state.project.champion):
        return True  # somebody chose another meanwhile, which is looked at next
    serves = f"{version} serves instead" if version else "there is no model until the next training"
    context.store.note_problems(state.project.id, "model", [f"{fault}; {serves}" for fault in faults])
    return True


def train(context: Context, state: State, *, killed: bool = False) -> bool:
    """Train on the labels as they are, and promote the model when it is not worse on the held-out ones.

    `killed`: the process that tried before was, so this one goes without a fine-tune.
    """
    requests = context.requests(state, Request.TRAIN)
    if not training_due(context, state):
        context.store.handle_events(requests)  # the same labels are never trained on twice
        return False
    began = time.monotonic()
    # As of the labels: the rounds go on while the model is trained, and each is to have a training of its own.
    rounds = Rounds(state.ended_rounds, state.complete_rounds)
    pool = read_pool(state, context.server)
    context.show(state, Activity(Step.TRAINING, 0, int(pool.labelled.sum())))
    last = state.trainings[-1].number if state.trainings else 0
    version = f"cdsel-{state.project.pool_project}-v{last + 1}"
    # What has no vector is not seen: its label is learned once its image can be read.
    labels = {str(item): state.labels[item] for item in pool.ids.tolist() if item in state.labels}
    try:
        model = train_model(pool.round_pool, pool.training_labels, pool.training_options)
    except NotEnoughLabels as fault:
        why = f"{fault}{_unseen(len(state.labels) - len(labels))}"
        _note_no_model(context, state, rounds, labels, why)
        context.store.handle_events(requests)
        return True
    trial = try_fine_tune(context, state, pool, model, killed=killed)
    context.store.note_problems(state.project.id, "fine-tune", [trial.problem] if trial.problem else [])
    model = trial.model
    metrics = {**held_out_metrics(model, pool, pool.labelled & pool.held_out), **trial.facts}
    _save(context, state, model, version, labels, metrics)
    metrics["seconds"] = round(time.monotonic() - began, 1)
    if _record(context, pool, model, version, rounds, labels, metrics):
        context.store.note_problems(state.project.id, "model", [])
    context.store.handle_events(requests)
    prune(context.server, State(context.store, state.project.id))
    return True


class Rounds(NamedTuple):
    """How many rounds a training need not wait for any more, and how many are complete, when its labels were read."""

    ended: int
    complete: int


def _unseen(count: int) -> str:
    """That labels do not count because their images have no vector, as a sentence; "" where there are none."""
    if not count:
        return ""
    return (
        f" {number_of(count, 'label')} of images that left the pool, cannot be used or are not embedded yet "
        f"{form(count, 'does', 'do')} not count; the gallery says why."
    )


def _note_no_model(
    context: Context, state: State, rounds: Rounds, labels: Mapping[str, str], why: str
) -> None:
    """Record a training whose labels did not suffice."""
    context.store.add_training(
        state.project.id,
        version=None,
        outcome=Outcome(Became.NO_MODEL, explanation=why),
        metrics={},
        round=rounds.complete,
        labels=labels,
    )
    if _outdated(context, state):  # or the same labels would be tried for ever
        context.store.replace_champion(state.project.id, None, instead_of=state.project.champion)


def _save(
    context: Context, state: State, model: Model, version: str, labels: Mapping[str, str], metrics: Json
) -> None:
    """Write a model into its folder; what a run left there that died before it was recorded is removed."""
    folder = model_folder(context.server, state.project.id) / version
    context.store.confirm_lease()  # or another process may be writing there
    for stray in (folder, *folder.parent.glob(f".{version}-*")):
        shutil.rmtree(stray, ignore_errors=True)
    save(model, folder, {"version": version, "metrics": metrics, **provenance(state, labels)})


def _record(
    context: Context,
    pool: EmbeddedPool,
    model: Model,
    version: str,
    rounds: Rounds,
    labels: Mapping[str, str],
    metrics: Json,
) -> bool:
    """Judge a model that is saved, and record it with what becomes of it; returns whether it serves now."""
    state = pool.state
    # Again for as long as somebody puts another champion in force between the look and the record.
    while True:
        champion = context.store.project(state.project.id).champion
        outcome = judge(context, pool, model, metrics, champion)
        promoted = outcome.became is Became.PROMOTED
        number = context.store.add_training(
            state.project.id,
            champion=version if promoted else None,
            instead_of=champion,
            version=version,
            outcome=outcome,
            metrics=metrics,
            round=rounds.ended,
            labels=labels,
        )
        if number is not None:
            return promoted


def judge(
    context: Context, pool: EmbeddedPool, candidate: Model, metrics: Json, version: str | None
) -> Outcome:
    """Decide whether a candidate is promoted.

    It is compared with the champion, `version`, on the labels that neither of the two was trained on. Where the setting
    `group` is as it was when the champion was trained, these are all labels that are held out now, and `metrics` holds
    the candidate's already.

    Raises:
        ModelFormatError: the champion's folder is damaged; the message names the file.
    """
    state = pool.state
    champion = load_version(context.server, state, version)
    if version is None or champion is None:
        return Outcome(Became.PROMOTED)
    group = group_of(context.server, state, version)
    tested = pool.unseen_by(group)
    changed = group != state.settings.group
    ours = held_out_metrics(candidate, pool, tested) if changed else metrics
    theirs = held_out_metrics(champion, pool, tested)
    if changed and not _compared(ours, theirs):
        return Outcome(Became.PROMOTED, version, new_labels=int(tested.sum()))
    return Outcome(Became.PROMOTED if not_worse(ours, theirs) else Became.KEPT_OUT, version)


def held_out_metrics(model: Model, pool: EmbeddedPool, rows: NDArray[np.bool_]) -> Json:
    """A model's metrics on rows (n,) of the pool, all of them labelled, that it was not trained on."""
    tested = np.flatnonzero(rows)
    columns = [column.take(tested) for column in pool.confounders]
    probabilities = predict(model, pool, tested)
    labels = pool.training_labels.take(tested)
    return evaluate(probabilities, labels, columns, seed=pool.state.settings.seed)


def not_worse(candidate: Json, champion: Json) -> bool:
    """Whether a candidate holds the champion's worst-group and group-balanced accuracy on the same held-out labels.

    Where too few labels tell the groups apart, balanced accuracy is all there is to go by; where they do, it is not
    asked: held-out labels are as confounded as the pool, so it rewards the model that uses the shortcut. The
    candidate may be worse by `MARGIN` and one standard error of its own (a quarter of its bootstrap interval): with
    few held-out labels chance alone would otherwise keep better models out.
    """
    for name in _compared(candidate, champion):
        low, high = candidate["intervals"][name]
        if candidate[name] < champion[name] - MARGIN - (high - low) / 4:
            return False
    return True


def _compared(candidate: Json, champion: Json) -> tuple[str, ...]:
    """The measures that two models are compared by; none where too few labels tell any."""
    for names in (("worst_group_accuracy", "group_balanced_accuracy"), ("balanced_accuracy",)):
        if all(metrics.get(name) is not None for metrics in (candidate, champion) for name in names):
            return names
    return ()

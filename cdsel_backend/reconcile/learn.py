"""The steps that learn: which metadata confounds, and a model from the labels so far."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report, detect, first_sentence, labels_by_level, verdict_changes
from cdsel_backend.project.embedded import EmbeddedPool, read_pool
from cdsel_backend.project.metadata import FORM
from cdsel_backend.project.serving import load_champion, load_version, model_folder, predict, trained_on
from cdsel_backend.project.versions import predecessors, provenance, prune
from cdsel_backend.reconcile import equal_images
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.tuning import try_fine_tune
from cdsel_backend.store import State
from cdsel_backend.store.records import Activity, Became, Json, Outcome, Request, Step
from cdsel_backend.training import (
    Model,
    ModelFormatError,
    NotEnoughLabels,
    evaluate,
    load,
    load_meta,
    save,
    train_model,
)

VERDICT_CHANGED = "VERDICT_CHANGED"  # an event of our own, for the activity page
FIELDS_SHOWN = 30  # of a pool, in a problem
MARGIN = 0.02  # a candidate may be this much worse on held-out labels and still replace the champion


def detect_confounders(context: Context, state: State) -> bool:
    """Find which metadata confounds, again whenever the pool moved or a training is due on new labels."""
    key, known = report_key(context, state), ReportKey.read(state.project.report_key)
    trains = key.labels != known.labels and training_due(context, state)
    if key.pool == known.pool and not (trains and not context.store.training_runs(state.project.id)):
        return False
    return _detect(context, state, key)


def update_report(context: Context, state: State) -> bool:
    """Make the report again where a training saw other labels than it, or another model serves than it speaks of.

    Labels come in while a training is prepared. How far the champion depends on a variable is asked of labels that it
    was not trained on, and is a sentence of the report alone. Neither is worth that the queue waits for it.
    """
    key = report_key(context, state)
    return key != ReportKey.read(state.project.report_key) and _detect(context, state, key)


def _detect(context: Context, state: State, key: ReportKey) -> bool:
    """Make the confounder report that `key` stands for; returns whether there are images to make it of."""
    pool = read_pool(state, context.server)
    if len(pool.ids) < 2:
        return False
    context.show(state, Activity(Step.DETECTING, 0, len(pool.ids)))
    settings = state.settings
    automatic = settings.confounders == "auto"
    named = () if automatic else tuple(settings.confounders)
    known = {column.name for column in pool.columns}
    missing = [name for name in (*named, *settings.ignore) if name not in known]
    if settings.group and settings.group not in {column.field for column in pool.columns}:
        missing.append(settings.group)
    # Who names a field of several numbers means all of them.
    parts = {name: [column.name for column in pool.columns if column.part_of == name] for name in named}
    named = tuple(part for name in named for part in parts[name] or [name])
    context.store.note_problems(
        state.project.id,
        "metadata",
        [f"no task has a metadata field {name!r}; {_fields_like(name, known)}" for name in missing]
        + ([pool.typed.unread] if pool.typed.unread else []),
    )
    equal_images.report(context, pool)
    report = detect(
        pool.vectors,
        pool.columns,
        pool.labels,
        groups=pool.groups,
        classes=pool.classes,
        kind=pool.kind,
        forced_in=tuple(name for name in named if name in known),
        forced_out=() if automatic else tuple(known - set(named)),
        predictions=_champion_says(context, pool),
        seed=settings.seed,
    )
    report = replace(report, lead=_lead(pool, report))
    for change in verdict_changes(Report.from_json(state.project.report), report):
        context.store.add_event(state.project.pool_project, VERDICT_CHANGED, asdict(change), handled=True)
    context.store.update_project(state.project.id, report=report.to_json(), report_key=str(key))
    return True


def _fields_like(name: str, known: Collection[str]) -> str:
    """The field that a name may have been meant to be, else the first of all that there are."""
    folded = {field.casefold(): field for field in sorted(known)}
    near = get_close_matches(name.strip().casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    more = f" and {len(known) - FIELDS_SHOWN} more" if len(known) > FIELDS_SHOWN else ""
    return f"the fields are {', '.join(sorted(known)[:FIELDS_SHOWN])}{more}"


def _lead(pool: EmbeddedPool, report: Report) -> str:
    """The report's first sentence: on the strongest variable that acts, if any."""
    finding = next((finding for finding in report.findings if finding.acts), None)
    if finding is None:
        return ""
    column = next(column for column in pool.columns if column.name == finding.variable)
    levels = dict(zip(pool.ids.tolist(), column.codes.tolist(), strict=True))
    labelled = (
        (pool.kind.listed_codes(label, pool.classes), levels[item])
        for item, label in pool.state.labels.items()
        if item in levels
    )
    classes = pool.kind.listed(pool.classes)
    return first_sentence(
        finding, column.levels, classes, labels_by_level(labelled, len(classes), len(column.levels))
    )


def _champion_says(context: Context, pool: EmbeddedPool) -> NDArray[np.float64] | None:
    """The champion's probabilities (n, c) of the labelled rows that it was not trained on, NaN elsewhere."""
    state = pool.state
    champion = load_champion(context.server, state)
    if champion is None or state.project.champion is None:
        return None
    found = np.full((len(pool.ids), len(pool.classes)), np.nan)
    rows = np.flatnonzero(pool.unseen_by(_group_of(context, state, state.project.champion)))
    if len(rows):
        found[rows] = predict(champion, pool, rows)
    return found


def _group_of(context: Context, state: State, version: str) -> str | None:
    """The setting `group` as it was when a version was trained."""
    meta = load_meta(model_folder(context.server, state.project.id) / version)
    group: str | None = meta.get("settings", {}).get("group")
    return group


@dataclass(frozen=True)
class ReportKey:
    """What a confounder report was made from: digests of pool and settings, of labels, and of the champion's name."""

    pool: str = ""
    labels: str = ""
    champion: str = ""

    @classmethod
    def read(cls, text: str) -> ReportKey:
        """The key that `str` made."""
        return cls(*text.split(" ")[:3])

    def __str__(self) -> str:
        return f"{self.pool} {self.labels} {self.champion}"


def report_key(context: Context, state: State) -> ReportKey:
    """What a confounder report depends on; the labels count from the moment a training on them is due."""
    settings = state.settings
    embedded, _, _ = context.store.embedding_progress(state.project.id)
    labels = state.trained_labels | (state.label_changes if training_due(context, state) else {})
    parts = [
        FORM,
        state.project.backbone,
        embedded,
        state.project.pool_version,
        state.project.label_config,
        settings.confounders,
        settings.ignore,
        settings.group,
        settings.seed,
    ]
    given = sorted((item, label) for item, label in labels.items() if label is not None)
    return ReportKey(_digest(parts), _digest(given), _digest(state.project.champion))


def _digest(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


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
    serves = f"{version} serves instead" if version else "there is no model until the next training"
    context.store.update_project(state.project.id, champion=version)
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
    pool = read_pool(state, context.server)
    context.show(state, Activity(Step.TRAINING, 0, int(pool.labelled.sum())))
    last = state.trainings[-1].number if state.trainings else 0
    version = f"cdsel-{state.project.pool_project}-v{last + 1}"
    # What has no vector is not seen: its label is learned once its image can be read.
    labels = {str(item): state.labels[item] for item in pool.ids.tolist() if item in state.labels}
    try:
        model = train_model(pool.round_pool, pool.training_labels, pool.training_options)
    except NotEnoughLabels as fault:
        context.store.add_training(
            state.project.id,
            version=None,
            outcome=Outcome(Became.NO_MODEL, explanation=str(fault)),
            metrics={},
            round=state.complete_rounds,
            labels=labels,
        )
        if _outdated(context, state):  # or the same labels would be tried for ever
            context.store.update_project(state.project.id, champion=None)
        context.store.handle_events(requests)
        return True
    trial = try_fine_tune(context, state, pool, model, killed=killed)
    context.store.note_problems(state.project.id, "fine-tune", [trial.problem] if trial.problem else [])
    model = trial.model
    metrics = {**held_out_metrics(model, pool, pool.labelled & pool.held_out), **trial.facts}
    folder = model_folder(context.server, state.project.id) / version
    context.store.confirm_lease()  # or another process may be writing there
    for stray in (folder, *folder.parent.glob(f".{version}-*")):  # of a run that died before it was recorded
        shutil.rmtree(stray, ignore_errors=True)
    save(
        model,
        folder,
        {"version": version, "metrics": metrics, **provenance(state, labels)},
    )
    metrics["seconds"] = round(time.monotonic() - began, 1)
    number = None
    # Again for as long as somebody puts another champion in force between the look and the record.
    while number is None:
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
            round=state.ended_rounds,
            labels=labels,
        )
    if promoted:
        context.store.note_problems(state.project.id, "model", [])
    context.store.handle_events(requests)
    prune(context.server, State(context.store, state.project.id))
    return True


def judge(
    context: Context, pool: EmbeddedPool, candidate: Model, metrics: Json, version: str | None
) -> Outcome:
    """What becomes of a candidate.

    It is compared with the champion, `version`, on the labels that neither of them was trained on, as the settings
    were that each was trained under. `metrics` are the candidate's on all that is held out now: where `group` is as
    it was, those are the same labels.

    Raises:
        ModelFormatError: the champion's folder is damaged; the message names the file.
    """
    state = pool.state
    champion = load_version(context.server, state, version)
    if version is None or champion is None:
        return Outcome(Became.PROMOTED)
    group = _group_of(context, state, version)
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
    return evaluate(
        probabilities,
        pool.labels[tested],
        columns,
        pool.classes,
        kind=pool.kind,
        groups=pool.groups[tested],
        seed=pool.state.settings.seed,
    )


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

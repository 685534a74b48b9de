"""The step that finds which metadata confounds, and writes the project's confounder report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report, detect, first_sentence, verdict_changes
from cdsel_backend.phrases import listed
from cdsel_backend.pool.columns import FILE_PREFIX
from cdsel_backend.project.digests import digest_of
from cdsel_backend.project.embedded import EmbeddedPool, read_pool
from cdsel_backend.project.metadata import FORM
from cdsel_backend.project.serving import load_champion, predict
from cdsel_backend.project.versions import group_of
from cdsel_backend.reconcile import equal_images
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.training import training_due
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Step

VERDICT_CHANGED = "VERDICT_CHANGED"  # an event of our own, for the activity page
FIELDS_SHOWN = 30  # of a pool, in a problem


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
    fields = {column.field for column in pool.columns}
    missing = [
        (setting, name)
        for setting, names, there in (
            ("confounders", named, known),
            ("ignore", settings.ignore, known),
            ("group", [settings.group] if settings.group else [], fields),
        )
        for name in names
        if name not in there
    ]
    # Who names a field of several numbers means all of them.
    parts = {name: [column.name for column in pool.columns if column.part_of == name] for name in named}
    named = tuple(part for name in named for part in parts[name] or [name])
    context.store.note_problems(
        state.project.id,
        "metadata",
        [
            f"{setting}: no task has a metadata field {name!r}; {_fields_like(name, fields)}"
            for setting, name in missing
        ]
        + ([pool.typed.unread] if pool.typed.unread else []),
    )
    equal_images.report(context, pool)
    report = detect(
        pool.vectors,
        pool.columns,
        pool.training_labels,
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
    """The field that a name may have been meant to be, else the first of all that tasks have."""
    outer, dot, _ = name.partition(".")
    if dot and outer in known:
        return f"what lies inside the field {outer!r} is not read: give it a field of its own in the tasks"
    folded = {field.casefold(): field for field in sorted(known)}
    near = get_close_matches(name.strip().casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    own = [field for field in sorted(known) if not field.startswith(FILE_PREFIX)]
    return f"the fields are {listed(own, FIELDS_SHOWN)}" if own else "tasks hold nothing but the image"


def _lead(pool: EmbeddedPool, report: Report) -> str:
    """The report's first sentence: on the strongest variable that acts, if any."""
    finding = next((finding for finding in report.findings if finding.acts), None)
    if finding is None:
        return ""
    column = next(column for column in pool.columns if column.name == finding.variable)
    levels = dict(zip(pool.ids.tolist(), column.codes.tolist(), strict=True))
    labelled = [
        (pool.kind.listed_codes(label, pool.classes), levels[item])
        for item, label in pool.state.labels.items()
        if item in levels
    ]
    return first_sentence(finding, column.levels, pool.kind.listed(pool.classes), labelled)


def _champion_says(context: Context, pool: EmbeddedPool) -> NDArray[np.float64] | None:
    """The champion's probabilities (n, c) of the labelled rows that it was not trained on, NaN elsewhere."""
    state = pool.state
    champion = load_champion(context.server, state)
    if champion is None or state.project.champion is None:
        return None
    found = np.full((len(pool.ids), len(pool.classes)), np.nan)
    rows = np.flatnonzero(pool.unseen_by(group_of(context.server, state, state.project.champion)))
    if len(rows):
        found[rows] = predict(champion, pool, rows)
    return found


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
    labels = state.trained_labels | (state.label_changes if training_due(context, state) else {})
    parts = [
        FORM,
        state.project.backbone,
        context.store.embedding_progress(state.project.id).embedded,
        state.project.pool_version,
        state.project.label_config,
        settings.confounders,
        settings.ignore,
        settings.group,
        settings.seed,
    ]
    given = sorted((item, label) for item, label in labels.items() if label is not None)
    return ReportKey(*(digest_of(made_from, size=8) for made_from in (parts, given, state.project.champion)))

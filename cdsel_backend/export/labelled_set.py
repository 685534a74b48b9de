"""The labelled set of a project: every labelled image with what is known of it, and how it came to be labelled."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.tasks import annotated_tasks
from cdsel_backend.pool.groups import group_id
from cdsel_backend.project.metadata import group_key, typed_pool
from cdsel_backend.project.serving import model_folder
from cdsel_backend.project.view import PoolView, read_offers
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Annotation, Item, Json
from cdsel_backend.training import is_held_out, load
from cdsel_backend.training.fitting import Weighting, sample_weights


@dataclass(frozen=True)
class LabelledImage:
    """One labelled image.

    `label` as text, as the books have it; `names` the classes that it names. `split` is "train" or "held out"; `group`
    the patient or lesion, None where none is known. `round`, `rank`, `reason` and `chosen_by` (the model version that
    served then) say how it was selected, and are None for an image that was labelled without; `at_random` that it
    belongs to a round's random share. `weight` is that of its label in the training of the champion, None where it was
    not trained on. `model_version` is the champion. `result` holds the annotation's parts as Label Studio has them,
    None where they were not asked for. `shown` is the address of the picture that annotators saw, if known.
    """

    item: Item
    label: str
    names: tuple[str, ...]
    split: str
    group: str | None
    round: int | None
    rank: int | None
    reason: str | None
    at_random: bool
    chosen_by: str | None
    weight: float | None
    model_version: str | None
    result: Sequence[Json] | None = None
    shown: str | None = None

    def facts(self) -> dict[str, object]:
        """What we know of it beside its data and its label: name -> value."""
        names = (
            "split",
            "group",
            "round",
            "rank",
            "reason",
            "at_random",
            "chosen_by",
            "weight",
            "model_version",
        )
        return {name: getattr(self, name) for name in names}


def labelled_set(
    server: ServerSettings,
    state: State,
    studio: LabelStudio | None = None,
    unreadable: dict[int, set[int]] | None = None,
) -> list[LabelledImage]:
    """Return every labelled image of a project, in the order of items.

    `studio` is asked for the annotations themselves, which hold the regions; None: results are left out. `unreadable`:
    where the tasks are put, by their projects, at which Label Studio fails: the images labelled there are left out.

    Raises:
        LabelStudioError: Label Studio does not give the annotations.
        ModelFormatError: the champion's folder is damaged; the message names the file.
    """
    read = Results() if studio is None else results_of(state, studio)
    if unreadable is not None:
        unreadable |= read.unreadable
    ids = sorted(state.labels.keys() - read.left_out)
    by_id = state.store.items_by_id(ids)
    items = [by_id[item] for item in ids]
    setting = state.settings.group
    pool = typed_pool(state, server)
    known = dict(zip(pool.ids.tolist(), pool.held_out.tolist(), strict=True))
    others = is_held_out([group_key(item, setting) for item in items])
    held_out = np.array(
        [known.get(item.id, other) for item, other in zip(items, others, strict=True)], dtype=bool
    )
    selected = {row.item: row for row in reversed(state.selections)}
    served = {row.number: row.model_version for row in state.rounds}
    kind = space_of(state).kind
    weights = _weights(server, state, items, held_out)
    images = []
    for row, item in enumerate(items):
        text = state.labels[item.id]
        chosen = selected.get(item.id)
        images.append(
            LabelledImage(
                item,
                text,
                tuple(kind.names(text) or ()),
                "held out" if held_out[row] else "train",
                None if setting is None else group_id(item.data.get(setting)),
                chosen.round if chosen else None,
                chosen.rank if chosen else None,
                chosen.sentence if chosen else None,
                bool(chosen and chosen.drawn_at_random),
                served.get(chosen.round) if chosen else None,
                None if np.isnan(weights[row]) else round(float(weights[row]), 6),
                state.project.champion,
                read.results.get(item.id),
                chosen.shown.address if chosen and chosen.shown else None,
            )
        )
    return images


def _weights(
    server: ServerSettings, state: State, items: Sequence[Item], held_out: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The weights (n,) of labels in the champion's training, the mean of their decisions; NaN where there is none."""
    found = np.full(len(items), np.nan)
    champion = state.project.champion
    if champion is None:
        return found
    model = load(model_folder(server, state.project.id) / champion)
    weighting: Weighting = model.describe()["weighting"]
    seen = state.store.training_labels(state.project.id, state.versions[champion].number)
    view = PoolView(
        state,
        np.array([item.id for item in items], dtype=np.int64),
        [variable.encode([item.metadata for item in items]) for variable in model.variables],
        space_of(state),
        read_offers(state.store, state.project.id),
    )
    trained = np.array([str(item.id) in seen for item in items], dtype=bool) & ~held_out
    codes = view.kind.codes(view.labels)
    parts = np.full(codes.shape, np.nan)
    for decision in range(codes.shape[1]):
        rows = np.flatnonzero(trained & (codes[:, decision] >= 0))
        if len(rows):
            own = [column.take(rows) for column in view.columns]
            parts[rows, decision] = sample_weights(codes[rows, decision], own, weighting)
    some = np.isfinite(parts).any(axis=1)
    found[some] = np.nanmean(parts[some], axis=1)
    return found


@dataclass(frozen=True)
class Results:
    """What annotations say, as Label Studio has them."""

    results: dict[int, Sequence[Json]] = field(default_factory=dict)
    """Item -> the result of the newest annotation that says what counts as its label."""
    left_out: set[int] = field(default_factory=set)
    """The items whose annotation lies in a task at which Label Studio fails."""
    unreadable: dict[int, set[int]] = field(default_factory=dict)
    """These tasks, by their projects."""

    def take(self, task: Json, source: int, wanted: Mapping[tuple[int, int], int]) -> None:
        """Take what a task of `source` says, given the item of each annotation (its project, its number)."""
        for annotation in task.get("annotations") or ():
            item = wanted.get((source, int(annotation["id"])))
            if item is not None:
                self.results[item] = annotation.get("result") or []


def results_of(state: State, studio: LabelStudio, among: Collection[int] | None = None) -> Results:
    """Ask Label Studio for the annotations that decide the labels.

    `among`: of these items alone, whose tasks are asked for one by one; None: of all, for which the projects are
    listed.
    """
    wanted: dict[tuple[int, int], int] = {}
    tasks: dict[int, dict[int, int | None]] = {}
    for item in state.labels if among is None else state.labels.keys() & among:
        readings = state.deciding[item]
        agreeing = [row for row in readings if row.label == state.labels[item]] or readings
        newest: Annotation = max(agreeing, key=lambda row: (row.updated_at, row.annotation))
        wanted[newest.source, newest.annotation] = item
        tasks.setdefault(newest.source, {})[item] = newest.task
    found = Results()
    for source in sorted(tasks):
        known = {task for task in tasks[source].values() if task is not None}
        one_by_one = among is not None and None not in tasks[source].values()
        unreadable: set[int] = set()
        for task in annotated_tasks(studio, source, known if one_by_one else None, unreadable):
            found.take(task, source, wanted)
        if not one_by_one:
            # Label Studio lists by its own count of a task's annotations, which forgets one that came in while
            # predictions were pushed.
            read = {task for item, task in tasks[source].items() if item in found.results}
            for task in annotated_tasks(studio, source, known - read - unreadable, unreadable):
                found.take(task, source, wanted)
        lost = {item for item, task in tasks[source].items() if task in unreadable}
        if lost:
            found.left_out.update(lost)
            found.unreadable[source] = unreadable & known
    return found

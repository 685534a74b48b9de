"""What the steps work with: the connections, and the embedded pool as arrays."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.labelstudio.labels import LabelSpace, parse_label_space
from cdsel_backend.pool.columns import Column, is_missing, read_columns
from cdsel_backend.reconcile.processes import Trainings
from cdsel_backend.settings import ProjectSettings, ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.label_text import presence_names
from cdsel_backend.training import Model, PresenceModel, TunedModel, is_held_out, load

if TYPE_CHECKING:
    from cdsel_backend.labelstudio.client import LabelStudio
    from cdsel_backend.pool.backbones import Backbone

STUDIO_FACT = "label_studio"  # whether Label Studio answers, for /health
TRAIN_ACTION = "START_TRAINING"  # what Label Studio's button sends
SELECT_ACTION = "SELECT_NOW"  # what the dashboard's button sends
REQUESTS = frozenset({TRAIN_ACTION, SELECT_ACTION})  # stay open until the step they ask for has run


@dataclass
class Context:
    """What the steps work with; one for each worker process."""

    store: Store
    server: ServerSettings
    studio: LabelStudio
    backbones: dict[tuple[str, str | None], Backbone] = field(default_factory=dict)
    tuned: dict[str, Backbone] = field(default_factory=dict)
    trainings: Trainings = field(default_factory=Trainings)

    def backbone(self, settings: ProjectSettings) -> Backbone:
        """A project's backbone, loaded once.

        Raises:
            BackboneError: it cannot be loaded; the message names the setting and the mend.
        """
        # Here, not above: the web server shares this module and has no need of torch.
        from cdsel_backend.pool.backbones import load_backbone

        key = (settings.backbone, settings.backbone_weights)
        if key not in self.backbones:
            name, weights = key
            self.backbones[key] = load_backbone(name, weights=weights, device=self.server.device)
        return self.backbones[key]

    def tuned_backbone(self, settings: ProjectSettings, model: TunedModel) -> Backbone:
        """A project's backbone as a model's fine-tune left it; the one asked for last is kept.

        Raises:
            BackboneError: it cannot be loaded, or the setting `backbone` names another one now.
        """
        from cdsel_backend.pool.backbones import load_backbone

        if model.fingerprint not in self.tuned:
            self.tuned.clear()
            self.tuned[model.fingerprint] = load_backbone(
                settings.backbone,
                weights=settings.backbone_weights,
                device=self.server.device,
                changes=model.changes,
            )
        return self.tuned[model.fingerprint]

    def read_state(self, project: int) -> State:
        """One project's state as it stands now."""
        return State(self.store, project)

    def tell(self, state: State, step: str, done: int = 0, total: int = 0) -> None:
        """Say what the worker does now, for whoever watches."""
        activity = {"step": step, "done": done, "total": total}
        if state.project.activity != activity:
            self.store.update_project(state.project.id, activity=activity)

    def requests(self, state: State, action: str) -> list[int]:
        """Open events that ask for a step."""
        return [event.id for event in self.store.open_events(state.sources) if event.action == action]

    def webhook(self, state: State) -> tuple[str, dict[str, str]]:
        """The address and the headers with which Label Studio is to call us."""
        return webhook_of(self.server, state)


def webhook_of(server: ServerSettings, state: State) -> tuple[str, dict[str, str]]:
    """The address and the headers of a project's webhook."""
    address = server.public_url or state.project.backend_url
    headers = {}
    if server.basic_auth_user:
        pair = f"{server.basic_auth_user}:{server.basic_auth_pass}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return f"{address.rstrip('/')}/webhook", headers


def few_labels(state: State, labels: int) -> str | None:
    """That a training on so many labels has fewer than Label Studio's project asks for, in words; None if not."""
    least = state.project.least_labels
    if labels >= least:
        return None
    return (
        f"{labels} label{'s are' if labels != 1 else ' is'} fewer than the {least} from which this project trains by "
        "itself (min_annotations_to_start_training in Label Studio)"
    )


def early_training(state: State) -> list[str]:
    """That the newest training had fewer labels than Label Studio's project asks for, as a sentence if so."""
    # Snapshots of labels are large: they are not read where nothing is asked for.
    newest = state.trainings[-1] if state.project.least_labels and state.trainings else None
    few = few_labels(state, len(newest.labels)) if newest is not None else None
    return [f"the newest training came early: {few}"] if few else []


def model_folder(server: ServerSettings, project: int) -> Path:
    """Where the model versions of a project are."""
    return server.data_dir / "models" / str(project)


def _no_vectors(backbone: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Pool:
    """The embedded pool as arrays, one row an item, in order of item ids."""

    state: State
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    columns: Sequence[Column]
    space: LabelSpace
    offers: Sequence[tuple[float, Sequence[str]]] = ()
    """Since when (seconds since the epoch, ascending) which classes were on offer; empty: these, ever since."""
    vectors_by: Callable[[str], tuple[NDArray[np.int64], NDArray[np.float32]]] = _no_vectors
    """A backbone's fingerprint -> the items that have its vectors (m,) ascending, and those (m, d)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What labels are indices into, or columns of."""
        return self.space.classes

    @cached_property
    def rows(self) -> list[Any]:
        """The item of each row."""
        by_id = {row.id: row for row in self.state.items}
        return [by_id[int(item)] for item in self.ids]

    @cached_property
    def labels(self) -> NDArray[np.integer[Any]]:
        """The labels of the rows, as the project's kind of label space has them.

        `single`: (n,) int64, the class, -1 where there is no label. `presence`: (n, c) int8, 1 where the image shows
        the class and 0 where not; -1 where nobody was asked: in the whole row without a label, and for a class that
        came into the labeling config after the image was labelled.
        """
        if self.space.kind == "presence":
            return self._presence()
        index = {name: code for code, name in enumerate(self.classes)}
        return np.array(
            [index.get(self.state.labels.get(int(item), ""), -1) for item in self.ids], dtype=np.int64
        )

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Rows with a label, or with one for some class."""
        return np.asarray(self.labels >= 0 if self.labels.ndim == 1 else (self.labels >= 0).any(axis=1))

    def _presence(self) -> NDArray[np.int8]:
        shown = np.full((len(self.ids), len(self.classes)), -1, dtype=np.int8)
        asked_at: dict[int, float] = {}
        for row in self.state.annotations:
            if row.label is not None:
                asked_at[row.item] = max(asked_at.get(row.item, 0.0), _seconds(row.updated_at))
        starts = [since for since, _ in self.offers]
        for place, item in enumerate(self.ids.tolist()):
            names = presence_names(self.state.labels.get(item, ""))
            if names is None:
                continue
            offer = bisect_right(starts, asked_at.get(item, 0.0)) - 1
            asked = set(self.offers[max(offer, 0)][1] if self.offers else self.classes)
            shown[place] = [1 if name in names else 0 if name in asked else -1 for name in self.classes]
        return shown

    @cached_property
    def group_keys(self) -> list[str]:
        """The patient or lesion of each row; where none is known, the image itself, so that copies go together."""
        return self._keys_by(self.state.settings.group)

    def _keys_by(self, name: str | None) -> list[str]:
        images = [f"image={row.content_hash}" for row in self.rows]
        if name is None:
            return images
        # Those whose patient is "unknown" or "N/A" are not one giant patient.
        return [
            image if is_missing(row.data.get(name)) else f"{name}={row.data[name]}"
            for row, image in zip(self.rows, images, strict=True)
        ]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The group of each row as a code."""
        return np.unique(self.group_keys, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows whose labels are for evaluation only: fixed by the hash of their group."""
        return np.asarray(is_held_out(self.group_keys), dtype=bool)

    def unseen_by(self, group: str | None) -> NDArray[np.bool_]:
        """Labelled rows that are held out now, and were when images were split by `group`.

        Nor was another image of their group of today trained on then: where the setting changes, images change sides,
        and what a model was trained on does not tell how good it is.
        """
        trained_then = self.labelled & ~is_held_out(self._keys_by(group))
        return self.labelled & self.held_out & ~np.isin(self.groups, self.groups[trained_then])

    @cached_property
    def taken(self) -> NDArray[np.bool_]:
        """Rows that are not to be selected any more."""
        state = self.state
        taken = state.used | state.skipped | {row.item for row in state.selections}
        return np.array([int(item) in taken for item in self.ids], dtype=bool)

    @cached_property
    def confounders(self) -> list[Column]:
        """The columns that the report in force names as confounders."""
        report = Report.from_json(self.state.project.report)
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in report.confounders if name in by_name]


def read_pool(store: Store, state: State) -> Pool:
    """Read the embedded pool of a project."""
    space = parse_label_space(state.project.label_config)
    ids, vectors = store.vectors(state.project.id, state.project.backbone)
    by_id = {row.id: row for row in state.items}
    metadata = [
        {key: value for key, value in by_id[int(item)].data.items() if key != space.image_key} for item in ids
    ]
    columns = read_columns(metadata, ignore=state.settings.ignore, groups=state.settings.group)
    offers = read_offers(store, state.project.id)
    return Pool(state, ids, vectors, columns, space, offers, partial(store.vectors, state.project.id))


def read_offers(store: Store, project: int) -> list[tuple[float, list[str]]]:
    """Since when (seconds since the epoch, ascending) annotators could choose which classes."""
    return [(since, names) for since, names in store.fact(_offers_fact(project)) or ()]


def note_offer(store: Store, project: int, classes: Sequence[str], now: float) -> None:
    """Keep which classes annotators can choose from now on; the first ones count as there from the start."""
    offers = read_offers(store, project)
    if not offers or offers[-1][1] != list(classes):
        store.set_fact(_offers_fact(project), [*offers, (now if offers else 0.0, list(classes))])


def _offers_fact(project: int) -> str:
    return f"classes of project {project}"


def predict(model: Model, pool: Pool, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (m, c) of rows of the pool, in the order of its classes.

    A model with a fine-tuned backbone goes by that backbone's vectors, too, for images that have one.
    """
    metadata = [pool.rows[row].data for row in rows]
    found = answers(model, pool.space, pool.vectors[rows], metadata)
    if isinstance(model, TunedModel):
        ids, vectors = pool.vectors_by(model.fingerprint)
        seen = np.flatnonzero(np.isin(pool.ids[rows], ids))
        if len(seen):
            ours = vectors[np.searchsorted(ids, pool.ids[rows[seen]])]
            tuned = answers(model.head, pool.space, ours, [metadata[place] for place in seen])
            found[seen] = model.mean(found[seen], tuned)
    return found


def answers(
    model: Model, space: LabelSpace, vectors: NDArray[np.floating], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Probabilities (m, c) of vectors (m, d) with the data of their m tasks, in the order of a label space's classes.

    The data are read by the model's own levels: those of the pool move as it grows, and a range of ages that the
    model does not know would go without its correction.

    A model from before the classes changed says 0 for those it does not know; what it says of one that is gone is
    shared out among the rest where an image has one class.
    """
    found = model.predict(vectors, [variable.encode(metadata) for variable in model.variables])
    if model.classes == space.classes:
        return found
    probabilities: NDArray[np.float64] = np.zeros((len(vectors), len(space.classes)))
    for code, name in enumerate(space.classes):
        if name in model.classes:
            probabilities[:, code] = found[:, model.classes.index(name)]
    if space.kind == "single":
        total = probabilities.sum(axis=1, keepdims=True)
        even = np.full_like(probabilities, 1 / len(space.classes))
        probabilities = np.where(total > 0, probabilities / np.where(total > 0, total, 1), even)
    probabilities[~np.isfinite(found).all(axis=1)] = np.nan
    return probabilities


def misfit(model: Model, space: LabelSpace) -> str | None:
    """Why a model cannot serve a label space, in words; None when it can."""
    if isinstance(model, PresenceModel) != (space.kind == "presence"):
        asked = "any of several classes" if space.kind == "presence" else "one class"
        return f"it was trained for another kind of label; the labeling config now asks for {asked} an image"
    known = [name for name in model.classes if name in space.classes]
    if len(known) < (1 if space.kind == "presence" else 2):
        return f"the labeling config knows too few of its classes ({', '.join(model.classes)})"
    return None


def _seconds(at: str) -> float:
    """A time of Label Studio as seconds since the epoch; 0 for what is none."""
    try:
        return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def load_champion(server: ServerSettings, state: State) -> Model | None:
    """The model in force; none before the first, and while the labeling config asks for what it does not know.

    Raises:
        ModelFormatError: its folder is damaged; the message names the file.
    """
    return load_version(server, state, state.project.champion)


def load_version(server: ServerSettings, state: State, version: str | None) -> Model | None:
    """A model version, as `load_champion` loads the one in force.

    Raises:
        ModelFormatError: its folder is damaged; the message names the file.
    """
    if version is None:
        return None
    model = load(model_folder(server, state.project.id) / version)
    return None if misfit(model, parse_label_space(state.project.label_config)) else model

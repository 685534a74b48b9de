"""What the steps work with: the connections, and the embedded pool as arrays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import Report
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.pool.columns import Column, read_columns
from cdsel_backend.settings import ProjectSettings, ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.training import HeadModel, is_held_out, load

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
        sources = [source for source in (state.project.pool_project, state.project.queue_project) if source]
        return [event.id for event in self.store.open_events(sources) if event.action == action]

    def webhook(self, state: State) -> tuple[str, dict[str, str]]:
        """The address and the headers with which Label Studio is to call us."""
        address = self.server.public_url or state.project.backend_url
        headers = {}
        if self.server.basic_auth_user:
            pair = f"{self.server.basic_auth_user}:{self.server.basic_auth_pass}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return f"{address.rstrip('/')}/webhook", headers


def model_folder(server: ServerSettings, project: int) -> Path:
    """Where the model versions of a project are."""
    return server.data_dir / "models" / str(project)


@dataclass(frozen=True)
class Pool:
    """The embedded pool as arrays, one row an item, in order of item ids."""

    state: State
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    columns: Sequence[Column]
    classes: Sequence[str]

    @cached_property
    def rows(self) -> list[Any]:
        """The item of each row."""
        by_id = {row.id: row for row in self.state.items}
        return [by_id[int(item)] for item in self.ids]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class of each row, -1 where it has no label."""
        index = {name: code for code, name in enumerate(self.classes)}
        return np.array([index.get(self.state.labels.get(int(item), ""), -1) for item in self.ids])

    @cached_property
    def group_keys(self) -> list[str]:
        """The patient or lesion of each row; where none is known, the image itself, so that copies go together."""
        name = self.state.settings.group
        keys = [row.data.get(name) if name else None for row in self.rows]
        return [
            f"{name}={key}" if key not in (None, "") else f"image={row.content_hash}"
            for key, row in zip(keys, self.rows, strict=True)
        ]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The group of each row as a code."""
        return np.unique(self.group_keys, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows whose labels are for evaluation only: fixed by the hash of their group."""
        return np.asarray(is_held_out(self.group_keys), dtype=bool)

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
    return Pool(state, ids, vectors, columns, space.classes)


def predict(model: HeadModel, pool: Pool, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (m, c) of rows of the pool."""
    return model.predict(pool.vectors[rows], [column.take(rows) for column in pool.columns])


def load_champion(server: ServerSettings, state: State) -> HeadModel | None:
    """The model in force, or none before the first.

    Raises:
        ModelFormatError: its folder is damaged; the message names the file.
    """
    if state.project.champion is None:
        return None
    return load(model_folder(server, state.project.id) / state.project.champion)

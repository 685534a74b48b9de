"""A model version with the networks that it needs, as it was trained: whatever the project's settings are by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cdsel_backend.pool.backbones import Backbone, load_backbone
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.project.serving import model_folder
from cdsel_backend.settings import ProjectSettings, ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Json, Training
from cdsel_backend.store.vector_shelf import as_kept
from cdsel_backend.training import Model, TunedModel, load, load_meta


class UnusableVersion(ValueError):
    """A model version that cannot be used outside its project; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class WholeVersion:
    """A model version that takes pictures.

    `training` is what is known of it; `settings` those it was trained under; `meta` what its folder says; `backbone`
    gives the vectors of the pool, and `tuned` those of its fine-tuned backbone, where it has one.
    """

    name: str
    training: Training
    model: Model
    settings: ProjectSettings
    meta: Json
    backbone: Backbone
    tuned: Backbone | None

    def predict(self, pictures: Sequence[Any], metadata: Sequence[Json]) -> NDArray[np.float64]:
        """Probabilities (m, c), in the order of the model's classes, of m decoded pictures with their metadata.

        As the project's own: vectors are rounded as the store keeps them.
        """
        model = self.model
        columns = [variable.encode(metadata) for variable in model.variables]
        found = model.predict(as_kept(self.backbone.embed(pictures)), columns)
        if isinstance(model, TunedModel) and self.tuned is not None:
            found = model.mean(found, model.head.predict(as_kept(self.tuned.embed(pictures)), columns))
        return found


def open_version(server: ServerSettings, state: State, name: str, *, device: str = "cpu") -> WholeVersion:
    """Load a model version, and the backbone it was trained with, in float32.

    Raises:
        UnusableVersion: its backbone cannot be had any more, or is another one by now.
        ModelFormatError: its folder is damaged or was removed; the message names the file.
    """
    folder = model_folder(server, state.project.id) / name
    model, meta = load(folder), load_meta(folder)
    settings = _settings(name, meta)

    def network(**options: Any) -> Backbone:
        try:
            return load_backbone(
                settings.backbone,
                weights=settings.backbone_weights,
                device=device,
                precision="float32",
                cache=server.compiled_folder,
                **options,
            )
        except BackboneError as fault:
            raise UnusableVersion(f"the backbone of {name} cannot be loaded: {fault}") from fault

    backbone = network(features=settings.features, view=settings.view)
    if backbone.fingerprint != meta.get("backbone"):
        raise UnusableVersion(
            f"{name} was trained on vectors of another backbone than {settings.backbone} gives by now: its weights "
            "(backbone_weights, or those of the hub) or the version of this package changed; train again, or put the "
            "weights back"
        )
    tuned = None
    if isinstance(model, TunedModel):
        tuned = network(features=model.features, view=model.view, changes=model.changes)
    return WholeVersion(name, state.versions[name], model, settings, meta, backbone, tuned)


def _settings(name: str, meta: Json) -> ProjectSettings:
    kept = meta.get("settings") or {}
    try:
        return ProjectSettings.model_validate(
            {key: value for key, value in kept.items() if key in ProjectSettings.model_fields}
        )
    except ValidationError as fault:
        raise UnusableVersion(
            f"the settings that {name} was trained under cannot be read: {fault}"
        ) from fault

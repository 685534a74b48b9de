"""What the steps work with: the connections of one worker process to the database, Label Studio and its backbones."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache, TTLCache

from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.project.serving import Predictions
from cdsel_backend.reconcile.processes import TrainingProcesses
from cdsel_backend.settings import ProjectSettings, ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.activity import Activity, Request
from cdsel_backend.training import TunedModel

if TYPE_CHECKING:
    from cdsel_backend.labelstudio.client import LabelStudio
    from cdsel_backend.pool.backbones import Backbone
    from cdsel_backend.pool.processes import EmbeddingProcesses
    from cdsel_backend.reconcile.queue_listing import QueueListing


RELOAD_SECONDS = 60.0  # before a backbone that could not be loaded is tried again
MOST_COMPUTING = 2  # steps that hold vectors of a whole pool, at once


class Loading:
    """One lock for each thing that may be loaded: who waits for a slow one keeps nobody else waiting."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}

    def of(self, key: Hashable) -> threading.Lock:
        """The lock of a thing."""
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())


@dataclass
class Context:
    """What the steps work with. A worker process has one for each Label Studio, and its threads share it."""

    store: Store
    server: ServerSettings
    studio: LabelStudio
    trainings: TrainingProcesses = field(default_factory=TrainingProcesses)
    backbones: dict[tuple[str, str | None, str, str], Backbone] = field(default_factory=dict)
    unloadable: TTLCache[Hashable, str] = field(default_factory=lambda: TTLCache(64, RELOAD_SECONDS))
    """Why a backbone could not be loaded a moment ago: a hub that is away is not asked at every pass."""
    at_rest: dict[int, tuple[float, Any]] = field(default_factory=dict)  # see `idle`
    held: dict[int, tuple[float, bool]] = field(default_factory=dict)  # see `owner`
    looked: dict[int, frozenset[int]] = field(default_factory=dict)
    """Project -> the events that were open when this process began to look at it in Label Studio last."""
    unsettled: set[int] = field(default_factory=set)
    """Projects whose pool is to be looked at again: see `intake`."""
    queue_listings: dict[int, QueueListing] = field(default_factory=dict)  # by the queue's project
    mirrored: dict[int, Any] = field(default_factory=dict)  # see `mirror`
    embedding: dict[str, EmbeddingProcesses] = field(default_factory=dict)  # by the backbone's fingerprint
    tuned: LRUCache[str, Backbone] = field(default_factory=lambda: LRUCache(maxsize=1))
    steps: dict[int, str] = field(default_factory=dict)  # project -> the step that it is at
    computing: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MOST_COMPUTING)
    )
    loading: Loading = field(default_factory=lambda: Loading())
    stopping: threading.Event = field(default_factory=threading.Event)  # set once the worker is to end

    def __post_init__(self) -> None:
        self.predictions = Predictions(self.server, self.store)

    def backbone(self, settings: ProjectSettings) -> Backbone:
        """A project's backbone, loaded once.

        Raises:
            BackboneError: it cannot be loaded; the message names the setting and the fix.
        """
        key = (settings.backbone, settings.backbone_weights, settings.features, settings.view)
        with self.loading.of(key):
            if reason := self.unloadable.get(key):
                raise BackboneError(reason)
            if key not in self.backbones:
                try:
                    self.backbones[key] = self.loader(settings)()
                except BackboneError as fault:
                    self.unloadable[key] = str(fault)
                    raise
            return self.backbones[key]

    def loader(self, settings: ProjectSettings, **others: Any) -> Callable[[], Backbone]:
        """A function that loads a project's backbone, here or in another process.

        `others` are arguments of `load_backbone` that take the place of those from the settings.
        """
        # torch is slow to load: not before it is needed.
        from cdsel_backend.pool.backbones import load_backbone

        options = {
            "weights": settings.backbone_weights,
            "device": self.server.device,
            "features": settings.features,
            "view": settings.view,
            "precision": self.server.precision,
            "cache": self.server.compiled_folder,
            "cluster": self.server.ray_address,
        }
        return partial(load_backbone, settings.backbone, **{**options, **others})

    def stop_embedding(self) -> None:
        """End the processes that embed."""
        for processes in self.embedding.values():
            processes.stop()
        self.embedding.clear()

    def tuned_backbone(self, settings: ProjectSettings, model: TunedModel) -> Backbone:
        """A project's backbone as a model's fine-tune left it; the one asked for last is kept.

        Raises:
            BackboneError: it cannot be loaded, or the setting `backbone` names another one now.
        """
        with self.loading.of("tuned"):
            if model.fingerprint not in self.tuned:
                self.tuned.clear()  # before the next one is loaded: two may not fit
                load = self.loader(settings, features=model.features, view=model.view, changes=model.changes)
                self.tuned[model.fingerprint] = load()
            return self.tuned[model.fingerprint]

    def under(self, name: str, holder: str) -> Context:
        """A copy of this context for work under a lease: once the lease is lost, it writes nothing any more, neither
        into the database nor into Label Studio."""
        fenced = copy.copy(self)  # what is loaded and cached stays one
        fenced.store = self.store.under(name, holder)
        fenced.studio = self.studio.with_permit(fenced.store.confirm_lease)
        return fenced

    def read_state(self, project: int) -> State:
        """One project's state as it stands now."""
        return State(self.store, project)

    def show(self, state: State, activity: Activity) -> None:
        """Show on the pages what the worker does now."""
        if state.project.activity != activity:
            self.store.update_project(state.project.id, activity=activity.to_json())

    def requests(self, state: State, request: Request, *, unlooked: bool = False) -> list[int]:
        """The open events that ask for a step, by their numbers.

        Whoever asked may have seen labels or changed settings that the state does not have yet. So a request that came
        after the last look at Label Studio waits for the next look, unless `unlooked` is true.
        """
        asked = [event.id for event in self.store.open_events(state.sources) if event.action == request]
        looked = None if unlooked else self.looked.get(state.project.id)
        return asked if looked is None else [event for event in asked if event in looked]

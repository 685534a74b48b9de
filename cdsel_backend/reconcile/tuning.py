"""The fine-tune of a project's backbone: which images it reads, and the vectors that its model goes by."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.embed import Embedder, embed_images
from cdsel_backend.project.embedded import EmbeddedPool
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.records import Json
from cdsel_backend.training import HeadModel, Model, NotEnoughLabels, TunedModel
from cdsel_backend.training.tuned_model import ENOUGH_LABELS

if TYPE_CHECKING:
    import torch

    from cdsel_backend.pool.backbones import View
    from cdsel_backend.pool.depths import Features
    from cdsel_backend.pool.split import SplitNetwork

log = logging.getLogger(__name__)

READERS = 4  # images fetched at once
EMBED_CHUNK = 32  # images of one committed step


@dataclass(frozen=True)
class Trial:
    """What came of a fine-tune, or of the decision not to make one: the `model` to take, and `facts` on the fine-tune,
    as JSON, for the page of models. `problem` is the sentence on why it went wrong; None where it did not.
    """

    model: Model
    facts: Json
    problem: str | None = None


def try_fine_tune(
    context: Context, state: State, pool: EmbeddedPool, base: Model, *, killed: bool = False
) -> Trial:
    """Fine-tune the backbone where the setting `training` asks for it; `base` is the head on the pool's own vectors.

    `head`: never. `backbone`: always, once there are labels enough for one. `auto`: once there are 200 labels to train
    on and a GPU, and its model is taken unless it ranks labels that it has not seen worse than `base` does; without a
    GPU it stays with the head, so that no training suddenly takes minutes. The vectors of the tuned backbone are
    stored under its own fingerprint, for the images that the model will be asked about.

    Whatever goes wrong, `base` is there, and better than no model, also where `backbone` was asked for. `killed`: the
    process that learnt from these labels before was, as when memory runs out; another fine-tune would end alike.
    """
    asked = state.settings.training
    if asked == "head":
        return Trial(base, {})
    try:
        return _fine_tune(context, state, pool, base, killed)
    except NotEnoughLabels as fault:
        return _stays(base, asked, str(fault))
    except Exception as fault:
        log.exception("project %s: the fine-tune failed", state.project.id)
        return _fails(base, asked, f"the fine-tune failed ({type(fault).__name__}: {fault})")


def _fine_tune(context: Context, state: State, pool: EmbeddedPool, base: Model, killed: bool) -> Trial:
    """See `try_fine_tune`, for settings that ask for one.

    Raises:
        NotEnoughLabels: there are too few labels to train on.
    """
    asked = state.settings.training
    if not isinstance(base, HeadModel):
        return _stays(base, asked, "a fine-tune needs labels of one class an image")
    trained = pool.training_labels.usable
    if asked == "auto" and trained.sum() < ENOUGH_LABELS:
        why = f"{number_of(trained.sum(), 'label')} to train on; it is tried from {ENOUGH_LABELS}, where there is a GPU"
        return _stays(base, asked, why)

    # torch is slow to load: a head alone has no need of it.
    from cdsel_backend.pool.devices import find_device, freest

    device = freest(find_device(context.server.device))
    if asked == "auto" and device.type != "cuda":
        return _stays(base, asked, "there is no GPU")
    if killed:
        return _fails(
            base, asked, "the training before this one was killed, and so might its fine-tune be again"
        )

    from cdsel_backend.training.finetune import fine_tune

    network, features, view = _network(state, device)
    rows, own, altered = _activations(context, state, pool, network)
    tuned = fine_tune(
        network,
        own,
        altered,
        [column.take(rows) for column in pool.confounders],
        pool.training_labels.take(rows),
        pool.training_options,
        progress=lambda done, total: context.show(state, Activity(Step.FINE_TUNING, done, total)),
    )
    facts = {
        "asked": asked,
        "gain": tuned.gain,
        "gain_error": tuned.gain_error,
        "stages": tuned.stages,
        "device": str(device),
    }
    if asked == "auto" and tuned.loses:
        return Trial(base, {"fine_tune": {**facts, "taken": False, "why": "it was worse than the head"}})
    facts = {**facts, "taken": True}
    hashes = [(item.id, str(item.content_hash)) for item in pool.items(rows)]
    vectors = [(*key, vector) for key, vector in zip(hashes, tuned.vectors, strict=True)]
    context.store.add_vectors(network.fingerprint, vectors)
    model = TunedModel(base, tuned.head, tuned.changes, network.fingerprint, facts, features, view)
    return Trial(model, {"fine_tune": facts})


def _network(state: State, device: torch.device) -> tuple[SplitNetwork, Features, View]:
    """The project's backbone, cut where a fine-tune begins, and what is read of it."""
    from cdsel_backend.pool.network import load_network
    from cdsel_backend.pool.split import SplitNetwork, tuned_reading
    from cdsel_backend.training.finetune import VIEWS

    settings = state.settings
    features, view = tuned_reading(device, settings.features, settings.view)
    network = SplitNetwork(
        load_network(settings.backbone, weights=settings.backbone_weights),
        device,
        features=features,
        view=view,
        views=VIEWS,
        seed=settings.seed,
    )
    return network, features, view


def _activations(
    context: Context, state: State, pool: EmbeddedPool, network: SplitNetwork
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """The rows (m,) that a fine-tune sees, their activations (m, *shape), and (t, views, *shape) of those learned on.

    Beside these it sees what the model will be asked about, and a sample of the pool. An image that cannot be read now
    is left out.
    """
    from cdsel_backend.training.finetune import VIEWS, balancing_rows

    trained = pool.training_labels.usable
    reading = _Reading(context, state, pool)
    learners = reading.activations(network, np.flatnonzero(trained))
    network.views = 0
    asked_about = pool.labelled | np.isin(pool.ids, list(state.open))
    asked_about[balancing_rows(len(pool.ids))] = True
    others = reading.activations(network, np.flatnonzero(asked_about & ~trained))
    found = learners | others
    rows = np.array(sorted(found), dtype=np.int64)
    own = np.stack([found[row][0] for row in rows.tolist()])
    altered = [learners[row][1:] for row in rows.tolist() if row in learners]
    none = np.zeros((0, VIEWS, *network.shape), dtype=np.float16)
    return rows, own, np.stack(altered) if altered else none


def embed_tuned(context: Context, state: State) -> bool:
    """Embed open images of the queue by the champion's fine-tuned backbone, where it has one, before it is asked."""
    project, champion, store = state.project.id, state.project.champion, context.store
    unseen = {row.item for row in state.tasks if row.item in state.open and row.predicted_by != champion}
    # Whatever left the pool, or was never embedded, gets no prediction: it would be read again in every pass.
    waiting = (
        store.with_vector(project, state.project.backbone, unseen) if state.settings.preannotate else set()
    )
    model = context.predictions.model(state) if waiting else None
    if not isinstance(model, TunedModel):
        return False
    missing = waiting - store.with_vector(project, model.fingerprint, waiting)
    ready = [row for row in store.items_by_id(missing).values() if row.problem is None]
    if not ready:
        return False
    done = len(waiting) - len(ready)
    context.show(state, Activity(Step.EMBEDDING_QUEUE, done, len(waiting)))
    found = _embed(context, state, context.tuned_backbone(state.settings, model), ready[:EMBED_CHUNK])
    store.add_vectors(model.fingerprint, found)
    return bool(found)


class _Reading:
    """Reads images of the pool."""

    def __init__(self, context: Context, state: State, pool: EmbeddedPool) -> None:
        self.context, self.state, self.pool = context, state, pool

    def activations(self, network: Embedder, rows: NDArray[np.int64]) -> dict[int, NDArray[np.floating[Any]]]:
        """Row -> activations (1 + views, *shape); an image that cannot be read now is left out."""
        row_of = {int(self.pool.ids[row]): int(row) for row in rows}
        found = _embed(self.context, self.state, network, self.pool.items(rows))
        return {row_of[item]: vector for item, _, vector in found}


def _embed(
    context: Context, state: State, network: Embedder, rows: list[Any]
) -> list[tuple[int, str, NDArray[np.floating[Any]]]]:
    """(item, content hash, result of the network) of the images of items, in order, without unreadable images."""
    source = ProjectPool(context.studio, state)
    results = list(
        embed_images(
            network,
            ((row.id, partial(source.read, source_item(row))) for row in rows),
            max_pixels=context.server.max_image_pixels,
            threads=READERS,
        )
    )
    if left_out := [result for result in results if result.error is not None]:
        first, count = left_out[0], number_of(len(left_out), "image")
        log.warning(
            "project %s: %s cannot be read for the fine-tuned network, such as item %s: %s",
            *(state.project.pool_project, count, first.key, first.error),
        )
    return [
        (result.key, result.content_hash, result.vector)
        for result in results
        if result.vector is not None and result.content_hash is not None
    ]


def _stays(base: Model, asked: str, why: str) -> Trial:
    return Trial(base, {"fine_tune": {"asked": asked, "taken": False, "why": why}})


def _fails(base: Model, asked: str, why: str) -> Trial:
    sentence = f"{why}; the newest model goes by the backbone as it is, and the next training tries again"
    return replace(_stays(base, asked, why), problem=sentence)

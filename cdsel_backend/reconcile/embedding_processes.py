"""When images are embedded by processes of their own (`pool.processes`), and what these read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cdsel_backend.labelstudio.client import studio_at
from cdsel_backend.logs import start_log
from cdsel_backend.pool.decode_journal import keep_journal
from cdsel_backend.pool.processes import EmbeddingProcesses, processes_for
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.reconcile.context import Context
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.records import DueItem
from cdsel_backend.store.vectors import VectorStore

if TYPE_CHECKING:
    from cdsel_backend.pool.backbones import Backbone

log = logging.getLogger(__name__)

MANY = 50_000  # images still to be embedded from which the processes' start, a minute beside the work, is worth it
FAST = 1000  # images a second from which it is not the storage or the GPU that bounds a process
SAMPLE = 1024  # images by which a process finds its fastest way
AGAIN_SECONDS = 1800.0  # before processes that have all ended are started anew


@dataclass(frozen=True)
class Kept:
    """The content hashes of images that a backbone has seen."""

    vectors: VectorStore
    backbone: str

    def __call__(self, hashes: Sequence[str]) -> set[str]:
        """The content hashes, of some, that have a vector."""
        positions = self.vectors.find(self.backbone, hashes).tolist()
        return {digest for digest, at in zip(hashes, positions, strict=True) if at >= 0}


@dataclass(frozen=True)
class PoolImages:
    """A function that gives another process what it needs to read the images of a project."""

    server: ServerSettings
    studio_url: str
    project: int
    backbone: str

    def __call__(self) -> tuple[Callable[[DueItem], bytes], Kept]:
        """See `pool.process_service.Opening`."""
        address = (self.server.database_url, str(self.server.vectors_folder))
        if address not in _stores:
            start_log(self.server.log_format)
            keep_journal(self.server.data_dir)
            _stores[address] = Store.open(self.server)
        store = _stores[address]
        source = ProjectPool(studio_at(self.server, self.studio_url), State(store, self.project))
        return partial(_read, source), Kept(store.vectors_kept, self.backbone)


_stores: dict[tuple[str, str], Store] = {}
"""Those of a process that embeds, for all its streams."""


def _read(source: ProjectPool, row: DueItem) -> bytes:
    return source.read(source_item(row))


def start_if_worth(
    context: Context,
    state: State,
    backbone: Backbone,
    images: PoolImages,
    sample: Sequence[DueItem],
    rate: float,
) -> None:
    """Start processes for a backbone where so much is left to embed that they pay; they take over once they are ready.

    Args:
        context, state, backbone, images: the project's.
        sample: items that are embedded.
        rate: images a second that this process embeds.
    """
    running = context.embedding.get(backbone.fingerprint)
    if running is not None and (running.alive or time.monotonic() - running.begun < AGAIN_SECONDS):
        return
    if len(sample) < SAMPLE or rate < FAST:
        return
    progress = context.store.embedding_progress(state.project.id)
    gpus = processes_for(backbone.device)
    if (
        progress.items - progress.embedded - progress.unusable < MANY
        or not gpus
        or context.server.ray_address
    ):
        return
    log.info("project %s: %d processes embed from here on", state.project.pool_project, len(gpus))
    context.embedding[backbone.fingerprint] = EmbeddingProcesses(
        [context.loader(state.settings, device=str(gpu)) for gpu in gpus],
        images,
        sample,
        max_pixels=context.server.max_image_pixels,
    )


def end_processes(context: Context, backbone: str) -> None:
    """End the processes of a backbone for which nothing is left: they hold memory of the GPU."""
    processes = context.embedding.get(backbone)
    if processes is not None and not processes.busy:
        del context.embedding[backbone]
        processes.stop()

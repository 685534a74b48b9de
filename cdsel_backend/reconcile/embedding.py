"""The step that embeds: one stream of images, read, decoded and embedded at once, and committed as time passes."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cdsel_backend.pauses import growing_pause
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.decode_journal import keep_journal
from cdsel_backend.pool.embed import EmbeddingStream
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.patience import storages
from cdsel_backend.pool.prepare import Embedded
from cdsel_backend.pool.processes import ProcessStream
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.reconcile import replacements
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.embedding_processes import (
    SAMPLE,
    Kept,
    PoolImages,
    end_processes,
    start_if_worth,
)
from cdsel_backend.store import State, Store
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.data_folder import check_folder
from cdsel_backend.store.records import DueItem, ReadImage

if TYPE_CHECKING:
    from cdsel_backend.pool.backbones import Backbone

log = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0  # between commits: what a crash costs at the most
COMMIT_IMAGES = 4096
"""So that a GPU does not wait for the last commit of a step, which nothing goes on beside."""
STEP_SECONDS = 10.0
"""Of a step: long beside the filling of its pipeline, short beside the time between two polls."""
MOST_IMAGES = 100_000  # of a step
PAGE = 512  # items read from the store at once
AHEAD = 8192  # vectors that wait at most while others are committed, so that no device has to
LOOK_SECONDS = 0.25  # between looks whether to end
# An unusable image is looked at again after the first, doubling each time up to the second (43 hours).
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 600.0, 600.0 * 2**8
EMBEDDED_AGAIN = (
    "All images are embedded again, because the way they are read changed (another version of this backend, or the "
    "setting backbone, features or view). Labels and models are kept; a training follows, and predictions with it."
)
_TIMES = re.compile(r"\d+ times in a row|\b\d\d:\d\d UTC")
HOST_SUSPENDED = "IMAGE_HOST_SUSPENDED"  # an event of our own, for the activity page


def embed(context: Context, state: State) -> bool:
    """Read and embed images that have no vector, until none is left, something else is to be done, or time is up."""
    store, project = context.store, state.project.id
    backbone = _loaded(context, state)
    if backbone is None:
        return False
    _note_devices(context, state, backbone)
    if state.project.backbone != backbone.fingerprint:
        end_processes(context, state.project.backbone)
        if state.project.backbone and store.embedding_progress(project).embedded:
            store.note_problems(project, "embedding", [EMBEDDED_AGAIN])
        store.start_backbone(project, backbone.fingerprint)
    if store.without_vector(project, limit=1, now=time.time()):
        _embed_due(context, state, backbone)
        return True
    store.update_problems(state.project, "embedding", [])
    if not store.embedding_progress(project).unusable:
        store.update_problems(state.project, "hosts", [])  # no image is left out any more
    end_processes(context, backbone.fingerprint)
    return False


def _loaded(context: Context, state: State) -> Backbone | None:
    """The project's backbone; None, which is noted, where it cannot be loaded while the vectors of another serve.

    Annotators need not wait until the name of a backbone is spelt right, or its hub is back.

    Raises:
        BackboneError: it cannot be loaded, and there are no vectors yet.
    """
    try:
        backbone = context.backbone(state.settings)
    except BackboneError as fault:
        if not state.project.backbone:
            raise
        sentence = f"{fault}; until then nothing new is embedded"
        context.store.note_problems(state.project.id, "backbone", [sentence])
        return None
    context.store.update_problems(state.project, "backbone", [])
    return backbone


def _embed_due(context: Context, state: State, backbone: Backbone) -> None:
    """Embed images that are due, for `STEP_SECONDS`, and commit their vectors as time passes."""
    results = _Results(context, state, backbone.fingerprint)
    results.show()
    images = PoolImages(context.server, state.project.studio_url, state.project.id, backbone.fingerprint)
    enough, newest, begun = threading.Event(), context.store.newest_event(), time.monotonic()
    committed = begun
    try:
        with _memory_at_rest(), _stream(context, state, backbone, images, enough) as stream:
            results.elsewhere = isinstance(stream, ProcessStream)
            while not stream.ended:
                for result in stream.next_batch(LOOK_SECONDS):
                    results.add(result)
                now = time.monotonic()
                if now - committed >= COMMIT_SECONDS or len(results.read) >= COMMIT_IMAGES:
                    results.commit()
                    results.show()
                    _note_devices(context, state, backbone)
                    committed = now
                    if not results.elsewhere:
                        rate = results.count / (now - begun)
                        start_if_worth(context, state, backbone, images, results.sample, rate)
                    if _something_else(context, state, newest):
                        enough.set()
                if now - begun >= STEP_SECONDS or context.stopping.is_set():
                    enough.set()  # what is under way is still taken
    finally:  # also where Label Studio goes away halfway: what is done stays done
        results.commit()


def embed_lost(context: Context, state: State) -> bool:
    """Have the images embedded again whose vectors are not in the data folder any more; returns whether there are any.

    Raises:
        OtherFolder: it is another folder, as where the right one is not mounted: then nothing is taken to be lost.
    """
    store, backbone = context.store, state.project.backbone
    check_folder(store, context.server.data_dir)
    lost = store.forget_vectors(backbone, np.zeros(0, dtype=np.int64), store.vectors_kept.count(backbone))
    if lost:
        sentence = (
            f"{number_of(lost, 'image is', 'images are')} embedded again, because vectors are missing in "
            f"{context.server.vectors_folder}, as where it was deleted, or restored without them. Labels and models "
            "are kept."
        )
        log.warning("project %s: %s", state.project.pool_project, sentence)
        store.note_problems(state.project.id, "embedding", [sentence])
    return bool(lost)


def _note_devices(context: Context, state: State, backbone: Backbone) -> None:
    """Name, as a problem, the GPUs that do not embed any more."""
    processes = context.embedding.get(backbone.fingerprint)
    sentences = [*backbone.problems, *(processes.problems if processes is not None else [])]
    context.store.update_problems(context.store.project(state.project.id), "devices", sentences)


def _stream(
    context: Context, state: State, backbone: Backbone, images: PoolImages, enough: threading.Event
) -> EmbeddingStream[DueItem] | ProcessStream[DueItem]:
    """The images that are due on their way to vectors: in the processes for that, once they are ready; else here."""
    store, project = context.store, state.project.id
    processes = context.embedding.get(backbone.fingerprint)
    if processes is not None:
        stream = processes.stream(images, _due(store, project, enough), ahead=AHEAD)
        if stream is not None:
            return stream
    source = ProjectPool(context.studio, state)
    keep_journal(context.server.data_dir)
    return EmbeddingStream(
        backbone,
        ((row, partial(source.read, source_item(row))) for row in _due(store, project, enough)),
        max_pixels=context.server.max_image_pixels,
        known=Kept(store.vectors_kept, backbone.fingerprint),
        once=True,
        ahead=AHEAD,
        decoder=backbone.decoder,
    )


@contextmanager
def _memory_at_rest() -> Iterator[None]:
    """Have the garbage collector look through what comes from here on only.

    Each of its whole passes, one for some ten thousand images, else looks through all libraries as well, and stops
    every thread for a tenth of a second or two.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _due(store: Store, project: int, enough: threading.Event) -> Iterator[DueItem]:
    """The items whose image is to be read, until it is `enough`."""
    now, left, after = time.time(), MOST_IMAGES, None
    while left:
        rows = store.without_vector(project, limit=min(PAGE, left), now=now, after=after)
        for row in rows:
            if enough.is_set():
                return
            yield row
        if len(rows) < PAGE:
            return
        left -= len(rows)
        after = rows[-1]


def _something_else(context: Context, state: State, newest: int) -> bool:
    """Whether something came in since, or a setting changed, so that other steps should have their turn."""
    store = context.store
    if store.newest_event() > newest and any(event.id > newest for event in store.open_events(state.sources)):
        return True
    return store.project(state.project.id).layers != state.project.layers


@dataclass
class _Results:
    """The results of images that are not committed yet."""

    context: Context
    state: State
    backbone: str
    read: list[ReadImage] = field(default_factory=list)
    faults: list[tuple[int, str, float]] = field(default_factory=list)  # and when to try again
    due_at: dict[int, float] = field(default_factory=dict)  # item -> when its image was due, as it was read
    hosts: dict[str, str] = field(default_factory=dict)
    """What is said of those that are left alone, the newest of what differs in times alone."""
    count: int = 0  # of images that were read
    sample: list[DueItem] = field(default_factory=list)  # some items that are embedded
    elsewhere: bool = False  # images are read in other processes, which alone know what hosts are in trouble

    def add(self, result: Embedded[DueItem]) -> None:
        """Take what came of an item."""
        item, digest = result.key, result.content_hash
        self.due_at[item.id] = item.due_at
        if result.error is None and digest is not None:
            self.read.append(ReadImage(item.id, digest, result.vector, result.measures, result.note))
            self.count += 1
            if len(self.sample) < SAMPLE and result.vector is not None:
                self.sample.append(item)
            return
        error = result.error or "no vector came of it"
        pause = pause_after(item.attempts) if result.retry_after is None else result.retry_after
        self.faults.append((item.id, error, time.time() + pause))
        if result.retry_after is not None:
            self.hosts[_TIMES.sub("", error)] = error

    def commit(self) -> None:
        """Keep all of it, and begin anew."""
        store, state = self.context.store, self.state
        replacements.compare(state, store.keep_read(self.backbone, self.read, due_at=self.due_at))
        store.note_unusable(self.faults, due_at=self.due_at)
        if self.hosts:
            note_hosts(self.context, state, sorted(self.hosts.values()))
        elif (
            self.read
            and not self.elsewhere
            and not (self.context.studio.suspensions.in_trouble() or storages.in_trouble())
        ):
            store.update_problems(store.project(state.project.id), "hosts", [])
        for taken in (self.read, self.faults, self.hosts, self.due_at):
            taken.clear()

    def show(self) -> None:
        """Let whoever watches know how far it is."""
        embedded, unusable, total = self.context.store.embedding_progress(self.state.project.id)
        activity = Activity(Step.EMBEDDING, embedded + unusable, total)
        self.context.store.update_project(self.state.project.id, activity=activity.to_json())


def note_hosts(context: Context, state: State, sentences: list[str]) -> None:
    """Say which hosts of images are left alone for a while, on the overview and as an event."""
    if sentences and sentences != context.store.project(state.project.id).problems.get("hosts"):
        context.store.note_problems(state.project.id, "hosts", sentences)
        context.store.add_event(
            state.project.pool_project, HOST_SUSPENDED, {"hosts": sentences}, handled=True
        )


def pause_after(attempts: int) -> float:
    """Seconds until an image is tried again that failed so often before."""
    return growing_pause(attempts + 1, RETRY_SECONDS, LONGEST_RETRY_SECONDS)

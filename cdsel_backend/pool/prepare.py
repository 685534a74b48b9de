"""Image bytes -> pictures at the network's input size: read, hashed, decoded and resized, with what their files say."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode import UnreadableImage, read_image
from cdsel_backend.pool.measures import Measures, measure
from cdsel_backend.pool.patience import StorageHangs, each_in_time
from cdsel_backend.pool.source import SourceError

if TYPE_CHECKING:
    from cdsel_backend.pool.decode_gpu import GpuDecoder, Shrunk

log = logging.getLogger(__name__)

K = TypeVar("K")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CHUNK = 64
"""Items that one thread prepares together, where reading is quick and a GPU decodes."""
# Divided by the seconds that an item takes to be read: what takes longer is waited for by many threads at once.
_CHUNK_SECONDS = 0.02
_decoding = threading.BoundedSemaphore(CORES)
"""Pictures of this process that are decoded and measured at once, whatever the number of streams."""


@dataclass(frozen=True, eq=False)
class Embedded(Generic[K]):
    """What became of one item: a vector, or an error as a sentence, or neither when its content is known."""

    key: K
    content_hash: str | None
    """None when the bytes could not be had."""
    vector: NDArray[np.floating[Any]] | None
    """What the network made of it: (dim,) float32, or activations."""
    error: str | None
    note: str | None = None
    """What is odd about a file that is used all the same."""
    measures: Measures = field(default_factory=dict)
    """What the file says of itself (`pool.measures`)."""
    retry_after: float | None = None
    """Seconds after which an item with an error may do, where that is known."""


Source: TypeAlias = "bytes | Callable[[], bytes]"
Known: TypeAlias = "Callable[[Sequence[str]], Container[str]]"
"""Says which of some content hashes have a vector."""
Prepared: TypeAlias = "tuple[Embedded[K], NDArray[np.uint8] | None]"


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits: equal files share one vector."""
    return hashlib.sha256(data).hexdigest()


class Preparation(Generic[K]):
    """Prepares items; called from many threads."""

    def __init__(
        self,
        resize: Callable[[Image.Image], NDArray[np.uint8]],
        *,
        known: Known,
        once: bool,
        max_pixels: int,
        decoder: GpuDecoder | None,
    ) -> None:
        """Take `resize`, an RGB picture -> (height, width, 3) uint8; for the rest see `embed.EmbeddingStream`."""
        self._resize = resize
        self._known = known
        self._once = once
        self._met: set[str] = set()  # content of this stream
        self._guard = threading.Lock()
        self._max_pixels = max_pixels
        self._decoder = decoder
        # Of the quickest item of a chunk, a running mean: the others may wait for other threads, not for the source.
        # Threads may overwrite one another's.
        self._read_seconds = 0.0

    def chunk(self) -> int:
        """Items in one call.

        A GPU decodes thousands a second, at which handing them from thread to thread costs more than reading them.
        """
        if self._decoder is None or not self._decoder.chosen:
            return 1
        return max(1, min(CHUNK, int(_CHUNK_SECONDS / max(self._read_seconds, 1e-6))))

    def __call__(self, chunk: Sequence[tuple[K, Source]]) -> tuple[list[Prepared[K]], SourceError | None]:
        """Prepare items, in their order: those before a SourceError, and the error."""
        fetched: list[tuple[Embedded[K], bytes | None]] = []
        failure = None
        try:
            for one in self._fetch(chunk):
                fetched.append(one)
        except SourceError as error:  # not this image's fault: nothing can be read now
            failure = error
        kept = self._known([item.content_hash for item, _ in fetched if item.content_hash is not None])
        known = [self._is_known(item.content_hash, kept) for item, _ in fetched]
        files = [
            data if self._once or not there else None for (_, data), there in zip(fetched, known, strict=True)
        ]
        shrunk: Sequence[Shrunk | None] = [None] * len(files)
        if self._decoder is not None:
            shrunk = self._decoder.read(files, max_pixels=self._max_pixels)
        items = (item for item, _ in fetched)
        return [self._decode(*one) for one in zip(items, files, known, shrunk, strict=True)], failure

    def _fetch(self, chunk: Sequence[tuple[K, Source]]) -> Iterator[tuple[Embedded[K], bytes | None]]:
        if len(chunk) == 1:
            yield _fetch(*chunk[0])
            return
        taken: list[float] = []

        def timed(key: K, source: Source) -> tuple[Embedded[K], bytes | None]:
            begun = time.perf_counter()
            found = _fetch(key, source)
            taken.append(time.perf_counter() - begun)
            return found

        def late(at: int, error: StorageHangs) -> tuple[Embedded[K], bytes | None]:
            return _failed(chunk[at][0], None, error), None

        yield from each_in_time([partial(timed, *one) for one in chunk], late)
        if taken:  # none where every read hung
            self._read_seconds += (min(taken) - self._read_seconds) / 8

    def _is_known(self, digest: str | None, kept: Container[str]) -> bool:
        if digest is None or not self._once:
            return digest in kept
        with self._guard:
            met = digest in self._met
            self._met.add(digest)
        return met or digest in kept

    def _decode(
        self, item: Embedded[K], data: bytes | None, known: bool, shrunk: Shrunk | None
    ) -> Prepared[K]:
        """Decode and resize what the GPU has not."""
        if data is None:
            return item, None
        if shrunk is not None:
            return replace(item, measures=shrunk.measures), None if known else shrunk.pixels
        try:
            with _decoding:
                begun = time.perf_counter()
                decoded = read_image(data, max_pixels=self._max_pixels)
                pixels = None if known else self._resize(decoded.image)
                measures = measure(decoded)
            if self._decoder is not None and pixels is not None:
                self._decoder.learn(data, pixels, time.perf_counter() - begun)
        except Exception as error:
            return _failed(item.key, item.content_hash, error), None
        return replace(item, note=decoded.note, measures=measures), pixels


def _fetch(key: K, source: Source) -> tuple[Embedded[K], bytes | None]:
    """Read and hash an item; no bytes where that fails."""
    try:
        data = source() if callable(source) else source
        return Embedded(key, content_hash(data), None, None), data
    except SourceError:
        raise
    except Exception as error:
        return _failed(key, None, error), None


def _failed(key: K, digest: str | None, error: Exception) -> Embedded[K]:
    """An item that cannot be used: whatever one image does, the others go on."""
    if isinstance(error, UnreadableImage):
        return Embedded(key, digest, None, str(error), retry_after=error.retry_after)
    log.warning("an image cannot be used", exc_info=error)
    return Embedded(key, digest, None, f"it cannot be used ({type(error).__name__}: {error})")

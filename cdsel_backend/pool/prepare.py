"""Image bytes -> pictures at the network's input size: read, hashed, decoded and resized, with what their files say."""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode import UnreadableImage, read_image
from cdsel_backend.pool.decode_journal import kept_journal, survived
from cdsel_backend.pool.measures import Measures, measure
from cdsel_backend.pool.patience import AGAIN_SECONDS, StorageHangs, each_in_time
from cdsel_backend.pool.source import SourceError

if TYPE_CHECKING:
    from cdsel_backend.pool.decode_gpu import GpuDecoder, Shrunk

log = logging.getLogger(__name__)

K = TypeVar("K")

CORES = cpu_count()  # that this process may use, also by the quota of a container
CHUNK = 256
"""Items that one thread prepares together, where reading is quick and a GPU decodes."""
_QUICK = 64  # items of a chunk from which reading counts as quick: .3 ms each
_AT_ONCE = 1  # whole chunks that are read: a second thread only waits for the first one's lock
# Divided by the seconds that an item takes to be read: what takes longer is waited for by many threads at once.
_CHUNK_SECONDS = 0.02
_decoding = threading.BoundedSemaphore(CORES)
"""Pictures of this process that are decoded and measured at once, whatever the number of streams."""


@dataclass(eq=False)
class Embedded(Generic[K]):
    """What became of one item: a vector, or an error as a sentence, or neither when its content is known.

    Filled in on its way through the stream, and not changed after: thousands a second are not made anew at each stage.
    """

    key: K
    content_hash: str | None = None
    """None when the bytes could not be had."""
    vector: NDArray[np.floating[Any]] | None = None
    """What the network made of it: (dim,) float32, or activations."""
    error: str | None = None
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
        self._whole_chunks = threading.BoundedSemaphore(_AT_ONCE)
        self._journal = kept_journal()
        if self._journal is not None:
            self._journal.collect()

    def chunk(self) -> int:
        """Items in one call.

        A GPU decodes thousands a second, at which handing them from thread to thread costs more than reading them.
        """
        if self._decoder is None or not self._decoder.chosen:
            return 1
        return max(1, min(CHUNK, int(_CHUNK_SECONDS / max(self._read_seconds, 1e-6))))

    def under_way(self, most: int) -> int:
        """Items to be prepared at once: `most`, and more where a GPU decodes them in large batches.

        What is read and hashed so quickly that chunks are whole is small, so that many of them fill no memory.
        """
        if self._decoder is None or self.chunk() < _QUICK:
            return most
        return max(most, self._decoder.window)

    def __call__(self, chunk: Sequence[tuple[K, Source]]) -> tuple[list[Prepared[K]], SourceError | None]:
        """Prepare items, in their order: those before a SourceError, and the error."""
        fetched: list[tuple[Embedded[K], bytes | None]] = []
        failure = None
        try:
            with self._whole_chunks if len(chunk) == CHUNK else nullcontext():
                for one in self._fetch(chunk):
                    fetched.append(one)
        except SourceError as error:  # not this image's fault: nothing can be read now
            failure = error
        known = self._are_known([item.content_hash for item, _ in fetched])
        files = [
            data if self._once or not there else None for (_, data), there in zip(fetched, known, strict=True)
        ]
        shrunk: Sequence[Shrunk | None] = [None] * len(files)
        if self._decoder is not None:
            together = [
                None if self._is_suspect(item) else data
                for (item, _), data in zip(fetched, files, strict=True)
            ]
            with self._noted(
                [item for (item, _), data in zip(fetched, together, strict=True) if data is not None]
            ):
                shrunk = self._decoder.read(together, max_pixels=self._max_pixels)
        prepared: list[Prepared[K]] = []
        for (item, _), data, there, done in zip(fetched, files, known, shrunk, strict=True):
            pixels = None
            if done is not None:
                item.measures = done.measures
                pixels = None if there else done.pixels
            elif data is not None:
                pixels = self._decode(item, data, there)
            prepared.append((item, pixels))
        return prepared, failure

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
            return _fail(Embedded(chunk[at][0]), error), None

        yield from each_in_time([partial(timed, *one) for one in chunk], late)
        if taken:  # none where every read hung
            self._read_seconds += (min(taken) - self._read_seconds) / 8

    def _are_known(self, digests: Sequence[str | None]) -> list[bool]:
        """Whether each content has a vector, or came before where that counts."""
        kept = self._known([digest for digest in digests if digest is not None])
        if not self._once:
            return [digest in kept for digest in digests]
        known = []
        with self._guard:
            for digest in digests:
                known.append(digest is not None and (digest in self._met or digest in kept))
                if digest is not None:
                    self._met.add(digest)
        return known

    def _decode(self, item: Embedded[K], data: bytes, known: bool) -> NDArray[np.uint8] | None:
        """Decode what the GPU has not, and resize it, unless it is known; fills in what its file says, or an error."""
        try:
            assert item.content_hash is not None  # it has its bytes
            with survived(item.content_hash, data, max_pixels=self._max_pixels), _decoding:
                begun = time.perf_counter()
                decoded = read_image(data, max_pixels=self._max_pixels)
                pixels = None if known else self._resize(decoded.image)
                measures = measure(decoded)
            if self._decoder is not None and pixels is not None:
                self._decoder.learn(data, pixels, time.perf_counter() - begun)
        except Exception as error:
            _fail(item, error)
            return None
        item.note, item.measures = decoded.note, measures
        return pixels

    def _is_suspect(self, item: Embedded[K]) -> bool:
        return self._journal is not None and self._journal.suspects(item.content_hash)

    def _noted(self, items: Sequence[Embedded[K]]) -> AbstractContextManager[None]:
        """Have the journal know of these items while they are decoded."""
        if self._journal is None:
            return nullcontext()
        return self._journal.decoding([item.content_hash for item in items if item.content_hash is not None])


def _fetch(key: K, source: Source) -> tuple[Embedded[K], bytes | None]:
    """Read and hash an item; no bytes where that fails."""
    try:
        data = source() if callable(source) else source
        return Embedded(key, content_hash(data)), data
    except SourceError:
        raise
    except Exception as error:
        return _fail(Embedded(key), error), None


def _machine_lacks(error: BaseException | None) -> str | None:
    """What this machine had too little of for an image, and the fix; None where the image itself is at fault."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "can't allocate memory" in text:  # the second of torch
            return "memory: give it more, or lower CDSEL_MAX_IMAGE_PIXELS"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return "room for open files: raise its limit of them (ulimit -n)"
        if "can't start new thread" in text:
            return "room for threads: raise its limit of processes (ulimit -u, or that of its container)"
        error = error.__cause__ or error.__context__
    return None


def _fail(item: Embedded[K], error: Exception) -> Embedded[K]:
    """Say why an item cannot be used: whatever one image does, the others go on."""
    if (lacking := _machine_lacks(error)) is not None:
        log.warning("an image cannot be read on this machine now", exc_info=error)
        minutes = AGAIN_SECONDS / 60
        item.error = f"this machine has too little {lacking}; the image is tried again in {minutes:.0f} min"
        item.retry_after = AGAIN_SECONDS
    elif isinstance(error, UnreadableImage):
        item.error, item.retry_after = str(error), error.retry_after
    else:
        log.warning("an image cannot be used", exc_info=error)
        item.error = f"it cannot be used ({type(error).__name__}: {error})"
    return item

"""A stream of image bytes -> a stream of vectors: reading, decoding and the network all work at once."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode import MAX_PIXELS
from cdsel_backend.pool.prepare import CORES, Embedded, Known, Preparation, Prepared, Source
from cdsel_backend.pool.source import SourceError

if TYPE_CHECKING:
    from cdsel_backend.pool.decode_gpu import GpuDecoder

log = logging.getLogger(__name__)

K = TypeVar("K")

READERS = max(8, 2 * CORES)
"""Images read at once; more than are decoded at once, since reading is waiting."""
_Reading: TypeAlias = "tuple[int, Future[tuple[list[Prepared[K]], SourceError | None]]]"
"""How many items a thread prepares, and what comes of them."""


class Embedder(Protocol):
    """What `embed_images` asks of a backbone (see `pool.backbones.Backbone`, `pool.split.SplitNetwork`)."""

    @property
    def batch(self) -> int:
        """Pictures in one pass of the network."""

    @property
    def parallel(self) -> int:
        """Passes at once; with 1 the pictures come in order."""

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """One RGB picture -> (height, width, 3) uint8 at the network's input size."""

    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """(m, height, width, 3) uint8 -> (m, ...): a vector each, or activations."""


def embed_images(
    backbone: Embedder, items: Iterable[tuple[K, Source]], **options: Any
) -> Iterator[Embedded[K]]:
    """Embed images; one bad image costs itself only.

    Arguments as of `EmbeddingStream`. Yields one `Embedded` for each item, in the order of `items`.
    """
    with EmbeddingStream(backbone, items, **options) as stream:
        while not stream.ended:
            yield from stream.next_batch()


class EmbeddingStream(Generic[K]):
    """Images on their way to vectors: read, hashed, decoded and resized in threads, and passes of the network beside.

    All of it goes on while the caller works on what it took. Each stage waits for the one behind it: what is held
    at once is bounded by the threads, a few batches and `ahead`, whatever the number of images.
    """

    def __init__(
        self,
        backbone: Embedder,
        items: Iterable[tuple[K, Source]],
        *,
        known: Known = lambda digests: (),
        once: bool = False,
        max_pixels: int = MAX_PIXELS,
        threads: int = READERS,
        ahead: int = 64,
        decoder: GpuDecoder | None = None,
    ) -> None:
        """Begin.

        Args:
            backbone: a `pool.backbones.Backbone`.
            items: (key, bytes) or (key, function that gives the bytes); consumed lazily, in a thread of its own. The
                function runs in another and may raise UnreadableImage; a SourceError ends the stream, after the
                items before it; whatever else it raises is the error of its item.
            known: says which of some content hashes have a vector: such an item comes back with neither a vector nor an
                error.
            once: whether content that came before in this stream counts as known, and known content is decoded and
                measured all the same; else it is not decoded.
            max_pixels: see `decode`.
            threads: images read at once.
            ahead: vectors that may lie ready before the caller takes them; at the least as many as two passes on
                every device make, or a device would wait for the caller.
            decoder: decodes what it can in place of the CPU; none by default.
        """
        self.ended = False
        """Whether everything was taken."""
        self._backbone = backbone
        self._prepare: Preparation[K] = Preparation(
            backbone.prepare, known=known, once=once, max_pixels=max_pixels, decoder=decoder
        )
        self._threads = threads if decoder is None else max(threads, decoder.readers)
        self._ahead = ahead
        self._readers = ThreadPoolExecutor(self._threads, thread_name_prefix="read")
        self._network = ThreadPoolExecutor(_MOST_PASSES, thread_name_prefix="network")
        self._out: queue.SimpleQueue[Future[list[Embedded[K]]] | BaseException | None] = queue.SimpleQueue()
        self._changed = threading.Condition()  # guards what follows
        self._passes = 0
        self._untaken = 0
        self._stopped = False
        self._conductor = threading.Thread(target=self._conduct, args=(items,), name="embed", daemon=True)
        self._conductor.start()

    def __enter__(self) -> EmbeddingStream[K]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def next_batch(self, seconds: float | None = None) -> list[Embedded[K]]:
        """Take the next results, in the order of the items; waits for them, at the longest `seconds`.

        Empty at the end, and where none came in time. Raises what the items or a reader raised, once all before it
        is taken.
        """
        try:
            done = self._out.get(timeout=seconds)
        except queue.Empty:
            return []
        if done is None or isinstance(done, BaseException):
            self.ended = True
            self.close()
            if done is not None:
                raise done
            return []
        try:
            found = done.result()
        except BaseException:
            self.ended = True
            self.close()
            raise
        with self._changed:
            self._untaken -= len(found)
            self._changed.notify_all()
        return found

    def close(self) -> None:
        """End all threads; what is under way is waited for, the rest is dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._conductor.join()
        self._network.shutdown(wait=True, cancel_futures=True)

    def _conduct(self, items: Iterable[tuple[K, Source]]) -> None:
        """Feed the readers from `items`, and the network from the readers, until either ends or `close`."""
        waiting: deque[_Reading[K]] = deque()
        ready: list[Prepared[K]] = []
        under_way, coming = 0, iter(items)
        try:
            while not self._stopped and (chunk := list(islice(coming, self._prepare.chunk()))):
                if self._stopped:
                    break
                waiting.append((len(chunk), self._readers.submit(self._prepare, chunk)))
                under_way += len(chunk)
                # The oldest is awaited only when enough are under way, so that the readers never idle.
                while under_way >= self._prepare.under_way(self._threads + self._backbone.batch):
                    under_way -= self._take(waiting, ready)
            while waiting and not self._stopped:
                self._take(waiting, ready)
        except BaseException as error:  # a reader's or the items' own; raised where the vectors are taken
            self._send(ready)
            self._out.put(error)
        else:
            self._send(ready)
            self._out.put(None)

    def _room(self) -> int:
        return max(self._ahead, 2 * self._backbone.parallel * self._backbone.batch)

    def _take(self, waiting: deque[_Reading[K]], ready: list[Prepared[K]]) -> int:
        """Wait for the oldest chunk, and give to the network what makes a batch; return how many items it had."""
        count, reading = waiting.popleft()
        prepared, failure = reading.result()
        size, pictures = self._backbone.batch, sum(pixels is not None for _, pixels in ready)
        for one in prepared:
            ready.append(one)
            pictures += one[1] is not None
            if pictures >= size or len(ready) >= 4 * size:
                self._send(ready)
                size, pictures = self._backbone.batch, 0
        if failure is not None:
            raise failure
        return count

    def _send(self, ready: list[Prepared[K]]) -> None:
        """Give what is ready to the network, once it is free and the caller not too far behind; empty the list."""
        if not ready:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped or (self._passes < self._backbone.parallel and self._untaken < self._room())
                )
            )
            if self._stopped:
                return
            self._passes += 1
            self._untaken += len(ready)
        self._out.put(self._network.submit(self._embed, list(ready)))
        ready.clear()

    def _embed(self, ready: Sequence[Prepared[K]]) -> list[Embedded[K]]:
        try:
            return list(_embedded(self._backbone, ready))
        finally:
            with self._changed:
                self._passes -= 1
                self._changed.notify_all()


_MOST_PASSES = 32


def _embedded(backbone: Embedder, ready: Sequence[Prepared[K]]) -> Iterator[Embedded[K]]:
    """What one pass of the network makes of prepared items, in their order."""
    stack = [pixels for _, pixels in ready if pixels is not None]
    vectors: Any = backbone.embed_prepared(np.stack(stack)) if stack else ()
    finite = np.asarray(np.isfinite(vectors).all(axis=tuple(range(1, np.ndim(vectors))))).tolist()
    found = zip(vectors, finite, strict=True)
    for item, pixels in ready:
        if pixels is not None:
            vector, sound = next(found)
            if sound:
                item.vector = vector
            else:
                item.error = "the backbone's vector is not finite"
        yield item

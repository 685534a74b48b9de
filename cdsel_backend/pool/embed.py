"""A stream of image bytes -> a stream of vectors, decoding beside the network."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.pool.decode import MAX_PIXELS, UnreadableImage, read_image
from cdsel_backend.pool.measures import Measures, measure
from cdsel_backend.pool.source import SourceError

log = logging.getLogger(__name__)

K = TypeVar("K")

BATCH = 8
"""Images in one pass of the network. On a CPU larger ones are slower: they fall out of its cache."""


class Embedder(Protocol):
    """What `embed_images` asks of a backbone (see `pool.backbones.Backbone`, `pool.split.SplitNetwork`)."""

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """One RGB picture -> (height, width, 3) uint8 at the network's input size."""

    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """(m, height, width, 3) uint8 -> (m, ...): a vector each, or activations."""


@dataclass(frozen=True, eq=False)
class Embedded(Generic[K]):
    """What became of one item: a vector, or an error in words, or neither when its hash was `known`."""

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


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits: equal files share one vector."""
    return hashlib.sha256(data).hexdigest()


def embed_images(
    backbone: Embedder,
    items: Iterable[tuple[K, bytes | Callable[[], bytes]]],
    *,
    batch: int = BATCH,
    known: Container[str] = (),
    max_pixels: int = MAX_PIXELS,
    threads: int = 2,
) -> Iterator[Embedded[K]]:
    """Embed images one after another; one bad image costs itself only.

    Reading (when an item is a function), hashing, decoding and resizing run in a few threads while the
    network works on the batch before. No more than three batches of images are in memory.

    Args:
        backbone: a `pool.backbones.Backbone`.
        items: (key, bytes) or (key, function that gives the bytes); consumed lazily. The function
            runs in a thread and may raise UnreadableImage; a SourceError ends the stream, after the items
            before it; whatever else it raises is the error of its item.
        batch: images in one pass of the network.
        known: content hashes whose vectors exist: such an item comes back with neither vector nor error.
        max_pixels: see `decode`.
        threads: readers and decoders beside the network.

    Yields:
        One `Embedded` for each item, in the order of `items`.
    """

    def prepare(key: K, source: bytes | Callable[[], bytes]) -> tuple[Embedded[K], NDArray[np.uint8] | None]:
        digest = None
        try:
            data = source() if callable(source) else source
            digest = content_hash(data)
            if digest in known:
                return Embedded(key, digest, None, None), None
            decoded = read_image(data, max_pixels=max_pixels)
            told = Embedded[K](key, digest, None, None, decoded.note, measure(decoded))
            return told, backbone.prepare(decoded.image)
        except UnreadableImage as error:
            return Embedded(key, digest, None, str(error)), None
        except SourceError:
            raise  # not this image's fault: nothing can be read now
        except Exception as error:  # whatever one image does, the others go on
            log.warning("an image cannot be used", exc_info=error)
            return Embedded(key, digest, None, f"it cannot be used ({type(error).__name__}: {error})"), None

    executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        waiting: deque[Future[tuple[Embedded[K], NDArray[np.uint8] | None]]] = deque()
        ready: list[tuple[Embedded[K], NDArray[np.uint8] | None]] = []
        for key, source in items:
            waiting.append(executor.submit(prepare, key, source))
            # The oldest is awaited only when two batches are under way, so the threads never idle.
            if len(waiting) >= 2 * batch:
                ready.append(waiting.popleft().result())
                if _to_embed(ready) == batch or len(ready) >= 4 * batch:
                    yield from _flush(backbone, ready)
        while waiting:
            ready.append(waiting.popleft().result())
            if _to_embed(ready) == batch or len(ready) >= 4 * batch:
                yield from _flush(backbone, ready)
        yield from _flush(backbone, ready)
    except Exception:
        yield from _flush(backbone, ready)  # what was read before is not lost
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _to_embed(ready: list[tuple[Embedded[K], NDArray[np.uint8] | None]]) -> int:
    return sum(pixels is not None for _, pixels in ready)


def _flush(
    backbone: Embedder, ready: list[tuple[Embedded[K], NDArray[np.uint8] | None]]
) -> Iterator[Embedded[K]]:
    """Embed what is ready in one pass, yield all of it in order, and empty the list."""
    done, ready[:] = list(ready), []
    stack = [pixels for _, pixels in done if pixels is not None]
    vectors: Iterator[NDArray[np.floating[Any]]] = iter(
        backbone.embed_prepared(np.stack(stack)) if stack else ()
    )
    for item, pixels in done:
        if pixels is None:
            yield item
            continue
        vector = next(vectors)
        if np.isfinite(vector).all():
            yield replace(item, vector=vector)
        else:
            yield replace(item, error="the backbone's vector is not finite")

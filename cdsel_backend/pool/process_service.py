"""What an embedding process does, and how what comes of the images is sent back."""

from __future__ import annotations

import gc
import os
import pickle
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.prepare import Embedded, Known, Source
from cdsel_backend.pool.source import SourceError
from cdsel_backend.signals import leave_to_parent

if TYPE_CHECKING:  # torch is slow to load, and most who import this need none of it
    from cdsel_backend.pool.backbones import Backbone

K = TypeVar("K")
Load: TypeAlias = "Callable[[], Backbone]"
"""Loads the backbone; is pickled, and called in a process."""
Opening: TypeAlias = "Callable[[], tuple[Callable[[Any], bytes], Known]]"
"""Gives the function that reads an image by its key, and the contents that have a vector; pickled and called there."""
IDLE_SECONDS = 1800.0
"""After which a process that nobody asks for anything ends: it holds memory of a GPU."""
Packed: TypeAlias = "tuple[list[tuple[Any, ...]], list[int], NDArray[np.float32] | None]"
"""What came of the images of a chunk without their vectors, the positions of those with a vector, and these (m, d)."""


def serve(
    connection: Connection, load: Load, opening: Opening, sample: Sequence[Any], max_pixels: int
) -> None:
    """What a process does: it embeds one stream after another, until nobody can send one, or its GPU fails.

    It sends None once it is ready, then what `_embed` says; last of all, where it ends, a sentence that says why.
    """
    leave_to_parent("SIGINT", "SIGTERM", "SIGHUP")
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def receive() -> None:  # at once: who sends must not wait for us
        with suppress(EOFError, OSError):
            while True:
                inbox.put(connection.recv())
        os._exit(0)  # nobody is there who would take what we find

    threading.Thread(target=receive, daemon=True).start()
    try:
        backbone = load()
        read, _ = opening()
        items: Iterator[tuple[Any, Source]] = ((key, partial(read, key)) for key in sample)
        with suppress(SourceError):  # the streams will say so
            for _item in embed_images(backbone, items, max_pixels=max_pixels, decoder=backbone.decoder):
                pass
    except Exception as error:
        connection.send(str(error))
        raise
    _end_without_gpu(backbone, connection)
    gc.freeze()  # each of its whole passes would look through all libraries, and stop every thread meanwhile
    connection.send(None)  # ready
    while True:
        try:
            following = inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            os._exit(0)
        _embed(backbone, connection, inbox, following, max_pixels)


def _end_without_gpu(backbone: Backbone, connection: Connection) -> None:
    """End this process where its GPU embeds no more: on the CPU it would only keep the other processes waiting."""
    if backbone.runtime.problems:
        connection.send("; ".join(backbone.runtime.problems))
        os._exit(1)


def _embed(
    backbone: Backbone,
    connection: Connection,
    inbox: queue.SimpleQueue[Any],
    opening: Opening,
    max_pixels: int,
) -> None:
    """Embed the chunks of a stream; send what comes of them in the same order, then None or the error that ends it."""
    sizes: deque[int] = deque()
    finished = False

    def chunks() -> Iterator[list[Any]]:
        nonlocal finished
        while (chunk := inbox.get()) is not None:
            sizes.append(len(chunk))
            yield chunk
        finished = True

    error = None
    found: list[Embedded[Any]] = []
    try:
        read, known = opening()
        items: Iterator[tuple[Any, Source]] = (
            (key, partial(read, key)) for chunk in chunks() for key in chunk
        )
        for item in embed_images(
            backbone, items, known=known, once=True, max_pixels=max_pixels, decoder=backbone.decoder
        ):
            found.append(item)
            if len(found) == sizes[0]:
                sizes.popleft()
                connection.send(_packed(found))
                found = []
                _end_without_gpu(backbone, connection)
    except Exception as raised:
        error = raised
    if found:
        connection.send(_packed(found))
    connection.send(None if error is None else _sendable(error))
    while not finished and inbox.get() is not None:
        pass


def _sendable(error: Exception) -> Exception:
    """An error as it can be sent: itself, or its message where it does not come out of a pickle as it went in."""
    kind = SourceError if isinstance(error, SourceError) else RuntimeError
    plain = kind(str(error) if kind is SourceError else f"{type(error).__name__}: {error}")
    try:
        arrived = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does
        return plain
    return error if str(arrived) == str(error) else plain


def _packed(items: Sequence[Embedded[Any]]) -> Packed:
    """What came of the images of a chunk, as it is sent: their vectors in one array, which pickles fast."""
    vectors = [item.vector for item in items if item.vector is not None]
    return (
        [(item.content_hash, item.error, item.note, item.measures, item.retry_after) for item in items],
        [number for number, item in enumerate(items) if item.vector is not None],
        np.stack(vectors) if vectors else None,
    )


def unpacked(keys: Sequence[K], packed: Packed) -> list[Embedded[K]]:
    """What came of the images of a chunk, given their keys."""
    rest, numbers, vectors = packed
    items = [
        Embedded(key, digest, None, error, note, measures, retry_after)
        for key, (digest, error, note, measures, retry_after) in zip(keys, rest, strict=False)
    ]
    for number, vector in zip(numbers, () if vectors is None else vectors, strict=True):
        items[number].vector = vector
    return items

"""Reads and listings that may hang, as of a network share whose server is gone: each is given up after a while.

No time-out of the system ends such a read. Its thread is left behind; while several of one storage hang, nothing more
is read from it, so that they stay few, and the other images go on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import TypeVar

from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import SourceError
from cdsel_backend.pool.suspension import Suspensions

T = TypeVar("T")

READ_SECONDS = 120.0  # for one image
LIST_SECONDS = 600.0  # for a part of a listing, which may be a folder of a million files
AGAIN_SECONDS = 600.0  # until an image of a storage that hangs is tried again
MOST_HANGING = 3  # reads of one storage

storages = Suspensions()
"""The buckets in trouble, as this process knows them: those that fail, where the above are those that hang."""

_guard = threading.Lock()
_hanging: Counter[str] = Counter()


class StorageFails(UnreadableImage):
    """An image that its storage does not give, for a reason that is not this image's; it is tried again later."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.retry_after = AGAIN_SECONDS


class StorageHangs(StorageFails):
    """An image of a storage that does not answer."""

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} does not answer, a read of it was given up after {READ_SECONDS:.0f} s: see that the share or "
            "bucket is up and can be reached from this machine; its images are tried again in "
            f"{AGAIN_SECONDS / 60:.0f} min"
        )


def list_in_time(storage: str, read: Callable[[], T]) -> T:
    """Return what a part of a listing returns, or raise what it raises.

    Raises:
        SourceError: it takes longer than `LIST_SECONDS`, or so many reads of this storage hang that none is tried.
    """
    try:
        return read_in_time(storage, read, LIST_SECONDS)
    except StorageHangs:
        raise SourceError(
            f"{storage} does not answer, its listing was given up after {LIST_SECONDS / 60:.0f} min: see that the "
            "share or bucket is up and can be reached from this machine"
        ) from None


def read_in_time(storage: str, read: Callable[[], T], seconds: float | None = None) -> T:
    """Return what `read` returns, or raise what it raises.

    Args:
        storage: the folder or bucket that is read from, as messages name it.
        read: called in a thread of its own.
        seconds: how long it may take; None: `READ_SECONDS`.

    Raises:
        StorageHangs: it takes longer, or so many reads of this storage hang that none is tried.
    """
    with _guard:
        if _hanging[storage] >= MOST_HANGING:
            raise StorageHangs(storage)
    answer: Future[T] = Future()
    given_up = False

    def work() -> None:
        try:
            found = read()
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(found)
        with _guard:
            if given_up:
                _hanging[storage] -= 1

    threading.Thread(target=work, name="read in time", daemon=True).start()
    try:
        return answer.result(READ_SECONDS if seconds is None else seconds)
    except Late:
        with _guard:
            if answer.done():  # at the last moment, or `read` itself says that something was late
                return answer.result()
            given_up = True
            _hanging[storage] += 1
        raise StorageHangs(storage) from None

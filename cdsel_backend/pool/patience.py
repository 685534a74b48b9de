"""Reads and listings that may hang, as of a network share whose server is gone: each is given up after a while.

No time-out of the system ends such a read. Its thread is left behind; while several of one storage hang, nothing more
is read from it, so that they stay few, and the other images go on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any, Generic, TypeVar

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
_own = threading.local()  # `calls`: what a thread of `each_in_time` is at


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
        read: called in a thread of its own, or in that of `each_in_time`.
        seconds: how long it may take; None: `READ_SECONDS`.

    Raises:
        StorageHangs: it takes longer, or so many reads of this storage hang that none is tried.
    """
    if _hanging[storage] >= MOST_HANGING:
        raise StorageHangs(storage)
    watched: _Calls[Any] | None = getattr(_own, "calls", None)
    if watched is not None and seconds is None:
        watched.begin(storage)
        try:
            return read()
        finally:
            watched.end()
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


def each_in_time(calls: Sequence[Callable[[], T]], late: Callable[[int, StorageHangs], T]) -> Iterator[T]:
    """Yield what calls return, all made in one thread, so that a read costs none of its own.

    Args:
        calls: made one after the other; what they read by `read_in_time` is watched.
        late: makes the result of a call, by its number, whose read takes too long; those behind it are still made.

    Raises:
        BaseException: what a call raises, after the results of those before it.
    """
    done = 0
    while done < len(calls):
        running = _Calls(calls[done:])
        running.wait()
        yield from running.results
        done += len(running.results)
        if running.given_up:
            yield late(done, StorageHangs(running.storage))
            done += 1
        elif running.error is not None:
            raise running.error


class _Calls(Generic[T]):
    """Calls in a thread of their own, which is left behind where one hangs."""

    def __init__(self, calls: Sequence[Callable[[], T]]) -> None:
        self.results: list[T] = []
        self.error: BaseException | None = None
        self.given_up = False
        self.storage = ""
        self._calls = calls
        self._since: float | None = None  # when the read of now began
        self._ended = threading.Event()
        threading.Thread(target=self._work, name="read in time", daemon=True).start()

    def _work(self) -> None:
        _own.calls = self
        try:
            for call in self._calls:
                result = call()
                if self.given_up:
                    return
                self.results.append(result)
        except BaseException as error:
            self.error = error
        finally:
            self._ended.set()

    def begin(self, storage: str) -> None:
        """Say what is read from here on."""
        self.storage, self._since = storage, time.monotonic()

    def end(self) -> None:
        """Say that it is read, or failed."""
        with _guard:
            self._since = None
            if self.given_up:
                _hanging[self.storage] -= 1

    def wait(self) -> None:
        """Until all are made, one raised, or one is given up."""
        while not self._ended.wait(self._patience()):
            with _guard:
                if self._since is not None and time.monotonic() - self._since >= READ_SECONDS:
                    self.given_up = True
                    _hanging[self.storage] += 1
                    return

    def _patience(self) -> float:
        since = self._since
        return READ_SECONDS if since is None else max(0.01, since + READ_SECONDS - time.monotonic())

"""Memory that threads share: each waits until what it needs is free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So many bytes for all threads together; whoever needs more than all of them has them alone."""

    def __init__(self, size: int) -> None:
        """Take the size in bytes."""
        self._size = size
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Hold so many bytes, once they are free."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + needed <= self._size)
            self._used += needed
        try:
            yield
        finally:
            with self._changed:
                self._used -= needed
                self._changed.notify_all()

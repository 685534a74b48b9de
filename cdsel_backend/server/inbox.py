"""Events on their way into the database, so that no annotator waits for whoever writes there.

Label Studio sends a webhook within the annotator's own request, gives it one second, and never repeats it. The
database has one writer at a time: while the worker commits, an event waits here, not in the annotator's browser. An
event that a crash takes with it is made good by the next poll.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from typing import Any

from cdsel_backend.store import Store

WAIT_SECONDS = 0.02  # for the database, in the usual case; then the answer goes out first


class Inbox:
    """Writes events one after another, in a thread of its own that ends with the process, once all are written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(1, "inbox")

    def add(
        self, source: int | None, action: str, payload: Mapping[str, Any], *, wait: float = WAIT_SECONDS
    ) -> int:
        """Keep an event; returns its number, 0 where it is still to be written after `wait` seconds."""
        written = self._writer.submit(self._store.add_event, source, action, payload)
        try:
            return written.result(timeout=wait)
        except TimeoutError:
            return 0

"""The log: lines for people or JSON, each with the project and the request it is about, a fault said once and counted.

A fault that repeats, such as a full disk, is one line; after ten minutes it is said again, with how often it came.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Literal

from cdsel_backend.phrases import form

LogFormat = Literal["text", "json"]

REPEAT_SECONDS = 600.0  # between two lines of one fault
MOST_FAULTS = 1000  # remembered at once
LEVELS = dict.fromkeys(("httpx", "httpcore", "timm", "waitress.queue", "alembic"), logging.WARNING)
"""Loggers of libraries that say too much -> the least level that is wanted of them."""
LEVELS["pydicom"] = logging.CRITICAL  # its tracebacks of damaged files name none; ours stand with the image

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What ends or turns a line, or commands a terminal: names come from others, and one could write lines of its own."""

_project: ContextVar[int | None] = ContextVar("cdsel_project", default=None)
_request: ContextVar[str | None] = ContextVar("cdsel_request", default=None)


@contextmanager
def about(project: int) -> Iterator[None]:
    """Have every line of this thread in the block name the project (its number in Label Studio)."""
    token = _project.set(project)
    try:
        yield
    finally:
        _project.reset(token)


def name_request(number: str | None, project: int | None) -> None:
    """Have every line of this thread name a request, or none any more."""
    _request.set(number)
    _project.set(project)


def start_log(log_format: LogFormat, *, verbose: bool = False) -> None:
    """Write the log to stderr, once in a process."""
    handler = logging.StreamHandler()
    handler.addFilter(Context())
    handler.addFilter(Once())
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(logging.INFO if verbose else level)


def _escaped(character: re.Match[str]) -> str:
    return ascii(character[0])[1:-1]


class Context(logging.Filter):
    """Gives each line its project and request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        record.project, record.request = _project.get(), _request.get()
        return True


class Once(logging.Filter):
    """Lets one line of each fault (warnings and above; numbers aside) through, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, getattr(record, "project", None), re.sub(r"\d+", "#", record.getMessage()))
        with self._lock:
            now = self._clock()
            at, times = self._said.get(key, (-REPEAT_SECONDS, 0))
            if now - at < REPEAT_SECONDS:
                self._said[key] = at, times + 1
                return False
            if len(self._said) >= MOST_FAULTS:
                self._said.clear()
            self._said[key] = now, 0
        record.repeated = times
        return True


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        request = getattr(record, "request", None)
        times = getattr(record, "repeated", 0)
        return (
            _CONTROL.sub(_escaped, super().formatMessage(record))
            + (f" [request {request}]" if request else "")
            + (f" ({times} {form(times, 'time')} more since it was said last)" if times else "")
        )


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, and what else there is."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("project", "request", "repeated"):
            if value := getattr(record, name, None):
                line[name] = value
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)

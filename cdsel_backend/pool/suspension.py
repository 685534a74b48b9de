"""Hosts that time out again and again are left alone for a while, so that nothing else waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from cdsel_backend.pauses import growing_pause
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.decode import UnreadableImage

MOST_TIMEOUTS = 3  # in a row, before a host is suspended
FIRST_SUSPENSION = 60.0  # seconds; doubled by each time-out that follows
LONGEST_SUSPENSION = 3600.0
TRIAL_SECONDS = 180.0  # for one request after a suspension: longer than any takes


@dataclass
class _Trouble:
    times: int = 0
    until: float = 0.0
    said: str = ""
    """`until`, as a time of day."""
    tried_at: float | None = None
    """Since when one request tries whether the host answers again."""


class HostSuspended(UnreadableImage):
    """An image of a host that did not answer several times in a row: it was not asked, and is tried again later."""

    def __init__(self, host: str, trouble: _Trouble, seconds: float) -> None:
        super().__init__(
            f"{host} did not answer {number_of(trouble.times, 'time')} in a row and is asked again at {trouble.said}: "
            "see that it is up and can be reached from this server"
        )
        self.retry_after = max(seconds, 1.0)


class Suspensions:
    """The hosts in trouble, as one process knows them. May be used from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, _Trouble] = {}

    def admit(self, host: str) -> None:
        """Before a request to a host.

        Raises:
            HostSuspended: it is not to be asked now. After a suspension one request at a time tries it.
        """
        with self._lock:
            trouble, now = self._hosts.get(host), self._clock()
            if trouble is None or trouble.times < MOST_TIMEOUTS:
                return
            if now < trouble.until:
                raise HostSuspended(host, trouble, trouble.until - now)
            if trouble.tried_at is not None and now < trouble.tried_at + TRIAL_SECONDS:
                raise HostSuspended(host, trouble, FIRST_SUSPENSION)
            trouble.tried_at = now

    def answered(self, host: str) -> None:
        """Note that a host answered, whatever it said."""
        with self._lock:
            self._hosts.pop(host, None)

    def timed_out(self, host: str) -> HostSuspended | None:
        """Note that a host did not answer in time; returns what to say where it is suspended from now on."""
        with self._lock:
            trouble, now = self._hosts.setdefault(host, _Trouble()), self._clock()
            if now < trouble.until:  # a request from before the suspension, which counts once
                return HostSuspended(host, trouble, trouble.until - now)
            trouble.times += 1
            trouble.tried_at = None
            if trouble.times < MOST_TIMEOUTS:
                return None
            seconds = growing_pause(trouble.times - MOST_TIMEOUTS + 1, FIRST_SUSPENSION, LONGEST_SUSPENSION)
            trouble.until = now + seconds
            trouble.said = f"{datetime.fromtimestamp(time.time() + seconds, timezone.utc):%H:%M} UTC"
            return HostSuspended(host, trouble, seconds)

    def in_trouble(self) -> list[str]:
        """The hosts that were suspended and have not answered since."""
        with self._lock:
            return sorted(host for host, trouble in self._hosts.items() if trouble.times >= MOST_TIMEOUTS)

"""One deadline by the clock for all that a request does, from the connection to the last byte.

httpx's own time-outs are for each wait: headers that trickle in byte by byte never end. Here each wait on a socket
gets what is left of the deadline under which the thread works. The look-up of a name in the DNS cannot be cut short.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_ends: ContextVar[float | None] = ContextVar("cdsel_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let every request in this block, of a client made by `timed`, end within so many seconds from now in all.

    Blocks may be nested: the earliest end counts. A request that is late raises httpx.TimeoutException.
    """
    before, ends = _ends.get(), time.monotonic() + seconds
    token = _ends.set(ends if before is None else min(before, ends))
    try:
        yield
    finally:
        _ends.reset(token)


def timed(client: httpx.Client) -> httpx.Client:
    """Have a client obey `within`, whatever proxies it goes through."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = TimedNetwork(pool._network_backend)
    return client


class TimedNetwork(httpcore.NetworkBackend):
    """Makes connections whose waits end with the deadline."""

    def __init__(self, network: httpcore.NetworkBackend) -> None:
        self._network = network

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkBackend`."""
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Timed(self._network.connect_tcp(host, port, timeout, *args, **options))


class _Timed(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    """The seconds that one wait may take."""
    ends = _ends.get()
    if ends is None:
        return timeout
    left = ends - time.monotonic()
    if left <= 0:
        raise late("it did not all arrive in time")
    return left if timeout is None else min(timeout, left)

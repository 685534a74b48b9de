"""The web server, waitress, with bounds on what a stranger can hold of it: connections, time, bytes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import waitress
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from cdsel_backend.server.bounds import MAX_BODY_BYTES

try:
    import resource
except ImportError:  # as on Windows, whose processes have no such limit
    resource = None  # type: ignore[assignment]

CONNECTIONS, CONNECTIONS_FROM_ONE = 1000, 250  # in all, and from one address
IDLE_SECONDS = 10  # without a byte, and without a request under way
ARRIVAL_SECONDS = 60.0  # for one whole request: who sends a byte now and then is never idle
HEADER_BYTES = 64 * 1024
FILES = 8192  # open at once that are asked of the system: each connection is one, and the worker needs others


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection whose requests have to arrive in time, and one of not too many from its address."""

    began: float | None = None
    """When the request that is arriving began; None between two."""

    def __init__(self, server: Any, sock: Any, addr: Any, *args: Any, **options: Any) -> None:
        super().__init__(server, sock, addr, *args, **options)
        same = sum(other.addr[0] == addr[0] for other in list(server.active_channels.values()))
        if same > CONNECTIONS_FROM_ONE:
            self.will_close = True

    def received(self, data: bytes) -> bool:
        """Take what arrived."""
        taken: bool = super().received(data)
        self.began = None if self.request is None else self.began or time.monotonic()
        if self.began is not None and time.monotonic() - self.began > ARRIVAL_SECONDS:
            self.will_close = True
        return taken


def connections() -> int:
    """How many connections there may be: half the files that this process may have open, at most `CONNECTIONS`.

    Else strangers who only connect would leave none to the database, to images and to pages. Where the system lets
    it, the limit is raised first.
    """
    if resource is None:
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = FILES if hard == unlimited else min(FILES, hard)
    if soft != unlimited and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return CONNECTIONS if soft == unlimited else min(CONNECTIONS, soft // 2)


def listen(app: Flask, host: str, port: int, *, threads: int) -> Any:
    """A web server that listens, for `run()` and `close()`.

    Args:
        app, host, port, threads: what it serves, where, and how many requests at once.

    Raises:
        OSError: the port is taken, or the address is none of this machine.
    """
    parts: dict[int, Any] = {}
    server = waitress.create_server(
        app,
        map=parts,
        host=f"[{host}]" if ":" in host else host,
        port=port,
        threads=threads,
        ident=None,  # no header that tells the version
        connection_limit=connections(),
        backlog=CONNECTIONS,
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=IDLE_SECONDS // 2,
        asyncore_use_poll=True,  # select() ends at 1024 descriptors
        max_request_body_size=MAX_BODY_BYTES,
        max_request_header_size=HEADER_BYTES,
        clear_untrusted_proxy_headers=False,  # the app judges them (`proxies.py`), under any server
    )
    for part in parts.values():
        if isinstance(part, BaseWSGIServer):
            part.channel_class = Channel
    return server

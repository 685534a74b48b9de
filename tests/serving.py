"""A server of the tests' own, in a thread, on a free port of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any

from werkzeug.serving import make_server


@contextmanager
def running(server: Any) -> Iterator[str]:
    """Serve until the end of the block; yields the address. `server`: of `http.server` or of werkzeug."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


def running_app(app: Any) -> AbstractContextManager[str]:
    """The same for a WSGI application."""
    return running(make_server("127.0.0.1", 0, app, threaded=True))

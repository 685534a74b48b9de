"""What the proxy in front says of a request, believed only of the one that `CDSEL_TRUSTED_PROXY` names.

Below a path prefix (https://host/cdsel/) every address of a page begins with it: the proxy says so in
`X-Forwarded-Prefix`, or `CDSEL_DASHBOARD_URL` does by its path. Whether the proxy takes the prefix away or hands it on
is the same to us, and so is a request that comes past the proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.middleware.proxy_fix import ProxyFix

from cdsel_backend.settings import ServerSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PREFIX = re.compile(r"(/[\w.~-]+)+")
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_")


class Proxies:
    """WSGI middleware: the browser's address, its scheme, and the prefix of our paths."""

    def __init__(self, app: WSGIApplication, server: ServerSettings) -> None:
        self._app = app
        self._behind = ProxyFix(self._prefixed, x_for=1, x_proto=1, x_prefix=0)
        self._trusted = server.trusted_proxy
        self._prefix = urlsplit(server.dashboard_url).path.rstrip("/")

    def __call__(self, asked: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._trusted and asked.get("REMOTE_ADDR") == self._trusted:
            return self._behind(asked, start_response)
        for name in [name for name in asked if name.startswith(_FORWARDED)]:
            del asked[name]
        return self._prefixed(asked, start_response)

    def _prefixed(self, asked: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        forwarded = asked.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/")
        prefix = forwarded if _PREFIX.fullmatch(forwarded) else self._prefix
        if prefix:
            asked["SCRIPT_NAME"] = prefix
            path = asked.get("PATH_INFO", "")
            if path == prefix or path.startswith(f"{prefix}/"):
                asked["PATH_INFO"] = path[len(prefix) :] or "/"
        return self._app(asked, start_response)

"""Who may come in: the host a request names, the login, and how often a wrong password may be tried.

Label Studio and scripts give the password with each request (basic auth), people once in a form (`login.py`), and Label
Studio's webhooks a token that is good for /webhook only. Without a login, `cdsel serve` listens on this machine alone,
and what browsers are made to send by other sites is known by its Host header.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
import time
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

from flask import Flask, Response, current_app, g, jsonify, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import BadRequest, TooManyRequests
from werkzeug.wrappers import Response as AnyResponse

from cdsel_backend.phrases import number_of
from cdsel_backend.project.addresses import WEBHOOK_HEADER, project_of_token
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings

OPEN = frozenset({"protocol.health", "static", "pages.pictures_css"})
"""Answered to anybody: Label Studio asks /health without the password, and the login page has a style."""
LOGIN = frozenset({"pages.login", "pages.sign_in"})
WRONG_PASSWORDS = RateLimitItemPerMinute(10)  # from one address
CLOCK_STEP = 60.0
"""Seconds by which a clock may be put right without a wrong password being forgotten; no lockout lasts longer."""
LOCAL_NAMES = frozenset(
    # How containers call the machine that they run on: no name that a website can point elsewhere.
    {"localhost", "host.docker.internal", "gateway.docker.internal", "host.containers.internal"}
)


class Door:
    """One web server's door."""

    def __init__(self, server: ServerSettings, *, listens_at: str = "") -> None:
        self._server = server
        self._listens_at = listens_at
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._asked_at = 0.0

    @classmethod
    def current(cls) -> Door:
        """The door of the app that handles this request."""
        door: Door = current_app.extensions["cdsel_door"]
        return door

    @cached_property
    def _names(self) -> set[str]:
        """The host names by which this server is called, in lower case."""
        own = {self._listens_at, socket.gethostname(), socket.getfqdn()}
        addresses = (self._server.public_url, self._server.dashboard_url)
        return {
            name.lower() for name in own | {urlsplit(address).hostname or "" for address in addresses}
        } - {""}

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this server.

        An address does: a website that has its own name lead to this machine (DNS rebinding) cannot name one.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        if name in LOCAL_NAMES or name.endswith(".localhost") or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def is_right(self, user: str | None, password: str | None) -> bool:
        """Whether this is the login.

        Raises:
            TooManyRequests: there were too many wrong ones from this address; nothing was compared.
        """
        kind = "pages" if (request.endpoint or "").startswith("pages.") else "protocol"
        key = (kind, _neighbourhood(request.remote_addr))
        before, now = self._asked_at, time.time()
        self._asked_at = now
        if before - now > CLOCK_STEP:  # what was counted would count until it is that late again
            self._limiter.storage.reset()
        if not self._limiter.test(WRONG_PASSWORDS, *key):
            seconds = max(1, round(self._limiter.get_window_stats(WRONG_PASSWORDS, *key).reset_time - now))
            raise TooManyRequests(
                f"too many wrong passwords came from this address: try again in {number_of(seconds, 'second')}",
                retry_after=seconds,
            )
        # In constant time, so that neither can be guessed letter by letter.
        right = _same(user, self._server.basic_auth_user) & _same(password, self._server.basic_auth_pass)
        if not right:
            self._limiter.hit(WRONG_PASSWORDS, *key)
        return right

    def proof(self) -> str:
        """The proof, kept in a session, that its login is the one of today: a new password ends all sessions."""
        login = f"{self._server.basic_auth_user}:{self._server.basic_auth_pass}"
        secret = Service.current().store.secret()
        return hmac.new(secret.encode(), login.encode(), "sha256").hexdigest()[:32]

    def knows_caller(self, *, by_session: bool = True) -> bool:
        """Whether this request comes with the login, or none is asked for.

        `by_session`: whether the database can be asked, which knows of the sessions of browsers.
        """
        if not self._server.asks_password or (by_session and self.signed_in()):
            return True
        given = _credentials()
        return given is not None and given.type == "basic" and self.is_right(given.username, given.password)

    def signed_in(self) -> bool:
        """Whether the browser that asks has signed in, with the login of today, and not signed out since."""
        given = session.get("proof")
        return (
            isinstance(given, str)
            and hmac.compare_digest(given.encode(), self.proof().encode())
            and session.get("id") not in (Service.current().store.fact(SIGNED_OUT) or {})
        )


SIGNED_OUT = "signed_out"  # the fact that holds session id -> when it ends by itself


class Sessions(SecureCookieSessionInterface):
    """Session cookies that are Secure wherever the browser came by HTTPS, also through a proxy that ends it.

    Below a path prefix they are sent to that path only.
    """

    def get_cookie_path(self, app: Flask) -> str:
        """The path that the cookie is sent to."""
        return request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the cookie may only be sent over HTTPS."""
        server: ServerSettings = app.extensions["cdsel"].server
        https = {
            urlsplit(address).netloc
            for address in (server.public_url, server.dashboard_url)
            if address.startswith("https://")
        }
        return request.is_secure or request.host in https


def admit() -> AnyResponse | None:
    """Let a request in, or answer it: before every request."""
    if request.endpoint in OPEN:
        return None
    door, server = Door.current(), Service.current().server
    given = _credentials()
    if server.asks_password and given is not None and given.type == "basic":
        if door.is_right(given.username, given.password):
            return None
        return _ask(given)
    if request.endpoint == "protocol.webhook" and (token := request.headers.get(WEBHOOK_HEADER)):
        g.webhook_project = project_of_token(Service.current().store, token)
        if g.webhook_project is not None:
            return None
    if not door.knows_host(request.host):
        raise BadRequest(
            f"this server is not called {request.host[:100]!r}: set CDSEL_DASHBOARD_URL (or, for Label Studio, "
            "CDSEL_PUBLIC_URL) to the address that you use"
        )
    if not server.asks_password or request.endpoint in LOGIN:
        return None
    if (request.endpoint or "").startswith("pages.") and door.signed_in():
        return None
    return _ask(given)


def _ask(given: Authorization | None) -> AnyResponse:
    """Ask for the login: a browser by the form, a script by the header."""
    is_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    if is_page and given is None:
        back = f"{request.script_root}{request.full_path}".rstrip("?") if request.method == "GET" else ""
        return redirect(f"{url_for('pages.login')}{f'?next={quote(back)}' if back else ''}", 303)
    response: Response = jsonify(error="give the user and password of BASIC_AUTH_USER and BASIC_AUTH_PASS")
    response.status_code = 401
    if "Sec-Fetch-Mode" not in request.headers:  # else a browser would ask in a window of its own
        response.headers["WWW-Authenticate"] = 'Basic realm="cdsel", charset="UTF-8"'
    return response


def _credentials() -> Authorization | None:
    """The user and password of basic auth, as UTF-8 or, as Label Studio sends them, as Latin-1."""
    if request.authorization is not None:
        return request.authorization
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(text).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (
        Authorization("basic", {"username": user, "password": password})
        if scheme.lower() == "basic"
        else None
    )


def _neighbourhood(address: str | None) -> str:
    """Whose guesses count together: an address, or the /64 that one customer of IPv6 has."""
    try:
        found: Any = ipaddress.ip_address(address or "")
    except ValueError:
        return str(address)
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def _same(given: str | None, wanted: str) -> bool:
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), wanted.encode())

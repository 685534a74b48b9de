"""The Flask app: Label Studio's protocol and the admin's pages, behind one door."""

from __future__ import annotations

import hmac

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from cdsel_backend.server.pages import pages
from cdsel_backend.server.protocol import protocol
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store

OPEN_ENDPOINTS = {"protocol.health"}  # Label Studio asks it without the password


def create_app(server: ServerSettings, store: Store) -> Flask:
    """Build the web server's app; it loads no model and calls nobody."""
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["cdsel"] = Service(server, store)
    app.register_blueprint(protocol)
    app.register_blueprint(pages)
    app.before_request(_ask_password)
    app.register_error_handler(HTTPException, _explain)
    return app


def _ask_password() -> Response | None:
    server: ServerSettings = Service.current().server
    if not server.basic_auth_user or request.endpoint in OPEN_ENDPOINTS:
        return None
    given = request.authorization
    if (
        given is not None
        and given.type == "basic"
        and _same(given.username, server.basic_auth_user)
        and _same(given.password, server.basic_auth_pass)
    ):
        return None
    response = jsonify(error="give the user and password of BASIC_AUTH_USER and BASIC_AUTH_PASS")
    response.status_code = 401
    response.headers["WWW-Authenticate"] = 'Basic realm="cdsel"'
    return response


def _same(given: str | None, wanted: str) -> bool:
    # In constant time, so that the password cannot be guessed letter by letter.
    return hmac.compare_digest((given or "").encode(), wanted.encode())


def _explain(fault: HTTPException) -> Response:
    response = jsonify(error=fault.description)
    response.status_code = fault.code or 500
    return response

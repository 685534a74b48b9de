"""The Flask app: Label Studio's protocol and the admin's pages, behind one door."""

from __future__ import annotations

import logging
import secrets

from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import DataError
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, ServiceUnavailable

from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig
from cdsel_backend.logs import name_request
from cdsel_backend.server import login
from cdsel_backend.server.bounds import BoundedNumber, bound_request
from cdsel_backend.server.door import Door, admit
from cdsel_backend.server.metrics import metrics
from cdsel_backend.server.pages import pages
from cdsel_backend.server.protocol import protocol
from cdsel_backend.server.proxies import Proxies
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.store.faults import DATABASE, sentence

log = logging.getLogger(__name__)


def create_app(
    server: ServerSettings, store: Store, *, listens_at: str = "", insecure: bool = False
) -> Flask:
    """Build the web server's app; it loads no model and calls nobody.

    Args:
        server, store: the settings and the state.
        listens_at: the host name that it listens at, if it is one.
        insecure: whether it is open to the network without a login, which every page then says.
    """
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.converters["int"] = BoundedNumber
    app.extensions["cdsel"] = Service(server, store)
    app.extensions["cdsel_door"] = Door(server, listens_at=listens_at)
    login.prepare(app, insecure=insecure)
    app.wsgi_app = Proxies(app.wsgi_app, server)  # type: ignore[assignment,method-assign]
    app.register_blueprint(protocol)
    app.register_blueprint(pages)
    app.register_blueprint(metrics)
    app.before_request(_name_request)
    app.teardown_request(lambda _: name_request(None, None))
    app.before_request(bound_request)
    app.before_request(_refuse_while_it_hangs)
    app.before_request(admit)
    app.after_request(_harden)
    app.register_error_handler(HTTPException, _explain)
    for fault in (RecursionError, OverflowError, DataError, UnicodeEncodeError):
        app.register_error_handler(fault, _refuse)
    for outside in DATABASE:
        app.register_error_handler(outside, _wait)
    app.register_error_handler(UnsupportedLabelConfig, lambda fault: _explain(Conflict(str(fault))))
    return app


def _harden(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("X-Frame-Options", "DENY")
    return response


def _explain(fault: HTTPException) -> Response:
    response = jsonify(error=fault.description)
    response.status_code = fault.code or 500
    for name, text in fault.get_headers():
        if name in ("Retry-After", "Allow"):
            response.headers[name] = text
    return response


def _name_request() -> None:
    number = (request.view_args or {}).get("pool_project")
    name_request(secrets.token_hex(4), number if isinstance(number, int) else None)


def _refuse_while_it_hangs() -> None:
    """Let no request wait for a database that hangs: soon all threads would, and none would be left for /health."""
    if request.endpoint in ("static", "protocol.health"):
        return
    if message := Service.current().health.refusal():
        raise ServiceUnavailable(message, retry_after=10)


def _wait(fault: Exception) -> Response:
    """The answer while the database does not."""
    message = sentence(fault)
    log.error("%s", message)
    return _explain(ServiceUnavailable(message, retry_after=10))


def _refuse(fault: Exception) -> Response:
    """The answer to values that neither Python nor a database can hold, where no check met them before."""
    log.warning("a request was refused: %s", type(fault).__name__, exc_info=fault)
    return _explain(BadRequest("this request holds a number or a text that cannot be kept"))

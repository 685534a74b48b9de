"""The blueprint that the pages hang on: who is asking, protection of forms, and faults as pages."""

from __future__ import annotations

import hashlib
import hmac
import logging
import posixpath
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, jsonify, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, NotFound, ServiceUnavailable

from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig
from cdsel_backend.phrases import form, listed
from cdsel_backend.project.sentences.models import outcome
from cdsel_backend.project.sentences.settings import source_name, value_text
from cdsel_backend.server.health import find_problems
from cdsel_backend.server.pages.messages import message
from cdsel_backend.server.service import Service
from cdsel_backend.server.status import project_status
from cdsel_backend.store import State
from cdsel_backend.store.faults import DATABASE, sentence
from cdsel_backend.store.records import Item, Json, Project

log = logging.getLogger(__name__)

pages = Blueprint("pages", __name__)

LONG_WORD = re.compile(r"(\S{40,})")
PIECE = 20  # letters of a long word that stay together

STATIC = Path(__file__).parents[1] / "static"
# Everything comes from this server, and nobody may frame it: a form here spends money.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


@pages.record_once
def _prepare(setup: BlueprintSetupState) -> None:
    app = setup.app
    app.secret_key = app.extensions["cdsel"].store.secret()
    app.config.update(
        SESSION_COOKIE_NAME="cdsel_session",  # cookies do not tell ports apart: not Label Studio's name
        SESSION_COOKIE_SAMESITE="Lax",
        SEND_FILE_MAX_AGE_DEFAULT=31_536_000,  # `static_url` changes with the content
    )
    app.jinja_env.globals.update(static_url=static_url, csrf_token=csrf_token)
    app.jinja_env.filters.update(
        count=count,
        share=share,
        ago=ago,
        moment=moment,
        iso=iso,
        duration=duration,
        number_of=number_of,
        form=form,
        listed=listed,
        breakable=breakable,
        image_name=image_name,
        message=message,
        value=value_text,
        code=code,
        outcome=outcome,
        source_name=source_name,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def csrf_token() -> str:
    """The token that each form has to send back, kept in the browser's signed session cookie."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(32)
    return str(session["csrf"])


@pages.before_request
def _protect() -> None:
    """Refuse what another site makes an admin's browser send."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    given, wanted = request.form.get("csrf_token", ""), session.get("csrf", "")
    if not wanted or not hmac.compare_digest(given.encode(), str(wanted).encode()):
        raise BadRequest("this form is too old, or from another site: go back, reload the page and try again")


@pages.after_request
def _harden(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@pages.errorhandler(HTTPException)
def _explain(fault: HTTPException) -> tuple[Response | str, int]:
    """Say what is wrong, as a page to a browser and as JSON to a script."""
    code = fault.code or 500
    message = fault.description or "This did not work."
    if code == 500:
        message = "The server stumbled over this page. Its log has the details; labelling goes on meanwhile."
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return render_template("error.html", code=code, message=message), code
    return jsonify(error=message), code


def _wait(fault: Exception) -> tuple[Response | str, int]:
    """Say that the database does not answer."""
    log.error("%s", sentence(fault))
    return _explain(ServiceUnavailable(sentence(fault)))


for _outside in DATABASE:
    pages.register_error_handler(_outside, _wait)


@pages.errorhandler(UnsupportedLabelConfig)
def _correct(fault: UnsupportedLabelConfig) -> tuple[Response | str, int]:
    """Say what to do about a labeling config that an earlier version of this program took, and this one does not."""
    fix = "Correct it in Label Studio, under Settings > Labeling Interface. Labels and models are kept."
    return _explain(Conflict(f"{str(fault)[:1].upper()}{str(fault)[1:]}. {fix}"))


def find(pool_project: int) -> Project:
    """The project that is called so in an address.

    Raises:
        NotFound: it is not connected.
    """
    service = Service.current()
    found = service.store.project_of(pool_project, service.server.label_studio_url)
    if found is None:
        raise NotFound(
            f"project {pool_project} of Label Studio is not connected; connect it under Settings > Model"
        )
    return found


def read_state(pool_project: int) -> State:
    """The state of the project that is called so in an address."""
    return State(Service.current().store, find(pool_project).id)


def status_of(state: State) -> Json:
    """A project's status, with what keeps the whole backend from its work among the problems.

    That is asked for anew: what is wrong with the disk or the database cannot be noted in the database.
    """
    status, machine = project_status(state), find_problems(Service.current().server, state.store)
    found = len(status["found"])
    return {**status, "problems": [*status["problems"][:found], *machine, *status["problems"][found:]]}


def who() -> str:
    """Who changes something, for the audit."""
    given = request.authorization
    return str(session.get("user") or (given.username if given is not None else "") or "dashboard")


def page_of(rows: int, size: int) -> tuple[int, int]:
    """The page of a table that is asked for, from 1, and how many pages of `size` rows it has, at least 1."""
    pages_in_all = max(1, -(-rows // size))
    return min(max(1, request.args.get("page", 1, type=int)), pages_in_all), pages_in_all


def csv_file(lines: str | Iterable[str], name: str) -> Response:
    """A CSV file that the browser saves under a name."""
    response = Response(lines, mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


@cache
def _fingerprint(name: str, _modified: float) -> str:
    return hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()


def static_url(name: str) -> str:
    """The address of a file in static/, another one whenever its content changes."""
    return url_for("static", filename=name, v=_fingerprint(name, (STATIC / name).stat().st_mtime))


def count(number: float) -> str:
    """`12,345`, with a thin space as people of all countries read it."""
    return f"{int(number):,}".replace(",", "\u202f")


def share(number: float | None, digits: int = 0) -> str:
    """A share as per cent, or a dash."""
    return "–" if number is None else f"{100 * number:.{digits}f} %"


def moment(seconds: float | None) -> str:
    """A time in UTC, for reading."""
    return "" if not seconds else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def ago(seconds: float | None) -> str:
    """How long ago, or until when, in the largest unit."""
    if not seconds:
        return "never"
    past = datetime.now(timezone.utc).timestamp() - seconds
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if abs(past) >= size:
            found = number_of(int(abs(past) // size), unit)
            return f"{found} ago" if past > 0 else f"in {found}"
    return "just now" if past >= 0 else "in a moment"


def number_of(count_of: int, noun: str, several: str = "") -> str:
    """`1 image`, `2 images`, with the numbers of the pages; `several` is the form for all numbers but 1."""
    return f"{count(count_of)} {form(count_of, noun, several)}"


def duration(seconds: float | None) -> str:
    """How long something takes: `40 s`, `2.1 min`, `3 h 10 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{count(hours)} h {minutes} min" if minutes and hours < 10 else f"{count(seconds / 3600 + 0.5)} h"


def iso(seconds: float) -> str:
    """A time as HTML wants it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def code(text: str) -> Markup:
    """Text with its `quoted` parts as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


def image_name(item: Item, task: str = "task") -> str:
    """An image by its task, or by its file where it lies outside Label Studio, no task of which has its number."""
    return f"{task} {item.task}" if item.source is None else posixpath.basename(item.image or item.key or "")


def breakable(text: object) -> Markup:
    """Text whose long words may be broken: a column of a table is as wide as its longest word."""
    parts = LONG_WORD.split(str(text))  # every second is a long word
    return Markup("").join(_in_pieces(part) if odd % 2 else part for odd, part in enumerate(parts))


def _in_pieces(word: str) -> Markup:
    pieces = (word[start : start + PIECE] for start in range(0, len(word), PIECE))
    return Markup('<span class="long">{}</span>').format(Markup("<wbr>").join(pieces))

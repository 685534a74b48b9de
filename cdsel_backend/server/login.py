"""The dashboard's login: a form, a session of twelve hours, and signing out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import timedelta

from flask import Flask, redirect, render_template, request, session, url_for
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from cdsel_backend.server.door import SIGNED_OUT, Door, Sessions
from cdsel_backend.server.pages.blueprint import pages
from cdsel_backend.server.service import Service

LIFETIME = timedelta(hours=12)


def prepare(app: Flask, *, insecure: bool) -> None:
    """Set up the sessions, and what every page says of the door."""
    app.session_interface = Sessions()
    app.config.update(
        PERMANENT_SESSION_LIFETIME=LIFETIME, SESSION_REFRESH_EACH_REQUEST=False, SESSION_COOKIE_HTTPONLY=True
    )

    @app.context_processor
    def door() -> dict[str, object]:
        return {"signed_in_as": session.get("user"), "insecure": insecure}


@pages.get("/login")
def login() -> Response | str:
    """Ask who it is."""
    door = Door.current()
    if not Service.current().server.asks_password or door.signed_in():
        return redirect(_back())
    return render_template("login.html", back=_back(), fault=None)


@pages.post("/login")
def sign_in() -> Response | tuple[str, int]:
    """Let in whoever knows the login."""
    user, password = request.form.get("user", ""), request.form.get("password", "")
    door = Door.current()
    if not Service.current().server.asks_password:
        return redirect(_back(), 303)
    try:
        fault = None if door.is_right(user, password) else "This user and password are not right."
    except TooManyRequests as refusal:
        return render_template("login.html", back=_back(), fault=refusal.description), 429
    if fault:
        return render_template("login.html", back=_back(), fault=fault), 401
    session.clear()  # nothing that was there before, such as the token of forms, goes on
    session.permanent = True
    session.update(user=user, id=secrets.token_hex(8), proof=door.proof())
    return redirect(_back(), 303)


@pages.post("/logout")
def sign_out() -> Response:
    """End a session, also for whoever has a copy of its cookie."""
    now = time.time()

    def with_this(ended: Mapping[str, float] | None) -> Mapping[str, float]:
        others = {name: until for name, until in (ended or {}).items() if until > now}
        return {**others, session["id"]: now + LIFETIME.total_seconds()}

    if "id" in session:
        Service.current().store.change_fact(SIGNED_OUT, with_this)
    session.clear()
    return redirect(url_for("pages.login"), 303)


def _back() -> str:
    """The page of ours that was asked for; anything that could lead elsewhere is not followed."""
    wanted = request.values.get("next", "")
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if plain and "\\" not in wanted else url_for("pages.projects")

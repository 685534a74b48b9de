"""This backend for those who have standardised on label-studio-ml 2.x: their `model.py` is one import.

    from cdsel_backend.label_studio_ml import CdselModel

`label-studio-ml start` and gunicorn run it as they run any other model. Of their server only `/predict` stays theirs,
so that a subclass may override `predict`; every other address is answered by the app of `cdsel serve`, since
label-studio-ml itself passes on few of Label Studio's events and has no pages. One worker runs beside it. Settings
come from the environment, as for `cdsel serve`; `BASIC_AUTH_USER` and `BASIC_AUTH_PASS`, or their `--basic-auth-user`
and `--basic-auth-pass`, are the login, and without one only this machine is answered.
"""

from __future__ import annotations

import atexit
import fcntl
import ipaddress
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask import Flask
from label_studio_ml import api
from label_studio_ml.model import LabelStudioMLBase

from cdsel_backend.project.connect import Connector
from cdsel_backend.server.app import create_app
from cdsel_backend.server.bounds import MAX_BODY_BYTES, project_number
from cdsel_backend.server.command import RESTART_SECONDS, check_settings, open_once, start_worker
from cdsel_backend.server.protocol import NO_MODEL, no_answers
from cdsel_backend.server.proxies import Proxies
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store

log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

START_SECONDS = 3.0  # before the worker starts: a server that forks its processes has done so by then
NO_LOGIN = (
    b"This backend has no login, so it answers this machine only: set BASIC_AUTH_USER and BASIC_AUTH_PASS, and type "
    b"both under Settings > Model in Label Studio.\n"
)


class Front:
    """The WSGI application: one app of ours in each process, since a store does not survive a fork."""

    def __init__(self, theirs: Application) -> None:
        """Take label-studio-ml's own application."""
        self._theirs = theirs
        self._apps: dict[int, Flask] = {}
        self._lock = threading.Lock()

    def app(self) -> Flask:
        """This process's app.

        Raises:
            click.ClickException: a variable of the environment is missing or has no usable value.
        """
        with self._lock:
            if os.getpid() not in self._apps:
                server = self.settings()
                open_once(server)
                store = Store.open(server)
                insecure = not server.asks_password
                self._apps[os.getpid()] = create_app(server, store, insecure=insecure)
            return self._apps[os.getpid()]

    @staticmethod
    def settings() -> ServerSettings:
        """The settings of the environment, with the login that label-studio-ml was started with."""
        server = check_settings(verbose=False)
        if api.BASIC_AUTH:
            user, password = api.BASIC_AUTH
            server = server.model_copy(update={"basic_auth_user": user, "basic_auth_pass": password})
        return server

    def __call__(self, asked: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        # Whose address it is, and which path below a prefix, is known only after what the proxy in front says.
        service: Service = self.app().extensions["cdsel"]
        return Proxies(self._choose, service.server)(asked, start_response)

    def _choose(self, asked: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = self.app()
        service: Service = app.extensions["cdsel"]
        if not service.server.asks_password and not _is_this_machine(asked.get("REMOTE_ADDR", "")):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [NO_LOGIN]
        answer: Application = self._theirs if asked.get("PATH_INFO") == "/predict" else app.wsgi_app
        return answer(asked, start_response)

    def work(self) -> None:
        """Keep a worker and the connecting of projects running, in one of the processes that have this data folder."""
        time.sleep(START_SECONDS)
        app = self.app()
        service: Service = app.extensions["cdsel"]
        server, stop = service.server, threading.Event()
        with (server.data_dir / "label_studio_ml.lock").open("w") as lock:
            # Waits while another process has it, and takes over from one that died.
            fcntl.flock(lock, fcntl.LOCK_EX)
            threading.Thread(target=Connector(server, service.store).run, args=(stop,), daemon=True).start()
            while not stop.is_set():
                worker = start_worker(server, False)
                atexit.register(worker.terminate)
                worker.join()
                atexit.unregister(worker.terminate)
                log.error("the worker ended with %s and is started again", worker.exitcode)
                stop.wait(RESTART_SECONDS)


class CdselModel(LabelStudioMLBase):  # type: ignore[misc]  # label-studio-ml has no types
    """The champion of a project, as label-studio-ml sees it."""

    def setup(self) -> None:
        """Say which version serves."""
        project = self._project()
        version = (project.champion if project is not None else None) or NO_MODEL
        if self.get("model_version") != version:  # each one set is written to a file
            self.set("model_version", version)

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """What the champion says of tasks, in their order; nothing before there is one."""
        project = self._project()
        found: list[dict[str, Any]] = []
        if project is not None and project.champion is not None:
            service: Service = FRONT.app().extensions["cdsel"]
            found = service.predictions(project, int(self.project_id), tasks)
        return found or no_answers(tasks, context)

    def _project(self) -> Any:
        service: Service = FRONT.app().extensions["cdsel"]
        number = project_number(self.project_id)
        return service.project_of(number) if number is not None else None


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == ""  # a socket of this machine has no address


def _work_beside() -> None:
    """Start the thread that keeps the worker; our own child processes import this module, too, and have none."""
    if multiprocessing.parent_process() is None:
        threading.Thread(target=FRONT.work, name="cdsel worker", daemon=True).start()


FRONT = Front(api._server.wsgi_app)
api._server.wsgi_app = FRONT
api._server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
_work_beside()
os.register_at_fork(after_in_child=_work_beside)  # as gunicorn --preload does after the import

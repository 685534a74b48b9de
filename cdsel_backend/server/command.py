"""`cdsel serve`: the web server and the worker, two processes under one command."""

from __future__ import annotations

import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import click

from cdsel_backend.labelstudio.releases import token_advice
from cdsel_backend.logs import start_log
from cdsel_backend.server.installation import opening, read_settings
from cdsel_backend.settings import ServerSettings, environment_layer, unread_variables
from cdsel_backend.signals import leave_to_parent
from cdsel_backend.store import Store
from cdsel_backend.store.data_folder import OtherFolder, claim_folder

log = logging.getLogger(__name__)

STOP_SECONDS = 20.0  # a process that has not ended by then is killed; every step can be
RESTART_SECONDS = 2.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=9090, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)
@click.option("--threads", default=8, show_default=True, type=click.IntRange(1), help="Web server threads.")
@click.option("--no-worker", is_flag=True, help="Leave the work to `cdsel worker`, here or elsewhere.")
@click.option(
    "--insecure", is_flag=True, help="Listen on the network without a login: anybody may change everything."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every request and step.")
def serve(host: str, port: int, threads: int, no_worker: bool, insecure: bool, verbose: bool) -> None:
    """Run the ML backend: a web server for Label Studio and a worker beside it.

    Settings come from the environment: LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, CDSEL_DATA_DIR,
    CDSEL_DATABASE_URL, CDSEL_PUBLIC_URL, BASIC_AUTH_USER, BASIC_AUTH_PASS and the rest of the README's table.
    """
    server, host = check_settings(verbose), host.strip("[]")
    is_open = not server.asks_password and not _is_loopback(host)
    if is_open and not insecure:
        raise click.ClickException(
            f"--host {host} lets the network in, and there is no login: set BASIC_AUTH_USER and BASIC_AUTH_PASS, or "
            "listen on 127.0.0.1 (--insecure starts all the same: anybody who reaches the port may then change all)"
        )
    check_port(host, port)
    # Slow to load: not for --help.
    from cdsel_backend.server.machine_checkup import check_file_system, check_login

    # A proxy on this machine lets the network in where only this machine is listened to.
    login = check_login(server, (server.public_url, server.dashboard_url))
    open_once(server)
    for found in (login, check_file_system(server)):
        if found.level == "warning":
            log.warning("%s: %s: %s", found.subject, found.message, found.fix)
    parts: dict[str, Callable[[], BaseProcess]] = {
        "web": lambda: _start(_web, server, host, port, threads, is_open, verbose),
    }
    if not no_worker:
        parts["worker"] = lambda: start_worker(server, verbose)
    click.echo(f"cdsel is at http://{host}:{port} — type this under Settings > Model in Label Studio.")
    run_parts(parts)


def check_settings(verbose: bool) -> ServerSettings:
    """The server's settings from the environment, when they suffice to run; starts the log.

    Raises:
        click.ClickException: a variable is missing or has no usable value; the message names it.
    """
    os.umask(0o077)  # whatever any of our processes writes is for this account alone
    server = read_settings()
    start_log(server.log_format, verbose=verbose)
    _, faults = environment_layer()
    if faults:
        # Slow to load: not for those who ask for --help.
        from cdsel_backend.project.sentences.settings import refused_alone

        raise click.ClickException("; ".join(map(refused_alone, faults)))
    for name, near in unread_variables().items():
        log.warning("%s is not read: did you mean %s? Correct its name in the environment", name, near)
    if not server.label_studio_url:
        raise click.ClickException(
            "set LABEL_STUDIO_URL to the address of Label Studio, such as http://localhost:8080: the token goes there "
            "and nowhere else"
        )
    if not server.label_studio_api_key:
        raise click.ClickException(
            f"set LABEL_STUDIO_API_KEY to a token of the account the backend works as: {token_advice('')}"
        )
    return server


def check_port(host: str, port: int) -> None:
    """See that a port can be listened on, before a process would try that again and again.

    Raises:
        click.ClickException: it cannot; the message says why.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as tried:
                if os.name != "nt":  # where it would let two programs have the same port
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
    except OSError as fault:
        raise click.ClickException(
            f"nothing can listen on {host}, port {port} ({fault.strerror or fault}): end what is there, which may be "
            "another `cdsel serve`, or choose others with --host and --port"
        ) from None


def _is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # waitress will say what is wrong with it
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def open_once(server: ServerSettings) -> None:
    """Make folder and tables before two processes would both do it, and say clearly when that fails."""
    from cdsel_backend.server.machine_checkup import check_connections  # slow to load: not for --help

    try:
        with opening(server):
            server.data_dir.mkdir(parents=True, exist_ok=True)
            server.data_dir.chmod(0o700)  # one that an earlier version made lets others read
            store = Store.open(server)
            claim_folder(store, server.data_dir)
            store.note_start()
            connections = check_connections(store)
            if connections.level != "ok":
                log.warning("%s: %s", connections.message, connections.fix)
            for file in server.data_dir.glob("*.sqlite3*"):
                file.chmod(0o600)
            store.close()
    except OtherFolder as fault:
        raise click.ClickException(str(fault)) from None


def run_parts(parts: dict[str, Callable[[], BaseProcess]]) -> None:
    """Keep processes running until SIGINT or SIGTERM, or SIGHUP where that is not ignored, as by `nohup`."""
    stop = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, lambda *_: stop.set())
    _supervise(parts, stop)


def start_worker(server: ServerSettings, verbose: bool) -> BaseProcess:
    """Start a worker process."""
    return _start(_work, server, verbose)


def _supervise(parts: dict[str, Callable[[], BaseProcess]], stop: threading.Event) -> None:
    """Keep every part running until `stop`; a part that dies is started again."""
    running = {name: start() for name, start in parts.items()}
    while not stop.wait(0.5):
        for name, process in running.items():
            if not process.is_alive():
                log.error("the %s process ended with %s and is started again", name, process.exitcode)
                if not stop.wait(RESTART_SECONDS):
                    running[name] = parts[name]()
    for process in running.values():
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in running.values():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    # Spawned, not forked: torch and open database connections do not survive a fork.
    process = multiprocessing.get_context("spawn").Process(target=target, args=(os.getpid(), *arguments))
    process.start()
    return process


def _web(
    parent: int, server: ServerSettings, host: str, port: int, threads: int, insecure: bool, verbose: bool
) -> None:
    from cdsel_backend.project.connect import Connector
    from cdsel_backend.server.app import create_app
    from cdsel_backend.server.listen import listen

    start_log(server.log_format, verbose=verbose)
    stopping = _until_told(parent)
    with _opening_or_end(server):
        store = Store.open(server)
    connector = Connector(server, store)
    threading.Thread(target=connector.run, args=(stopping,), daemon=True).start()
    app = create_app(server, store, listens_at=host, insecure=insecure)
    http = listen(app, host, port, threads=threads)
    threading.Thread(target=http.run, daemon=True).start()
    stopping.wait()
    http.close()


def _work(parent: int, server: ServerSettings, verbose: bool) -> None:
    from cdsel_backend.reconcile.worker import Worker

    start_log(server.log_format, verbose=verbose)
    with _opening_or_end(server):
        worker = Worker(server)
    worker.run(_until_told(parent))
    if worker.turns:  # some hang: the interpreter would wait for their threads
        logging.shutdown()
        os._exit(0)


@contextmanager
def _opening_or_end(server: ServerSettings) -> Iterator[None]:
    """For what opens the database: where that fails, the log says why, and this process ends and is started again."""
    try:
        with opening(server):
            yield
    except click.ClickException as fault:
        log.error("%s", fault.message)
        raise SystemExit(1) from None


def _until_told(parent: int) -> threading.Event:
    """An event that is set by SIGTERM, or when the parent is gone and nobody would ever send one."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C and the end of a terminal reach us too, but the parent decides.
    leave_to_parent("SIGINT", "SIGHUP")

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    threading.Thread(target=watch, daemon=True).start()
    return stop

"""A real `cdsel serve` for the tests, and what they ask of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from cdsel_backend.demo.process import ServerProcess, local_environment
from cdsel_backend.labelstudio.trust import certificates

POLL = 2  # seconds between two looks at a Label Studio that did not call
SOONEST, LATEST = 0.1, 1.0
"""Seconds between two questions of `eventually`: a tenth of the time that it has waited, within these.

What is asked takes time from what is waited for."""


def lasting_port() -> int:
    """A free port that stays free while its server is down: none of those that the kernel gives to connections."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Backend:
    """`cdsel serve` with its data under `folder`, which can be killed and started again."""

    def __init__(
        self, folder: Path, studio_url: str, token: str, *, options: Sequence[str] = (), **environment: str
    ) -> None:
        self.folder = folder
        self.options = options
        self.port = lasting_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = (
            local_environment()
            | {
                "LABEL_STUDIO_URL": studio_url,
                "LABEL_STUDIO_API_KEY": token,
                "CDSEL_DATA_DIR": str(folder),
                "CDSEL_POLL_SECONDS": str(POLL),
                "CDSEL_REFILL_AT": "0",  # most tests label a round to its end and look; test_refill.py has the default
                **environment,
            }
        )

    def __enter__(self) -> Backend:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def login(self) -> tuple[str, str] | None:
        user = self.environment.get("BASIC_AUTH_USER")
        return (user, self.environment["BASIC_AUTH_PASS"]) if user else None

    @property
    def command(self) -> list[str]:
        serve = [sys.executable, "-m", "cdsel_backend.cli", "serve", "--port", str(self.port)]
        return [*serve, *self.options]

    def start(self) -> None:
        log = self.folder / "backend.log"
        self.process = ServerProcess(
            "cdsel serve", self.command, env=self.environment, cwd=self.folder, log=log
        )
        try:
            self.process.wait_until(lambda: self.get("/health") is not None, 120)
        except BaseException:
            self.process.stop()
            raise

    def interrupt(self) -> int | None:
        """End it as Ctrl-C does; returns its exit status."""
        os.kill(self.process.pid, signal.SIGINT)
        eventually(lambda: not self.process.running, "it did not end", details=self.tail)
        return self.process.status

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        eventually(lambda: not self.process.running, "it was not killed")

    def ask(self, path: str) -> httpx.Response:
        # Without certificates at hand, they would be read anew for each question, which takes 50 ms of CPU.
        return httpx.get(self.url + path, timeout=60, auth=self.login, verify=certificates())

    def get(self, path: str) -> Any:
        try:
            answer = self.ask(path)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def page(self, path: str) -> str:
        return self.ask(path).text

    def status(self, project: int) -> dict[str, Any]:
        return self.get(f"/projects/{project}/status.json") or {}

    def tail(self) -> str:
        return self.process.tail(60)


def eventually(
    ask: Callable[[], Any], otherwise: str, *, seconds: float = 120.0, details: Callable[[], str] = str
) -> Any:
    """Ask until the answer is true, and give it back."""
    begun = time.monotonic()
    while True:
        answer = ask()
        if answer:
            return answer
        waited = time.monotonic() - begun
        assert waited < seconds, f"{otherwise}\n{details()}"
        time.sleep(min(max(SOONEST, waited / 10), LATEST))

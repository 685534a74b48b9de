"""A real `cdsel serve` for the tests, and what they ask of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from cdsel_backend.demo.process import free_port


class Backend:
    """`cdsel serve` as a process group of its own, with its data under `folder`."""

    def __init__(self, folder: Path, studio_url: str, token: str, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "backend.log"
        self.environment = {
            **os.environ,
            "LABEL_STUDIO_URL": studio_url,
            "LABEL_STUDIO_API_KEY": token,
            "CDSEL_DATA_DIR": str(folder),
            "CDSEL_POLL_SECONDS": "5",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Backend:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "cdsel_backend.cli", "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually(lambda: self.get("/health"), "the backend does not answer", details=self.tail)

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut does."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def get(self, path: str) -> Any:
        user = self.environment.get("BASIC_AUTH_USER")
        auth = (user, self.environment["BASIC_AUTH_PASS"]) if user else None
        try:
            answer = httpx.get(self.url + path, timeout=10, auth=auth)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def status(self, project: int) -> dict[str, Any]:
        return self.get(f"/projects/{project}/status.json") or {}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def eventually(
    ask: Callable[[], Any], otherwise: str, *, seconds: float = 120.0, details: Callable[[], str] = str
) -> Any:
    """Ask until the answer is true, and give it back."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{otherwise}\n{details()}"
        time.sleep(0.2)

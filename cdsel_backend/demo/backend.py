"""`cdsel serve` as the demo runs it, and what the demo asks of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from cdsel_backend.demo.process import ServerProcess, free_port, local_environment
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.store import Store
from cdsel_backend.store.records import Json

START_TIMEOUT = 120.0
PREDICT_CHUNK = 250


class LocalBackend:
    """A backend for one Label Studio, on a free port of 127.0.0.1, as a context manager."""

    def __init__(self, studio: LocalStudio, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.url = ""
        self._studio = studio
        self._database = f"sqlite:///{data_dir / 'cdsel.sqlite3'}"
        self._process: ServerProcess | None = None
        self._http = httpx.Client(timeout=60, trust_env=False)

    def start(self) -> None:
        """Start it, and come back once it answers.

        Raises:
            DidNotStart: it ended, or did not answer in time.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = local_environment() | {
            "LABEL_STUDIO_URL": self._studio.url,
            "LABEL_STUDIO_API_KEY": self._studio.token,
            "CDSEL_DATA_DIR": str(self.data_dir),
            "CDSEL_PUBLIC_URL": self.url,
            "CDSEL_DATABASE_URL": self._database,
        }
        command = [sys.executable, "-m", "cdsel_backend.cli", "serve", "--port", str(port)]
        log = self.data_dir / "serve.log"
        try:
            self._process = ServerProcess("cdsel serve", command, env=env, cwd=self.data_dir, log=log)
            self._process.wait_until(self._answers, START_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the web server and the worker."""
        if self._process is not None:
            self._process.stop(timeout=30)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise DidNotStart when the backend has ended by itself."""
        if self._process is not None and not self._process.running:
            raise self._process.failure("ended by itself")

    def log_tail(self) -> str:
        """The last lines of the backend's log."""
        return self._process.tail() if self._process is not None else ""

    def status(self, pool_project: int) -> Json:
        """The state of a project; `{}` while the backend does not know it, or does not answer."""
        try:
            reply = self._http.get(f"{self.url}/projects/{pool_project}/status.json")
        except httpx.HTTPError:
            self.check()
            return {}
        return dict(reply.json()) if reply.status_code == 200 else {}

    def predict(
        self, pool_project: int, tasks: Sequence[Mapping[str, Any]]
    ) -> list[tuple[str | None, float]]:
        """What the champion says of tasks of the pool, `{"id", "data"}` each: class (None: nothing) and score."""
        answers: list[tuple[str | None, float]] = []
        for start in range(0, len(tasks), PREDICT_CHUNK):
            body = {"tasks": list(tasks[start : start + PREDICT_CHUNK]), "project": f"{pool_project}.0"}
            reply = self._http.post(f"{self.url}/predict", json=body)
            reply.raise_for_status()
            results = reply.json()["results"]
            answers += [_choice(result) for result in results] or [(None, 0.0)] * len(body["tasks"])
        return answers

    def vectors(self, pool_project: int) -> tuple[list[int], NDArray[np.float32]]:
        """The embedded pool, read from the backend's database: pool tasks, and their vectors (n, d)."""
        store = Store(self._database, self.data_dir / "vectors")
        try:
            project = store.project_of(pool_project)
            if project is None:
                return [], np.empty((0, 0), dtype=np.float32)
            ids, vectors = store.vectors(project.id, project.backbone)
            tasks = {row.id: int(row.task) for row in store.items(project.id)}
            return [tasks[int(item)] for item in ids], vectors
        finally:
            store.close()

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def _choice(result: Mapping[str, Any]) -> tuple[str | None, float]:
    parts = result.get("result") or []
    return (parts[0]["value"]["choices"][0] if parts else None), float(result.get("score") or 0.0)

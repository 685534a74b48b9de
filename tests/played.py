"""A server that plays as much of Label Studio as connecting a project asks for, where a real one would only be slow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving import running

TOKEN = "0" * 40


class PlayedStudio:
    """What it holds: `projects`, `backends` and `webhooks`, by project; `seen` are the requests, as "GET /path"."""

    def __init__(self) -> None:
        self.url = ""
        self.projects: dict[int, dict[str, Any]] = {}
        self.backends: dict[int, list[dict[str, Any]]] = {}
        self.webhooks: list[dict[str, Any]] = []
        self.seen: list[str] = []

    def lists(self, project: int, url: str, label_config: str, extra_params: object = "") -> None:
        """Have a project with this backend under Settings > Model."""
        named = {"id": project, "title": f"P{project}", "label_config": label_config}
        self.projects[project] = self.projects.get(project, {}) | named
        self.backends[project] = [{"id": project, "url": url, "extra_params": extra_params}]

    def answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        parts = [part for part in path.split("/") if part]
        if parts[:2] == ["api", "projects"] and parts[3:] == ["model-versions"]:
            number = int(parts[2])
            found = {"static": [], "live": self.backends.get(number, [])}
            return (200, found) if number in self.projects else (404, {})
        if parts[:2] == ["api", "projects"] and len(parts) == 3:
            found = self.projects.get(int(parts[2]))
            return (200, found) if found else (404, {})
        if parts[:2] == ["api", "webhooks"] and method == "DELETE":
            self.webhooks = [hook for hook in self.webhooks if hook["id"] != int(parts[2])]
            return 204, None
        if parts[:2] == ["api", "webhooks"] and method == "GET":
            return 200, [hook for hook in self.webhooks if str(hook["project"]) == query["project"][0]]
        return 404, {}


@contextmanager
def played_studio() -> Iterator[PlayedStudio]:
    """Run one on a free port."""
    studio = PlayedStudio()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            studio.seen.append(f"{self.command} {self.path}")
            url = urlsplit(self.path)
            status, content = studio.answer(self.command, url.path, parse_qs(url.query))
            body = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as studio.url:
        yield studio

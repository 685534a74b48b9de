"""A small reverse proxy as a hospital has one in front of everything: it takes a path prefix away."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from serving import running

HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-encoding",
    "content-length",
    "host",
    "date",
    "server",
}


@dataclass
class ReverseProxy:
    """Where it is, and whither it leads; `target` may be set later. `missed`: paths outside the prefix."""

    url: str
    prefix: str
    target: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Its address without the prefix."""
        return self.url.removesuffix(self.prefix)


@contextmanager
def reverse_proxy(
    prefix: str, *, headers: Mapping[str, str] | None = None, certificate: tuple[str, str] | None = None
) -> Iterator[ReverseProxy]:
    """Forward what comes below `prefix`, without it; all else is 404.

    Args:
        prefix: such as /labelstudio.
        headers: what it adds to each request.
        certificate: the files of a certificate and its key, for HTTPS.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                proxy.missed.append(self.path)
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = [(name, text) for name, text in self.headers.items() if name.lower() not in HOP]
            sent += [("Host", self.headers["Host"]), *proxy.headers.items()]
            answer = client.request(
                self.command, f"{proxy.target}{self.path[len(prefix) :]}", headers=sent, content=body
            )
            self.send_response(answer.status_code)
            for name, text in answer.headers.multi_items():
                if name.lower() not in HOP:
                    self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_POST = do_HEAD = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            return  # a browser that went away

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    proxy = ReverseProxy(
        f"{scheme}://127.0.0.1:{server.server_port}{prefix}", prefix, headers=dict(headers or {})
    )
    with server, httpx.Client(timeout=60, trust_env=False, follow_redirects=False) as client, running(server):
        yield proxy

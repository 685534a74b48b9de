"""Which addresses are Label Studio's own: those below LABEL_STUDIO_URL, and below what it calls itself.

Label Studio writes its own name, LABEL_STUDIO_HOST, into every task that it makes from a storage. This backend may
reach it by another address. What Label Studio says when asked with our token is believed, what a task says is not; and
of an address below that name only the path is used: the request, and with it the token, goes to LABEL_STUDIO_URL.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from cdsel_backend.labelstudio.connection import Connection

PORTS = {"http": 80, "https": 443}  # where an address names none

CLOUD = ("s3", "gs", "azure-blob")  # schemes of cloud storage, whose addresses Label Studio signs

# Uploads and local files; cloud storage, signed for a task or a project.
_IMAGE_PATH = re.compile(r"/(data/|storage-data/uploaded/|(tasks|projects)/[0-9]+/(presign|resolve)/?$)")


def signing_path(task: int | str, address: str) -> str:
    """The path of Label Studio that signs an address of cloud storage and leads there; it does so for a task only."""
    uri = quote(base64.b64encode(address.encode("utf-8", "replace")).decode())
    return f"/tasks/{task}/presign/?fileuri={uri}"


class Home:
    """One Label Studio's own addresses."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._url = urlsplit(client.url)

    def has(self, url: str) -> bool:
        """Whether an address is of the very host of LABEL_STUDIO_URL: only there the token may go."""
        try:
            parts = urlsplit(url)
            port, own = (address.port or PORTS.get(address.scheme) for address in (parts, self._url))
        except ValueError:  # a port that is none
            return False
        return (parts.scheme, parts.hostname, port) == (self._url.scheme, self._url.hostname, own)

    def address_of(self, url: str) -> str | None:
        """Where an address of Label Studio's is asked for, below LABEL_STUDIO_URL; None where it is another host's.

        Args:
            url: a path of Label Studio, or a whole http(s) address.

        Raises:
            LabelStudioUnreachable, TokenRefused: Label Studio could not be asked what it calls itself.
        """
        parts = urlsplit(url)
        path = parts._replace(scheme="", netloc="").geturl()
        if not parts.netloc or self.has(url):
            return f"{self._client.url}{_below(self._url.path, path)}"
        if _IMAGE_PATH.search(parts.path) is None:
            return None  # nothing that Label Studio would have written
        named = urlsplit(self._client.own_address())
        if named.netloc and _same_place(parts, named):
            return f"{self._client.url}{_below(named.path, path)}"
        return None

    def is_image(self, url: str) -> bool:
        """Whether Label Studio keeps images at an address of its own: only there the token is shown."""
        path = _below(self._url.path, urlsplit(url).path)
        plain = unquote(unquote(path))  # a proxy may decode once more than Label Studio
        climbs = any(part in (".", "..") for part in plain.replace("\\", "/").split("/"))
        return _IMAGE_PATH.match(path) is not None and _IMAGE_PATH.match(plain) is not None and not climbs


def _below(prefix: str, path: str) -> str:
    """A path without the prefix that an address has before Label Studio's own paths."""
    prefix = prefix.rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def _same_place(url: SplitResult, named: SplitResult) -> bool:
    """Whether an address lies below Label Studio's name; HTTP and HTTPS on their own ports are one place."""
    try:
        ports = [
            address.port if address.port != PORTS.get(address.scheme) else None for address in (url, named)
        ]
    except ValueError:  # a port that is none
        return False
    prefix = named.path.rstrip("/")
    return url.hostname == named.hostname and ports[0] == ports[1] and url.path.startswith(f"{prefix}/")

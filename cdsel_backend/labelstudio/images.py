"""A task's image address -> its bytes, from wherever Label Studio keeps images."""

from __future__ import annotations

import base64
import binascii
import json
import time
from contextlib import AbstractContextManager
from urllib.parse import quote, unquote_to_bytes, urlsplit

import httpx
from label_studio_sdk.core.api_error import ApiError

from cdsel_backend.labelstudio.connection import AWAY, Connection, LabelStudioError
from cdsel_backend.pool.decode import UnreadableImage

MAX_BYTES = 200 * 1024 * 1024
MAX_SECONDS = 120.0
"""For one image, so that a server that trickles cannot hold the loop."""
TOO_MANY = 429  # the status of a server that wants fewer requests

_CLOUD = ("s3", "gs", "azure-blob")
_PORTS = {"http": 80, "https": 443}


class ImageUnavailable(UnreadableImage):
    """An image whose bytes cannot be had; the message names the address and, where known, the mend."""


class _Unauthorized(Exception):
    """Label Studio itself answered 401."""


class ImageReader:
    """Reads images as a task's data names them. May be used from several threads."""

    def __init__(self, client: Connection, *, max_bytes: int = MAX_BYTES) -> None:
        """Take the client whose Label Studio holds the tasks; larger files than `max_bytes` are refused."""
        self._client = client
        self._max_bytes = max_bytes
        self._home = urlsplit(client.url)

    def read(self, url: str, task_id: int) -> bytes:
        """The bytes of an image.

        Args:
            url: a path of Label Studio (/data/upload/..., /data/local-files/?d=..., /tasks/.../presign/...),
                an http(s) address, s3://, gs:// or azure-blob:// (which Label Studio signs), or data:.
            task_id: the task it belongs to: Label Studio signs cloud addresses for a task only.

        Raises:
            ImageUnavailable: not there, not allowed, too large, too slow, or an address of another kind.
            LabelStudioUnreachable, TokenRefused: Label Studio itself is the trouble, not this image.
        """
        url = url.strip()
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ImageUnavailable(f"{_short(url)} is no address: {error}") from error
        if parts.scheme == "data":
            return self._inline(url)
        if parts.scheme in _CLOUD:
            uri = quote(base64.b64encode(url.encode()).decode())
            return self._fetch(f"/tasks/{task_id}/presign/?fileuri={uri}", url, at_home=True)
        if not parts.scheme and url.startswith("/"):
            return self._fetch(self._without_prefix(url), url, at_home=True)
        if parts.scheme in _PORTS:
            if self._is_home(url):
                path = self._without_prefix(parts._replace(scheme="", netloc="").geturl())
                return self._fetch(path, url, at_home=True)
            return self._fetch(url, url, at_home=False)
        raise ImageUnavailable(
            f"{_short(url)} is no address that can be read: a path of Label Studio such as /data/upload/... or "
            "/data/local-files/?d=..., http(s)://, s3://, gs:// or azure-blob:// is due"
        )

    def _is_home(self, url: str) -> bool:
        """Whether an address is of Label Studio's own host: only there the token may go."""
        try:
            parts = urlsplit(url)
            port, home_port = (part.port or _PORTS.get(part.scheme) for part in (parts, self._home))
        except ValueError:  # a port that is none
            return False
        return (parts.scheme, parts.hostname, port) == (self._home.scheme, self._home.hostname, home_port)

    def _without_prefix(self, path: str) -> str:
        """A path below LABEL_STUDIO_URL, which may itself have one that Label Studio puts before its own."""
        prefix = self._home.path.rstrip("/")
        return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path

    def _fetch(self, target: str, url: str, *, at_home: bool) -> bytes:
        try:
            if not at_home:
                return self._drain(self._client.stream_elsewhere(target), url, at_home=False)
            try:
                return self._drain(self._client.stream(target), url, at_home=True)
            except _Unauthorized:
                if not self._client.renew_access():
                    raise
                return self._drain(self._client.stream(target), url, at_home=True)
        except (_Unauthorized, ApiError) as error:  # ApiError: the token could not be renewed
            raise self._client.refusal(_short(url), 401) from error
        except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError) as error:
            # A presigned address leads to a storage elsewhere: its failure is not Label Studio's.
            request = getattr(error, "_request", None)
            words = f"{_short(url)} cannot be read: {str(error) or type(error).__name__}"
            if at_home and (request is None or self._is_home(str(request.url))):
                raise self._blame(words, self._client.unreachable(f"reading {_short(url)}", error)) from error
            raise ImageUnavailable(words) from error

    def _drain(self, opened: AbstractContextManager[httpx.Response], url: str, *, at_home: bool) -> bytes:
        deadline = time.monotonic() + MAX_SECONDS
        with opened as response:
            if not response.is_success:
                if at_home and self._is_home(str(response.url)):
                    if response.status_code == 401:
                        raise _Unauthorized
                    if response.status_code in AWAY:
                        words = f"{_short(url)} answered {response.status_code}"
                        raise self._blame(words, self._client.refusal(_short(url), response.status_code))
                raise ImageUnavailable(self._refusal(response, url, at_home=at_home))
            if response.history and response.url.path.rstrip("/").endswith("/user/login"):
                raise ImageUnavailable(
                    f"{_short(url)}: Label Studio asks for a login instead of giving the image"
                )
            if int(response.headers.get("content-length") or 0) > self._max_bytes:
                raise self._too_large(url)
            parts, size = [], 0
            for part in response.iter_bytes():
                size += len(part)
                if size > self._max_bytes:
                    raise self._too_large(url)
                if time.monotonic() > deadline:
                    raise ImageUnavailable(f"{_short(url)} did not arrive within {MAX_SECONDS:.0f} s")
                parts.append(part)
        return b"".join(parts)

    def _blame(self, words: str, fault: LabelStudioError) -> Exception:
        """What to raise for an image that Label Studio gave as little as if it were away.

        `fault` where it is away for everything, or asks for fewer requests; else it is this image that is unavailable.
        """
        if fault.status == TOO_MANY or not self._client.answers():
            return fault
        return ImageUnavailable(
            f"{words}, though Label Studio itself answers: see that its storage gives this file, and in less time "
            "than the proxy before Label Studio grants"
        )

    def _refusal(self, response: httpx.Response, url: str, *, at_home: bool) -> str:
        words = f"{_short(url)} answered {response.status_code}"
        path = urlsplit(url).path
        if at_home and not self._is_home(str(response.url)):
            return f"{words}: the storage that Label Studio points to refused ({response.url.host})"
        if not at_home:
            if response.status_code in (401, 403) and path.startswith("/data/"):
                return (
                    f"{words}: is this Label Studio's public address? Tasks need the path alone ({path}), "
                    "since the token goes to LABEL_STUDIO_URL only"
                )
            return words
        if urlsplit(url).scheme in _CLOUD:
            return f"{words}: no cloud storage of the task's project covers it, or the storage's keys are refused"
        if path.startswith("/data/local-files"):
            return (
                f"{words}: the file is missing, or no Local storage of the project covers its folder "
                "(Settings > Cloud Storage), or LOCAL_FILES_SERVING_ENABLED is off"
            )
        if path.startswith("/data/upload"):
            return f"{words}: the uploaded file is missing"  # Label Studio 1.23.2 answers 500 for it
        return words

    def _inline(self, url: str) -> bytes:
        head, comma, body = url.partition(",")
        try:
            data = (
                base64.b64decode(unquote_to_bytes(body), validate=True)
                if head.lower().endswith(";base64")
                else unquote_to_bytes(body)
            )
        except (binascii.Error, ValueError) as error:
            raise ImageUnavailable(f"{_short(url)} is damaged: {error}") from error
        if not comma:
            raise ImageUnavailable(f"{_short(url)} is damaged: it has no comma")
        if len(data) > self._max_bytes:
            raise self._too_large(url)
        return data

    def _too_large(self, url: str) -> ImageUnavailable:
        return ImageUnavailable(f"{_short(url)} is larger than {self._max_bytes // 2**20} MiB")


def _short(url: str) -> str:
    """An address as shown to people: no query with signatures in it, no inline data."""
    if url.startswith("data:"):
        return "the inline image"
    parts = url.split("?", 1)
    kept = url if len(parts) == 1 or parts[1].startswith("d=") else parts[0]
    return kept if len(kept) <= 160 else kept[:157] + "..."

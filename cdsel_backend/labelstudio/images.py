"""A task's image address -> its bytes, from wherever Label Studio keeps images."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import httpx
from label_studio_sdk.core.api_error import ApiError

from cdsel_backend.labelstudio.connection import Connection
from cdsel_backend.labelstudio.deadline import timed, within
from cdsel_backend.labelstudio.errors import AWAY, FAILED, LabelStudioError
from cdsel_backend.labelstudio.home import CLOUD, PORTS, Home, signing_path
from cdsel_backend.labelstudio.hosts import (
    CONNECT_SECONDS,
    READ_SECONDS,
    PrivateAddress,
    PublicHosts,
    no_cookies,
)
from cdsel_backend.labelstudio.trust import certificates, trust_hint
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.patience import read_in_time
from cdsel_backend.pool.roots import OutsideRoot, TooLarge

MAX_BYTES = 200 * 1024 * 1024
MAX_SECONDS = 120.0
"""For one image, from the connection to the last byte, redirects included."""
SLOW_SECONDS = 10.0
"""A host that fails after as long counts as one that does not answer, whatever it failed by."""
TOO_MANY = 429  # the status of a server that wants fewer requests

MAX_REDIRECTS = 6


class ImageUnavailable(UnreadableImage):
    """An image whose bytes cannot be had; the message names the address and, where known, the fix."""


class _Unauthorized(Exception):
    """Label Studio itself answered 401."""


class ImageReader:
    """Reads images as a task's data names them. May be used from several threads.

    Label Studio's token goes to Label Studio, and there only to the addresses under which it keeps images.
    """

    def __init__(self, client: Connection, *, max_bytes: int = MAX_BYTES) -> None:
        """Take the client whose Label Studio holds the tasks; larger files than `max_bytes` are refused."""
        self._client = client
        self._max_bytes = max_bytes
        self._home = Home(client)
        self._elsewhere = PublicHosts(client.image_hosts)
        # Not the client of the API: what an image request is answered must not change what the API is asked.
        self._at_home = timed(
            httpx.Client(
                timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                cookies=no_cookies(),
                verify=certificates(),
            )
        )

    def read(self, url: str, task_id: int) -> bytes:
        """The bytes of an image.

        Args:
            url: a path of Label Studio (/data/upload/..., /data/local-files/?d=..., /tasks/.../presign/...),
                an http(s) address, s3://, gs:// or azure-blob:// (which Label Studio signs), or data:.
            task_id: the task it belongs to: Label Studio signs cloud addresses for a task only.

        Raises:
            ImageUnavailable: not there, not allowed, too large, too slow, or an address of another kind.
            HostSuspended: its host does not answer and is left alone for a while.
            LabelStudioUnreachable, TokenRefused: Label Studio itself is the trouble, not this image.
        """
        url = url.strip()
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ImageUnavailable(f"{_short(url)} is no address: {error}") from error
        if (here := self._read_here(url)) is not None:
            return here
        if parts.scheme == "data":
            return self._inline(url)
        if parts.scheme in CLOUD:
            return self._fetch(f"{self._client.url}{signing_path(task_id, url)}", url)
        if parts.scheme in PORTS or (not parts.scheme and not parts.netloc and url.startswith("/")):
            return self._fetch(self._home.address_of(url) or url, url)
        raise ImageUnavailable(
            f"{_short(url)} is no address that can be read: a path of Label Studio such as /data/upload/... or "
            "/data/local-files/?d=..., http(s)://, s3://, gs:// or azure-blob:// is needed"
        )

    def _read_here(self, url: str) -> bytes | None:
        """The bytes of a file that this machine has, by CDSEL_IMAGE_ROOTS; None where it has not."""
        roots = self._client.image_roots
        folder = roots.folder_of(url)
        if folder is None:
            return None
        try:
            return read_in_time(str(folder), lambda: roots.read(url, self._max_bytes))
        except OutsideRoot as error:
            raise ImageUnavailable(
                f"{_short(url)} is not read: it leads out of the folder that CDSEL_IMAGE_ROOTS gives for it"
            ) from error
        except TooLarge as error:
            raise self._too_large(url) from error

    def _fetch(self, target: str, url: str) -> bytes:
        """The bytes at an address, whatever it redirects to."""
        renewed, began_at_home = False, self._home.has(target)
        deadline = time.monotonic() + MAX_SECONDS
        for _ in range(MAX_REDIRECTS):
            at_home = self._home.has(target)
            try:
                with (
                    self._asking(target, deadline),
                    self._open(target, signed=at_home and self._home.is_image(target)) as response,
                ):
                    if not response.has_redirect_location:
                        return self._drain(response, url, began_at_home=began_at_home)
                    target = urljoin(target, response.headers["location"])
            except UnreadableImage:
                raise
            except _Unauthorized as error:
                if not renewed and self._client.renew_access():
                    renewed = True
                    continue
                raise self._client.refusal(_short(url), 401) from error
            except (ApiError, json.JSONDecodeError) as error:
                raise self._client.not_renewed(error) from error
            except PrivateAddress as error:
                raise ImageUnavailable(f"{_short(url)} is not read: {error}") from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = f"{_short(url)} cannot be read: {str(error) or type(error).__name__}{trust_hint(str(error))}"
                if isinstance(error, httpx.TimeoutException) and time.monotonic() >= deadline:
                    problem = f"{_short(url)} did not arrive within {MAX_SECONDS:.0f} s"
                # A presigned address leads to a storage elsewhere: its failure is not Label Studio's.
                if at_home and not isinstance(error, httpx.InvalidURL):
                    raise self._blame(
                        problem, self._client.unreachable(f"reading {_short(url)}", error)
                    ) from error
                raise ImageUnavailable(problem) from error
            except (UnicodeError, ValueError) as error:  # a host name that is none
                raise ImageUnavailable(f"{_short(url)} is no address: {error}") from error
        raise ImageUnavailable(f"{_short(url)} redirects more than {MAX_REDIRECTS} times")

    @contextmanager
    def _asking(self, target: str, deadline: float) -> Iterator[None]:
        """One request, until a time of the monotonic clock, to a host that is not left alone just now.

        Raises:
            HostSuspended: it is, or was now late too often.
        """
        begun, suspensions = time.monotonic(), self._client.suspensions
        if self._home.has(target):  # whose absence the caller judges: it is every project's
            with within(deadline - begun):
                yield
            return
        host = urlsplit(target).netloc.rpartition("@")[2].lower()
        suspensions.admit(host)
        try:
            with within(deadline - begun):
                yield
        except httpx.TransportError as error:
            late = isinstance(error, httpx.TimeoutException) or time.monotonic() - begun > SLOW_SECONDS
            if late and (suspended := suspensions.timed_out(host)):
                raise suspended from error
            if not late:
                suspensions.answered(host)
            raise
        except UnreadableImage:
            suspensions.answered(host)
            raise
        suspensions.answered(host)

    def _open(self, target: str, *, signed: bool) -> AbstractContextManager[httpx.Response]:
        """Ask for what is at an address."""
        if self._home.has(target):
            return self._at_home.stream("GET", target, headers=self._client.signature() if signed else {})
        return self._elsewhere.client(target).stream("GET", target)

    def _drain(self, response: httpx.Response, url: str, *, began_at_home: bool) -> bytes:
        answered_at_home = self._home.has(str(response.url))
        if not response.is_success:
            signed = "authorization" in response.request.headers
            if answered_at_home and response.status_code == 401 and signed:
                raise _Unauthorized
            if answered_at_home and response.status_code in AWAY:
                problem = f"{_short(url)} answered {response.status_code}"
                raise self._blame(problem, self._client.refusal(_short(url), response.status_code))
            if answered_at_home and response.status_code == FAILED and (failing := self._client.failing()):
                raise failing
            raise ImageUnavailable(self._refusal(response, url, at_home=began_at_home))
        if answered_at_home and response.url.path.rstrip("/").endswith("/user/login"):
            raise ImageUnavailable(
                f"{_short(url)}: Label Studio asks for a login instead of giving the image"
            )
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            raise self._too_large(url)
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > self._max_bytes:
                raise self._too_large(url)
            parts.append(part)
        return b"".join(parts)

    def _blame(self, problem: str, fault: LabelStudioError) -> Exception:
        """The error to raise for an image for which Label Studio does not answer as it should.

        That is `fault` where Label Studio is away for everything, or asks for fewer requests. Else only this image is
        unavailable, for the reason `problem`.
        """
        if fault.status == TOO_MANY or not self._client.answers():
            return fault
        return ImageUnavailable(
            f"{problem}, though Label Studio itself answers: see that its storage gives this file, and in less time "
            "than the proxy before Label Studio grants"
        )

    def _refusal(self, response: httpx.Response, url: str, *, at_home: bool) -> str:
        problem = f"{_short(url)} answered {response.status_code}"
        path = urlsplit(url).path
        if at_home and not self._home.has(str(response.url)):
            return f"{problem}: the storage that Label Studio points to refused ({response.url.host})"
        if not at_home:
            if response.status_code in (401, 403) and "/data/" in path:
                return (
                    f"{problem}: is this Label Studio's public address? Start Label Studio with LABEL_STUDIO_HOST set "
                    f"to it, or write the path alone ({path}) into the tasks: the token goes to LABEL_STUDIO_URL only"
                )
            return problem
        if urlsplit(url).scheme in CLOUD:
            return f"{problem}: no cloud storage of the task's project covers it, or the storage's keys are refused"
        if path.startswith("/data/local-files"):
            return (
                f"{problem}: the file is missing, or no Local storage of the project covers its folder "
                "(Settings > Cloud Storage), or LOCAL_FILES_SERVING_ENABLED is off"
            )
        if path.startswith("/data/upload"):
            return f"{problem}: the uploaded file is missing"  # Label Studio 1.23.2 answers 500 for it
        return problem

    def _inline(self, url: str) -> bytes:
        head, comma, body = url.partition(",")
        try:
            data = (
                base64.b64decode(_padded(b"".join(unquote_to_bytes(body).split())), validate=True)
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
    url = re.sub(r"^(https?://)[^/?#]*@", r"\1", url)  # a user and password
    parts = url.split("?", 1)
    kept = url if len(parts) == 1 or parts[1].startswith("d=") else parts[0]
    return kept if len(kept) <= 160 else kept[:157] + "..."


def _padded(encoded: bytes) -> bytes:
    """Base64 with the "=" at its end that many leave out, and browsers do without."""
    bare = encoded.rstrip(b"=")
    return bare + b"=" * (-len(bare) % 4)

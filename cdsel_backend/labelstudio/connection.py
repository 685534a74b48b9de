"""A signed connection to one Label Studio.

On label_studio_sdk's own HTTP client, which signs each request and renews the access token of a personal
token. Its typed methods are left aside: they take two seconds to load, build a pydantic model for every
task and annotation, drop fields that the models do not know, follow a listing by page number (which skips
tasks when others are deleted meanwhile), and give no access to what an import answers (`task_ids`,
`created`).
"""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from cachetools import TTLCache
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.client_wrapper import SyncClientWrapper
from label_studio_sdk.core.request_options import RequestOptions

from cdsel_backend.labelstudio.deadline import timed, within
from cdsel_backend.labelstudio.errors import (
    FAILED,
    LabelStudioError,
    LabelStudioUnreachable,
    NotFound,
    RequestRefused,
    TokenRefused,
    failing_everywhere,
    read_json,
    reason_in,
    reason_of,
    refusal,
)
from cdsel_backend.labelstudio.hosts import ImageHosts
from cdsel_backend.labelstudio.releases import has_personal_tokens
from cdsel_backend.labelstudio.tokens import is_personal, not_accepted, of_nobody, release_at
from cdsel_backend.labelstudio.trust import certificates, trust_hint
from cdsel_backend.pool.roots import ImageRoots
from cdsel_backend.pool.suspension import Suspensions
from cdsel_backend.store.records import Json

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT = 60.0
ANSWER_TIMEOUT = 10.0  # for what it always has at hand
ACCESS_SECONDS = 45.0
"""For which a short-lived token is used: a personal token that was revoked is noticed after that."""
PATIENCE = 5  # times the time-out of one wait: what a request may take in all, repetitions included
RETRIES = 2  # after 1 and 2 seconds; whoever loops over projects waits longer
NAME_SECONDS = 3600.0  # for which it is not asked again what it calls itself
PAGE = 1000


@dataclass
class _Access:
    """The short-lived token of a connection and its copies, and since when they use it."""

    since: float


class Connection:
    """One Label Studio and one user of it; may be used from several threads.

    Reads and repeatable writes are tried again a few times when Label Studio is away or overloaded; a
    POST never is, since a lost answer does not say that nothing was created.
    """

    def __init__(self, url: str, api_key: str, *, image_hosts: str = "", image_roots: str = "") -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: as in LABEL_STUDIO_URL.
            image_hosts: as in CDSEL_IMAGE_HOSTS.
            image_roots: as in CDSEL_IMAGE_ROOTS.
            api_key: a personal access token (a JWT, from which short-lived ones are made) or a legacy
                token (40 hex digits, which Label Studio must be told to accept).

        Raises:
            LabelStudioError: the address is none.
            TokenRefused: the token is empty, expired or cannot be one.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LabelStudioError(
                f"LABEL_STUDIO_URL is {url!r}: an address such as http://localhost:8080 is needed"
            )
        self.url = url.rstrip("/")
        self.image_hosts = ImageHosts.parse(image_hosts)
        self.image_roots = ImageRoots.parse(image_roots)
        self.suspensions = Suspensions()
        self._token = api_key
        if not api_key.strip() or not api_key.isascii():
            raise self._refused("is empty or no token")
        try:
            # With a slash at its end, or the SDK forgets a path prefix when it renews the token.
            self._wrapper = SyncClientWrapper(
                base_url=f"{self.url}/",
                api_key=api_key.strip(),
                timeout=TIMEOUT,
                httpx_client=httpx.Client(timeout=TIMEOUT, follow_redirects=True, verify=certificates()),
            )
        except ApiError as error:
            raise self._refused(reason_in(error.body), error.status_code) from error
        self._http = self._wrapper.httpx_client
        timed(self._http.httpx_client)
        self._access = _Access(time.monotonic())
        self._permit: Callable[[], None] = lambda: None
        self._said: TTLCache[str, str] = TTLCache(maxsize=1, ttl=NAME_SECONDS)

    def with_permit(self, permit: Callable[[], None]) -> Self:
        """This connection, calling `permit` before each request that changes something; what it raises stops that."""
        permitted = copy.copy(self)
        permitted._permit = permit
        return permitted

    def signature(self) -> dict[str, str]:
        """The header that shows our token, renewed where it has run out.

        Raises:
            ApiError, httpx.HTTPError, json.JSONDecodeError: it could not be renewed.
        """
        headers = self._wrapper.get_headers()
        return {name: text for name, text in headers.items() if name.lower() == "authorization"}

    def answers(self) -> bool:
        """Whether Label Studio answers at all, to us."""
        try:
            self.request("GET", "/api/version", timeout=ANSWER_TIMEOUT)
        except LabelStudioError:
            return False
        return True

    def own_address(self) -> str:
        """What Label Studio calls itself (its LABEL_STUDIO_HOST), without a slash at its end; "" where it has no name.

        It has no route for that alone; but it writes its name before the pictures of its templates, which come with it.

        Raises:
            LabelStudioUnreachable, TokenRefused: it could not be asked.
        """
        if "name" not in self._said:
            try:
                found = self.get("/api/templates/")["templates"]
                pictures = (str(template.get("image") or "") for template in found)
                names = Counter(
                    address.partition("/static/")[0] for address in pictures if "/static/" in address
                )
            except (RequestRefused, AttributeError, KeyError, TypeError):  # no version that was met
                names = Counter()
            self._said["name"] = names.most_common(1)[0][0] if names else ""
        return self._said["name"]

    def prefix(self) -> str:
        """The path below which browsers find Label Studio, such as /labelstudio; "" at the root of its host.

        Raises:
            LabelStudioUnreachable, TokenRefused: it could not be asked what it calls itself.
        """
        return urlsplit(self.own_address() or self.url).path.rstrip("/")

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[Json]:
        """Every entry of a listing."""
        page = 1
        while True:
            answer = self.get(path, {**params, "page": page, "page_size": PAGE})
            if isinstance(answer, list):  # Label Studio does not page this listing
                yield from answer
                return
            yield from answer["results"]
            if not answer["next"]:
                return
            page += 1

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON that a path answers."""
        return read_json(self.request("GET", path, params=params))

    def send(self, method: str, path: str, body: Any, **options: Any) -> Any:
        """Send JSON; the JSON that is answered."""
        return read_json(self.request(method, path, body, **options))

    def delete(self, path: str) -> None:
        """Delete what is at a path; what is gone already is no error."""
        with suppress(NotFound):
            self.request("DELETE", path)

    def send_file(self, path: str, name: str, data: bytes, *, params: dict[str, Any], timeout: int) -> Any:
        """Send a file as a form does; the JSON that is answered."""
        options = RequestOptions(timeout_in_seconds=timeout, max_retries=0)
        try:
            with within(PATIENCE * timeout):
                response = self._http.request(
                    path, method="POST", params=params, files={"file": (name, data)}, request_options=options
                )
        except (httpx.HTTPError, httpx.InvalidURL, ApiError) as error:
            raise self.unreachable(f"POST {path}", error) from error
        if not response.is_success:
            raise self.refusal(f"POST {path}", response.status_code, reason_of(response))
        return read_json(response)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, Any] | None = None,
        timeout: float = TIMEOUT,
        renewed: bool = False,
        retries: int | None = None,
    ) -> httpx.Response:
        """One request; every answer but a success is raised as a LabelStudioError.

        Args:
            method, path, body, params: what is asked; the body is sent as JSON.
            timeout: seconds of one wait.
            renewed: whether it was asked before, with a short-lived token that was refused.
            retries: after an answer that may be another in a moment; None: as is usual for the method.
        """
        if method != "GET":
            self._permit()
        if is_personal(self._token) and time.monotonic() - self._access.since > ACCESS_SECONDS:
            self.renew_access()
        response = self._exchange(method, path, body, params, timeout, retries)
        if response.status_code == 401 and not renewed and self.renew_access():
            return self.request(
                method, path, body, params=params, timeout=timeout, renewed=True, retries=retries
            )
        if response.history and method != "GET":
            # A redirected POST arrives as a GET: nothing was written, whatever the answer says.
            raise RequestRefused(
                f"LABEL_STUDIO_URL: {self.url} redirects to {response.url.copy_with(path='/', query=None)}; "
                "set the address it redirects to"
            )
        if response.is_success:
            return response
        error = self.refusal(f"{method} {path}", response.status_code, reason_of(response))
        if isinstance(error, RequestRefused) and error.status in (404, FAILED):
            if self._without_organisation():
                raise TokenRefused(of_nobody(self.url, error.status), error.status)
            if error.status == FAILED and (failing := self.failing()):
                raise failing
        raise error

    def _exchange(
        self,
        method: str,
        path: str,
        body: Any,
        params: dict[str, Any] | None,
        timeout: float,
        retries: int | None,
    ) -> httpx.Response:
        """Send a request, and return what is answered, whatever it is.

        Raises:
            LabelStudioUnreachable, TokenRefused: nothing is answered, or the token was not renewed before.
        """
        # The SDK repeats a request on lost connections and on 408, 409, 429 and 5xx.
        if retries is None:
            retries = 0 if method == "POST" else RETRIES
        options = RequestOptions(timeout_in_seconds=int(timeout), max_retries=retries)
        try:
            with within(PATIENCE * timeout):
                return self._http.request(
                    path, method=method, params=params, json=body, request_options=options
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unreachable(f"{method} {path}", error) from error
        except (ApiError, json.JSONDecodeError) as error:
            raise self.not_renewed(error) from error

    def not_renewed(self, error: ApiError | json.JSONDecodeError) -> LabelStudioError:
        """The error for a short-lived token that the SDK could not renew, before it sent the request itself."""
        if isinstance(error, json.JSONDecodeError):
            # A page of a gateway, of another server, or of an old release.
            if (release := release_at(self.url)) and not has_personal_tokens(release):
                return self._refused("it cannot be renewed there")
            return self._no_studio("without JSON")
        if error.status_code == 404 and not release_at(self.url):
            return self._no_studio("with 404", 404)
        if error.status_code in (401, 403, 404):  # 404: a release without personal tokens
            return self._refused(reason_in(error.body), error.status_code)
        return LabelStudioUnreachable(
            f"Label Studio at {self.url} does not renew the access token: {reason_in(error.body)}",
            error.status_code,
        )

    def _no_studio(self, how: str, status: int | None = None) -> LabelStudioUnreachable:
        """The error for an answer to the renewal that no Label Studio gives."""
        return LabelStudioUnreachable(
            f"{self.url} answers the renewal of the access token {how}: "
            "is LABEL_STUDIO_URL really a Label Studio, and are it and its database up?",
            status,
        )

    def renew_access(self) -> bool:
        """Forget the short-lived token after a 401, so that the next request makes another; whether there is one.

        It may have run out on its way, or this machine's clock may be behind.
        """
        self._access.since = time.monotonic()
        self._wrapper._tokens_client._access_token = None
        return is_personal(self._token)

    def refusal(self, what: str, status: int, answer: str = "") -> LabelStudioError:
        """The error for an answer of Label Studio that is not a success."""
        if status == 401:
            return self._refused(answer or "401", status)
        return refusal(self.url, what, status, answer)

    def failing(self) -> LabelStudioUnreachable | None:
        """The error for a Label Studio that answered 500, where it fails at whatever it is asked; else None."""
        if release_at(self.url):
            return None
        return LabelStudioUnreachable(failing_everywhere(self.url), FAILED)

    def unreachable(self, what: str, error: Exception) -> LabelStudioUnreachable:
        """The error for a request that found no Label Studio."""
        reason = str(error) or type(error).__name__
        return LabelStudioUnreachable(
            f"Label Studio at {self.url} cannot be reached ({what}: {reason})"
            + (trust_hint(reason) or "; is it running, and is LABEL_STUDIO_URL right?")
        )

    def _refused(self, reason: str, status: int | None = None) -> TokenRefused:
        """The error for a token that is not accepted."""
        return TokenRefused(not_accepted(self.url, self._token, reason), status)

    def _without_organisation(self) -> bool:
        """Whether the token's account belongs to no organisation, as after somebody removed it from its own.

        Label Studio then fails at whatever is asked with a personal token, the release included, and finds nothing
        for a legacy one.
        """
        options = RequestOptions(timeout_in_seconds=int(ANSWER_TIMEOUT), max_retries=0)
        try:
            with within(PATIENCE * ANSWER_TIMEOUT):
                response = self._http.request(
                    "/api/current-user/whoami", method="GET", request_options=options
                )
            if response.status_code == FAILED:
                return is_personal(self._token) and bool(release_at(self.url))
            return response.is_success and response.json().get("active_organization", "") is None
        except (ApiError, httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError, LabelStudioError):
            return False  # what was asked has failed as it has

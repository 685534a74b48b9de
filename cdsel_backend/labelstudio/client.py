"""Label Studio's API, as the loop needs it.

On label_studio_sdk's own HTTP client, which signs each request and renews the access token of a personal
token. Its typed methods are left aside: they build a pydantic model for every task and annotation, drop
fields that the models do not know, follow a listing by page number (which skips tasks when others are
deleted meanwhile), and give no access to what an import answers (`task_ids`, `created`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import httpx
import label_studio_sdk
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.request_options import RequestOptions

TIMEOUT = 60.0
IMPORT_TIMEOUT = 600.0
RETRIES = 2  # after 1 and 2 seconds; whoever loops over projects waits longer
AWAY = (429, 502, 503, 504)
PAGE = 1000
IMPORT_CHUNK = 2500
# Label Studio recounts the whole project after each request, so chunks cost more than they save.
PREDICTION_CHUNK = 10_000
# Asking for a few fields is five times faster. Label Studio applies the choice to tasks and to the
# annotations in them alike: "annotations" alone would give annotations with nothing but an id.
_ANNOTATION_FIELDS = (
    "annotations",
    "result",
    "was_cancelled",
    "completed_by",
    "created_at",
    "updated_at",
    "lead_time",
)


class LabelStudioError(Exception):
    """Label Studio refused a request, or answered what was not expected."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status it answered, where it answered."""


class LabelStudioUnreachable(LabelStudioError):
    """Label Studio does not answer: no connection, no reply in time, or a gateway in front of it says so."""


class TokenRefused(LabelStudioError):
    """Label Studio does not accept the token."""


class NotFound(LabelStudioError):
    """What was asked for does not exist, or not for the token's user."""


class PredictionsRefused(LabelStudioError):
    """Some predictions were not taken over; the others were."""

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)
        """Task id -> why its prediction is not valid for the project."""


class LabelStudio:
    """One Label Studio and one user of it. Its methods may be called from several threads.

    Reads and repeatable writes are tried again a few times when Label Studio is away or overloaded;
    imports and submissions never, since a lost answer does not say that nothing was created.

    Each method may raise LabelStudioUnreachable, TokenRefused, NotFound or, for any other refusal,
    LabelStudioError with Label Studio's own words.
    """

    def __init__(self, url: str, api_key: str) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: as in LABEL_STUDIO_URL.
            api_key: a personal access token (a JWT, from which short-lived ones are made) or a legacy
                token (40 hex digits, which Label Studio must be told to accept).

        Raises:
            LabelStudioError: the address is none.
            TokenRefused: the token is empty, expired or cannot be one.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LabelStudioError(
                f"LABEL_STUDIO_URL is {url!r}: an address such as http://localhost:8080 is due"
            )
        self.url = url.rstrip("/")
        self._personal = api_key.count(".") == 2
        if not api_key.strip() or not api_key.isascii():
            raise TokenRefused(self._token_words("is empty or no token"))
        try:
            # With a slash at its end, or the SDK forgets a path prefix when it renews the token.
            sdk = label_studio_sdk.LabelStudio(
                base_url=f"{self.url}/", api_key=api_key.strip(), timeout=TIMEOUT
            )
        except ApiError as error:
            raise TokenRefused(self._token_words(_words_of(error.body)), error.status_code) from error
        self._wrapper = sdk._client_wrapper
        self._http = self._wrapper.httpx_client

    # What is there

    def version(self) -> str:
        """Label Studio's release, "1.23.2"; the token is checked by the way."""
        self._get("/api/current-user/whoami")  # the version itself is shown to anybody
        return str(self._get("/api/version")["release"])

    def projects(self) -> Iterator[dict[str, Any]]:
        """Every project's `id`, `title` and `description`."""
        yield from self._pages("/api/projects/", {"include": "id,title,description"})

    def project(self, project_id: int) -> dict[str, Any]:
        """One project with all its fields."""
        return dict(self._get(f"/api/projects/{project_id}/"))

    def create_project(self, title: str, label_config: str, **fields: Any) -> int:
        """Create a project; returns its id."""
        body = {"title": title, "label_config": label_config, **fields}
        return int(self._send("POST", "/api/projects/", body)["id"])

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change fields of a project.

        `model_version` can be set only to "", to the title of a connected backend, or to a version that
        predictions of the project carry: import those first.
        """
        self._send("PATCH", f"/api/projects/{project_id}/", fields)

    # Tasks

    def tasks(self, project_id: int, *, with_annotations: bool = False) -> Iterator[dict[str, Any]]:
        """Every task's `id`, `data`, and, if asked for, `annotations`, in the order of ids.

        An annotation has `id`, `result`, `was_cancelled` (a skip), `completed_by` (a user's id),
        `created_at`, `updated_at` and `lead_time` (seconds).
        Image addresses are those that were imported, not the ones Label Studio shows to browsers.
        About 5 s for 10,000 tasks. Tasks that come or go meanwhile shift no others out of sight.
        """
        params = {
            "project": project_id,
            "page_size": PAGE,
            "resolve_uri": "false",
            "include": ",".join(("id", "data", *(_ANNOTATION_FIELDS if with_annotations else ()))),
        }
        if with_annotations:
            params["fields"] = "all"
        last = 0
        while True:
            later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            params["query"] = json.dumps(
                {"filters": {"conjunction": "and", "items": [later]}, "ordering": ["tasks:id"]}
            )
            tasks = self._get("/api/tasks/", params)["tasks"]
            yield from tasks
            if len(tasks) < PAGE:
                return
            last = tasks[-1]["id"]

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import tasks, `{"data": {...}}` each; returns their ids, ascending and in the given order.

        Never repeated by itself: after an error some may be there, and the caller has to look.

        Raises:
            LabelStudioError: also when a task lacks a field that the labeling config asks for.
        """
        ids: list[int] = []
        for start in range(0, len(tasks), IMPORT_CHUNK):
            chunk = tasks[start : start + IMPORT_CHUNK]
            answer = self._send(
                "POST",
                f"/api/projects/{project_id}/import",
                list(chunk),
                params={"return_task_ids": "true"},
                timeout=IMPORT_TIMEOUT,
            )
            found = answer.get("task_ids") or []
            if len(found) != len(chunk):
                raise LabelStudioError(
                    f"project {project_id}: Label Studio imported {len(found)} of {len(chunk)} tasks"
                )
            ids += found
        if ids != sorted(ids):
            raise LabelStudioError(f"project {project_id}: Label Studio imported tasks in another order")
        return ids

    def next_task(self, project_id: int) -> dict[str, Any] | None:
        """The task that Label Studio gives this user next, locked for them; None when there is no more."""
        try:
            return dict(self._get(f"/api/projects/{project_id}/next"))
        except NotFound:
            self.project(project_id)  # the same answer is given for a project that does not exist
            return None

    def submit(
        self, task_id: int, result: Sequence[Mapping[str, Any]], *, skip: bool = False, seconds: float = 1.0
    ) -> int:
        """Submit (or skip) a task as an annotator does; returns the annotation's id."""
        body = {"result": list(result), "was_cancelled": skip, "lead_time": seconds}
        return int(self._send("POST", f"/api/tasks/{task_id}/annotations/", body)["id"])

    # Predictions

    def predictions(self, project_id: int) -> Iterator[dict[str, Any]]:
        """Every prediction of a project: `id`, `task`, `model_version`, `score`, `result`, ..."""
        yield from self._pages("/api/predictions/", {"project": project_id})

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Import predictions, `{"task", "result", "score", "model_version"}` each; returns how many.

        Never repeated by itself. Label Studio accepts a request with invalid predictions (an unknown
        label, a score outside 0-1), creates the others, and says so only by their number.

        Raises:
            PredictionsRefused: some were invalid; their tasks and the reasons are named.
            LabelStudioError: a task is not of this project; nothing was imported.
        """
        created = 0
        for start in range(0, len(predictions), PREDICTION_CHUNK):
            chunk = predictions[start : start + PREDICTION_CHUNK]
            path = f"/api/projects/{project_id}/import/predictions"
            answer = self._send("POST", path, list(chunk), timeout=IMPORT_TIMEOUT)
            created += int(answer["created"])
        if created < len(predictions):
            reasons = self._invalid(project_id, predictions)
            named = "; ".join(f"task {task}: {why}" for task, why in list(reasons.items())[:5])
            raise PredictionsRefused(
                f"project {project_id}: Label Studio took {created} of {len(predictions)} predictions"
                + (f" ({named}{'; ...' if len(reasons) > 5 else ''})" if named else ""),
                reasons,
            )
        return created

    def _invalid(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Why predictions are invalid, found by the SDK's validator, which is the server's, too."""
        from label_studio_sdk.label_interface.interface import LabelInterface

        interface = LabelInterface(self.project(project_id)["label_config"])
        faults: dict[int, str] = {}
        for prediction in predictions:
            found = interface.validate_prediction(dict(prediction), return_errors=True)
            if found:
                faults[int(prediction["task"])] = " ".join(map(str, found))
        return faults

    # Connections to us

    def connect_backend(
        self,
        project_id: int,
        url: str,
        title: str,
        extra_params: str = "",
        basic_auth: tuple[str, str] | None = None,
        webhook_headers: Mapping[str, str] | None = None,
    ) -> int:
        """Connect an ML backend as Settings > Model does, or bring its settings up to date; returns its id.

        The webhook is made first: Label Studio would otherwise make one itself, without the headers
        that a backend behind basic auth asks for, and skips its own where one of this address exists.
        Label Studio calls the backend's /health and /setup meanwhile. It also names the backend in the
        project's `model_version`, unless one is set: that is what makes it ask for live predictions.

        Args:
            project_id: the project.
            url: where Label Studio reaches the backend.
            title: shown in Settings > Model.
            extra_params: JSON text, as the page's text box holds; a mapping would be lost on the next save.
            basic_auth: user and password that Label Studio shall send.
            webhook_headers: headers of its webhook.
        """
        url = url.rstrip("/")
        self.ensure_webhook(project_id, f"{url}/webhook", webhook_headers or {})
        body: dict[str, Any] = {
            "project": project_id,
            "url": url,
            "title": title,
            "extra_params": extra_params,
        }
        body["auth_method"] = "BASIC_AUTH" if basic_auth else "NONE"
        if basic_auth:
            body["basic_auth_user"], body["basic_auth_pass"] = basic_auth
        connected = self._get("/api/ml", {"project": project_id})
        same = [backend["id"] for backend in connected if backend["url"].rstrip("/") == url]
        if same:
            return int(self._send("PATCH", f"/api/ml/{same[0]}", body)["id"])
        return int(self._send("POST", "/api/ml", body)["id"])

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The webhooks of a project."""
        return list(self._get("/api/webhooks/", {"project": project_id}))

    def ensure_webhook(self, project_id: int, url: str, headers: Mapping[str, str]) -> int:
        """Have exactly one active webhook to this address with these headers; returns its id.

        One that exists is adopted and mended; the actions an administrator chose for it stay.
        """
        wanted = {"url": url, "headers": dict(headers), "is_active": True, "send_payload": True}
        found = sorted(
            (hook for hook in self.webhooks(project_id) if hook["url"] == url),
            key=lambda hook: int(hook["id"]),
        )
        if not found:
            body = {**wanted, "project": project_id, "send_for_all_actions": True}
            return int(self._send("POST", "/api/webhooks/", body)["id"])
        kept, *doubles = found
        for hook in doubles:
            self.delete_webhook(hook["id"])
        if any(kept.get(key) != value for key, value in wanted.items()):
            # Without `actions` a PATCH wipes them.
            chosen = {key: kept[key] for key in ("actions", "send_for_all_actions")}
            self._send("PATCH", f"/api/webhooks/{kept['id']}/", {**wanted, **chosen})
        return int(kept["id"])

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; one that is gone already is no error."""
        try:
            self._request("DELETE", f"/api/webhooks/{webhook_id}/")
        except NotFound:
            return

    def add_local_storage(self, project_id: int, path: str) -> int:
        """Let a project's users see the files of a folder on Label Studio's machine; returns the storage's id.

        The folder must lie below Label Studio's LOCAL_FILES_DOCUMENT_ROOT. Nothing is imported from it.
        """
        for storage in self._get("/api/storages/localfiles", {"project": project_id}):
            if storage["path"].rstrip("/") == path.rstrip("/"):
                return int(storage["id"])
        body = {"project": project_id, "path": path, "title": "images", "use_blob_urls": True}
        return int(self._send("POST", "/api/storages/localfiles", body)["id"])

    # Plumbing

    def stream(self, path: str) -> AbstractContextManager[httpx.Response]:
        """GET of a path of this Label Studio, signed, as a stream; the caller looks at the status."""
        return self._http.stream(path, method="GET")

    def stream_elsewhere(self, url: str) -> AbstractContextManager[httpx.Response]:
        """GET of any address, not signed, as a stream; the caller looks at the status."""
        client: httpx.Client = self._http.httpx_client
        return client.stream("GET", url)

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            answer = self._get(path, {**params, "page": page, "page_size": PAGE})
            if isinstance(answer, list):  # Label Studio does not page this listing
                yield from answer
                return
            yield from answer["results"]
            if not answer["next"]:
                return
            page += 1

    def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return _json(self._request("GET", path, params=params))

    def _send(self, method: str, path: str, body: Any, **options: Any) -> Any:
        return _json(self._request(method, path, body, **options))

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, Any] | None = None,
        timeout: float = TIMEOUT,
        renewed: bool = False,
    ) -> httpx.Response:
        # The SDK repeats a request on lost connections and on 408, 409, 429 and 5xx.
        options = RequestOptions(
            timeout_in_seconds=int(timeout), max_retries=0 if method == "POST" else RETRIES
        )
        what = f"{method} {path}"
        try:
            response = self._http.request(
                path, method=method, params=params, json=body, request_options=options
            )
        except ApiError as error:  # from renewing the token, before the request itself
            if error.status_code in (401, 403):
                raise TokenRefused(self._token_words(_words_of(error.body)), error.status_code) from error
            raise LabelStudioUnreachable(
                f"Label Studio at {self.url} does not renew the access token: {_words_of(error.body)}",
                error.status_code,
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unreachable(what, error) from error
        except json.JSONDecodeError as error:
            raise self._no_label_studio("the answer to the token's renewal") from error
        if response.status_code == 401 and not renewed and self.renew_access():
            return self._request(method, path, body, params=params, timeout=timeout, renewed=True)
        if response.history and method != "GET":
            # A redirected POST arrives as a GET: nothing was written, whatever the answer says.
            raise LabelStudioError(
                f"LABEL_STUDIO_URL: {self.url} redirects to {response.url.copy_with(path='/', query=None)}; "
                "set the address it redirects to"
            )
        if response.is_success:
            return response
        raise self.refusal(what, response.status_code, _words_of(_body(response)))

    def renew_access(self) -> bool:
        """Forget the short-lived token after a 401, so that the next request makes another; whether there is one.

        It may have run out on its way, or this machine's clock may be behind.
        """
        self._wrapper._tokens_client._access_token = None
        return self._personal

    def refusal(self, what: str, status: int, words: str = "") -> LabelStudioError:
        """The error for an answer of Label Studio that is not a success."""
        if status == 401:
            return TokenRefused(self._token_words(words or "401"), status)
        if status == 404:
            return NotFound(f"{what}: {words or 'not found'}", status)
        if status in AWAY:
            return LabelStudioUnreachable(
                f"Label Studio at {self.url} is away or overloaded ({status} {words})".replace(" )", ")"),
                status,
            )
        return LabelStudioError(f"{what}: Label Studio answered {status}: {words}", status)

    def unreachable(self, what: str, error: Exception) -> LabelStudioUnreachable:
        """The error for a request that found no Label Studio."""
        reason = str(error) or type(error).__name__
        return LabelStudioUnreachable(
            f"Label Studio at {self.url} cannot be reached ({what}: {reason}); "
            "is it running, and is LABEL_STUDIO_URL right?"
        )

    def _no_label_studio(self, what: str) -> LabelStudioError:
        return LabelStudioError(f"{what} is no JSON: is LABEL_STUDIO_URL ({self.url}) really a Label Studio?")

    def _token_words(self, reason: str) -> str:
        mend = "make a new one in Label Studio: your picture (top right) > Account & Settings > Personal Access Token"
        if not self._personal:
            mend = (
                "legacy tokens are off by default in Label Studio 1.23: use a personal access token instead "
                "(your picture, top right > Account & Settings > Personal Access Token > Create)"
            )
        return f"LABEL_STUDIO_API_KEY is not accepted by {self.url} ({reason}); {mend}"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise LabelStudioError(
            f"{response.request.method} {response.url} did not answer JSON: "
            "is LABEL_STUDIO_URL really a Label Studio?"
        ) from error


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text[:200] if "html" not in response.headers.get("content-type", "") else ""


def _words_of(body: Any) -> str:
    """What an error's body says, in one line."""
    if isinstance(body, dict):
        faults = body.get("validation_errors")
        if faults:
            return _words_of(faults)
        if "detail" in body:
            return _words_of(body["detail"])
        return "; ".join(f"{_words_of(value)} ({key})" for key, value in body.items())[:600]
    if isinstance(body, list):
        return "; ".join(_words_of(part) for part in body[:5]) + ("; ..." if len(body) > 5 else "")
    return str(body if body is not None else "")[:400]

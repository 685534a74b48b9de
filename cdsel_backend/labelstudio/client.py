"""Label Studio's API, as the loop needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cdsel_backend.labelstudio import connection
from cdsel_backend.labelstudio.connection import Connection
from cdsel_backend.labelstudio.errors import (
    LabelStudioError,
    LabelStudioUnreachable,
    NotFound,
    TokenRefused,
    read_json,
)
from cdsel_backend.phrases import number_of
from cdsel_backend.store.records import Json

if TYPE_CHECKING:  # settings load what selects, which takes a while
    from cdsel_backend.settings import ServerSettings

__all__ = [
    "LabelStudio",
    "LabelStudioError",
    "LabelStudioUnreachable",
    "NotFound",
    "PredictionsRefused",
    "TokenRefused",
    "studio_at",
]

IMPORT_TIMEOUT = 600.0
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
    "ground_truth",
)


class PredictionsRefused(LabelStudioError):
    """Some predictions were not taken over; the others were."""

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)
        """Task id -> why its prediction is not valid for the project."""


@dataclass(frozen=True)
class Newest:
    """How many tasks a project has, when one was changed last as Label Studio writes it, and the highest id.

    `now`: the time by Label Studio's clock; None where it does not say.
    """

    total: int
    changed: str
    last: int
    now: datetime | None = None


class LabelStudio(Connection):
    """What we ask of Label Studio. Its methods may be called from several threads.

    Each may raise LabelStudioUnreachable, TokenRefused, NotFound or, for any other refusal,
    LabelStudioError with Label Studio's own words.
    """

    # What is there

    def version(self) -> str:
        """Label Studio's release, "1.23.2"; the token is checked by the way."""
        self.get("/api/current-user/whoami")  # the version itself is shown to anybody
        return str(self.get("/api/version")["release"])

    def projects(self, *more: str) -> Iterator[Json]:
        """Every project's `id`, `title` and `description`, and more of its fields if named."""
        yield from self.pages("/api/projects/", {"include": ",".join(("id", "title", "description", *more))})

    def users(self) -> dict[str, int]:
        """The accounts of this Label Studio: e-mail in lower case -> id."""
        return {str(user["email"]).lower(): int(user["id"]) for user in self.pages("/api/users/", {})}

    def project(self, project_id: int) -> Json:
        """One project with all its fields."""
        return dict(self.get(f"/api/projects/{project_id}/"))

    def create_project(self, title: str, label_config: str, **fields: Any) -> int:
        """Create a project; returns its id."""
        body = {"title": title, "label_config": label_config, **fields}
        return int(self.send("POST", "/api/projects/", body)["id"])

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change fields of a project.

        `model_version` can be set only to "", to the title of a connected backend, or to a version that
        predictions of the project carry: import those first.
        """
        self.send("PATCH", f"/api/projects/{project_id}/", fields)

    # Tasks

    def tasks(
        self,
        project_id: int,
        *,
        with_annotations: bool = False,
        changed_since: str | None = None,
        annotated: bool = False,
        after: int = 0,
    ) -> Iterator[Json]:
        """Every task's `id`, `data`, `created_at`, `updated_at` and, if asked for, `annotations`, in the order of ids.

        An annotation has `id`, `result`, `was_cancelled` (a skip), `completed_by` (a user's id),
        `created_at`, `updated_at`, `lead_time` (seconds) and `ground_truth`.
        Image addresses are those that were imported, not the ones Label Studio shows to browsers.
        About 1 s for 1,000 tasks. Tasks that come or go meanwhile shift no others out of sight.

        Args:
            project_id: the project.
            with_annotations: whether annotations are asked for.
            changed_since: a time of Label Studio's, as `newest` gives it: only tasks that were changed, or whose
                annotations were created, changed, deleted or skipped, after it.
            annotated: only tasks with annotations.
            after: only tasks with a higher id.
        """
        fields = ("id", "data", "created_at", "updated_at", *(_ANNOTATION_FIELDS if with_annotations else ()))
        params = {
            "project": project_id,
            "page_size": connection.PAGE,
            "resolve_uri": "false",
            "include": ",".join(dict.fromkeys(fields)),
        }
        if with_annotations:
            params["fields"] = "all"
        since = [] if changed_since is None else [_filter("updated_at", "greater", "Datetime", changed_since)]
        if annotated:
            since.append(_filter("total_annotations", "greater", "Number", 0))
        last = after
        while True:
            params["query"] = _query([_filter("id", "greater", "Number", last), *since], "tasks:id")
            tasks = self.get("/api/tasks/", params)["tasks"]
            yield from tasks
            if len(tasks) < connection.PAGE:
                return
            last = tasks[-1]["id"]

    def newest(self, project_id: int) -> Newest:
        """What a project's tasks are like now, in two short requests."""
        changed, headers = self._one(project_id, [], "-tasks:updated_at")
        last = self._one(project_id, [], "-tasks:id")[0]["tasks"]
        when = str(changed["tasks"][0]["updated_at"]) if changed["tasks"] else ""
        try:
            now = parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            now = None  # no version that was met
        return Newest(int(changed["total"]), when, int(last[0]["id"]) if last else 0, now)

    def count_tasks(self, project_id: int, low: int, high: int) -> int:
        """How many tasks of a project have an id from `low` to `high`."""
        ends = [_filter("id", "greater", "Number", low - 1), _filter("id", "less", "Number", high + 1)]
        return int(self._one(project_id, ends, "tasks:id")[0]["total"])

    def _one(self, project_id: int, filters: Sequence[Json], ordering: str) -> tuple[Json, Mapping[str, str]]:
        """A listing of one task, and the headers that it came with."""
        params = {"project": project_id, "page_size": 1, "resolve_uri": "false", "include": "id,updated_at"}
        params["query"] = _query(filters, ordering)
        response = self.request("GET", "/api/tasks/", params=params)
        return dict(read_json(response)), response.headers

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import tasks, `{"data": {...}}` each; returns their ids, ascending and in the given order.

        Never repeated by itself: after an error some may be there, and the caller has to look.

        Raises:
            LabelStudioError: also when a task lacks a field that the labeling config asks for.
        """
        ids: list[int] = []
        for start in range(0, len(tasks), IMPORT_CHUNK):
            chunk = tasks[start : start + IMPORT_CHUNK]
            answer = self.send(
                "POST",
                f"/api/projects/{project_id}/import",
                list(chunk),
                params={"return_task_ids": "true"},
                timeout=IMPORT_TIMEOUT,
            )
            found = answer.get("task_ids") or []
            if len(found) != len(chunk):
                raise LabelStudioError(
                    f"project {project_id}: Label Studio imported {len(found)} of {number_of(len(chunk), 'task')}"
                )
            ids += found
        if ids != sorted(ids):
            raise LabelStudioError(f"project {project_id}: Label Studio imported tasks in another order")
        return ids

    def task(self, task_id: int, project_id: int) -> Json | None:
        """One task with its `annotations` and `drafts`; None where the project has no such task.

        A number may have become that of a task in another project: see `PoolItems.set_aside`.
        """
        try:
            task = dict(self.get(f"/api/tasks/{task_id}/"))
        except NotFound:
            return None
        return task if task.get("project", project_id) == project_id else None

    def update_task(self, task_id: int, data: Mapping[str, Any]) -> None:
        """Give a task other data; its annotations and drafts stay."""
        self.send("PATCH", f"/api/tasks/{task_id}/", {"data": dict(data)})

    def delete_task(self, task_id: int) -> None:
        """Delete a task with its annotations; one that is gone already is no error."""
        self._delete(f"/api/tasks/{task_id}/")

    def next_task(self, project_id: int) -> Json | None:
        """The task that Label Studio gives this user next, locked for them; None when there is no more."""
        try:
            return dict(self.get(f"/api/projects/{project_id}/next"))
        except NotFound:
            self.project(project_id)  # the same answer is given for a project that does not exist
            return None

    def submit(
        self, task_id: int, result: Sequence[Mapping[str, Any]], *, skip: bool = False, seconds: float = 1.0
    ) -> int:
        """Submit (or skip) a task as an annotator does; returns the annotation's id."""
        body = {"result": list(result), "was_cancelled": skip, "lead_time": seconds}
        return int(self.send("POST", f"/api/tasks/{task_id}/annotations/", body)["id"])

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Change what an annotation says."""
        self.send("PATCH", f"/api/annotations/{annotation_id}/", {"result": list(result)})

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete an annotation; one that is gone already is no error."""
        self._delete(f"/api/annotations/{annotation_id}/")

    # Predictions

    def predictions(self, project_id: int) -> Iterator[Json]:
        """Every prediction of a project: `id`, `task`, `model_version`, `score`, `result`, ..."""
        yield from self.pages("/api/predictions/", {"project": project_id})

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete a prediction; one that is gone already is no error."""
        self._delete(f"/api/predictions/{prediction_id}/")

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
            answer = self.send("POST", path, list(chunk), timeout=IMPORT_TIMEOUT)
            created += int(answer["created"])
        if created < len(predictions):
            reasons = self._invalid(project_id, predictions)
            named = "; ".join(f"task {task}: {why}" for task, why in list(reasons.items())[:5])
            raise PredictionsRefused(
                f"project {project_id}: Label Studio took {created} of {number_of(len(predictions), 'prediction')}"
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
            found = interface.validate_prediction(  # type: ignore[no-untyped-call]
                dict(prediction), return_errors=True
            )
            if found:
                faults[int(prediction["task"])] = " ".join(map(str, found))
        return faults

    # Connections to us

    def backends(self, project_id: int) -> list[Json]:
        """The ML backends under a project's Settings > Model: `url`, `extra_params`, `title`, ...

        Label Studio calls /health and /setup of each of them meanwhile.
        """
        return list(self.get("/api/ml", {"project": project_id}))

    def backends_known(self, project_id: int) -> list[Json] | None:
        """What `backends` gives, as Label Studio knows it: it calls none of them, but counts the project's predictions.

        None where it does not say, as old releases may.
        """
        asked = {"extended": "true", "include_live_models": "true"}
        found = self.get(f"/api/projects/{project_id}/model-versions/", asked)
        live = found.get("live") if isinstance(found, dict) else None
        return None if live is None else list(live)

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
        body: dict[str, object] = {
            "project": project_id,
            "url": url,
            "title": title,
            "extra_params": extra_params,
        }
        body["auth_method"] = "BASIC_AUTH" if basic_auth else "NONE"
        if basic_auth:
            body["basic_auth_user"], body["basic_auth_pass"] = basic_auth
        connected = self.backends(project_id)
        same = [backend["id"] for backend in connected if backend["url"].rstrip("/") == url]
        if same:
            return int(self.send("PATCH", f"/api/ml/{same[0]}", body)["id"])
        return int(self.send("POST", "/api/ml", body)["id"])

    def webhooks(self, project_id: int) -> list[Json]:
        """The webhooks of a project."""
        return list(self.get("/api/webhooks/", {"project": project_id}))

    def ensure_webhook(self, project_id: int, url: str, headers: Mapping[str, str]) -> int:
        """Have exactly one active webhook to this address with these headers; returns its id.

        One that exists is adopted and mended; the actions an administrator chose for it stay. One that leads elsewhere
        with the same headers, which hold a secret, is one of ours from a former address, and goes.
        """
        wanted = {"url": url, "headers": dict(headers), "is_active": True, "send_payload": True}
        hooks = sorted(self.webhooks(project_id), key=lambda hook: int(hook["id"]))
        found = [hook for hook in hooks if hook["url"] == url]
        for hook in hooks:
            if headers and hook["url"] != url and hook["headers"] == dict(headers):
                self.delete_webhook(hook["id"])
        if not found:
            body = {**wanted, "project": project_id, "send_for_all_actions": True}
            return int(self.send("POST", "/api/webhooks/", body)["id"])
        kept, *doubles = found
        for hook in doubles:
            self.delete_webhook(hook["id"])
        if any(kept.get(key) != value for key, value in wanted.items()):
            # Without `actions` a PATCH wipes them.
            chosen = {key: kept[key] for key in ("actions", "send_for_all_actions")}
            self.send("PATCH", f"/api/webhooks/{kept['id']}/", {**wanted, **chosen})
        return int(kept["id"])

    def remove_webhooks(self, project_id: int, url: str) -> None:
        """Delete the webhooks of a project that lead to an address."""
        for hook in self.webhooks(project_id):
            if hook["url"] == url:
                self.delete_webhook(hook["id"])

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; one that is gone already is no error."""
        self._delete(f"/api/webhooks/{webhook_id}/")

    def add_local_storage(self, project_id: int, path: str) -> int:
        """Let a project's users see the files of a folder on Label Studio's machine; returns the storage's id.

        The folder must lie below Label Studio's LOCAL_FILES_DOCUMENT_ROOT. Nothing is imported from it.
        """
        for storage in self.get("/api/storages/localfiles", {"project": project_id}):
            if storage["path"].rstrip("/") == path.rstrip("/"):
                return int(storage["id"])
        body = {"project": project_id, "path": path, "title": "images", "use_blob_urls": True}
        return int(self.send("POST", "/api/storages/localfiles", body)["id"])

    def _delete(self, path: str) -> None:
        """Delete what is at a path; what is gone already is no error."""
        with suppress(NotFound):
            self.request("DELETE", path)


def _filter(field: str, operator: str, kind: str, value: object) -> Json:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _query(filters: Sequence[Json], ordering: str) -> str:
    return json.dumps({"filters": {"conjunction": "and", "items": list(filters)}, "ordering": [ordering]})


def studio_at(server: ServerSettings, url: str, token: str | None = None) -> LabelStudio:
    """The Label Studio at an address, with a token: by default that of the settings, and with their other switches.

    Raises:
        LabelStudioError, TokenRefused: see `Connection`.
    """
    return LabelStudio(
        url,
        server.label_studio_api_key if token is None else token,
        image_hosts=server.image_hosts,
        image_roots=server.image_roots,
    )

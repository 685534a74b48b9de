"""What we ask of Label Studio about tasks and their annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cdsel_backend.labelstudio import connection
from cdsel_backend.labelstudio.errors import NotFound, RequestRefused, read_json
from cdsel_backend.labelstudio.projects import Projects
from cdsel_backend.phrases import number_of
from cdsel_backend.store.records import Json

IMPORT_TIMEOUT = 600.0  # seconds
IMPORT_CHUNK = 2500
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


@dataclass(frozen=True)
class Newest:
    """How many tasks a project has, when one was changed last as Label Studio writes it, and the highest id.

    `now`: the time by Label Studio's clock; None where it does not say.
    """

    total: int
    changed: str
    last: int
    now: datetime | None = None


class Tasks(Projects):
    """Tasks and annotations."""

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
                raise RequestRefused(
                    f"project {project_id}: Label Studio imported {len(found)} of {number_of(len(chunk), 'task')}"
                )
            ids += found
        if ids != sorted(ids):
            raise RequestRefused(f"project {project_id}: Label Studio imported tasks in another order")
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
        self.delete(f"/api/tasks/{task_id}/")

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
        self.delete(f"/api/annotations/{annotation_id}/")


def _filter(field: str, operator: str, kind: str, value: object) -> Json:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _query(filters: Sequence[Json], ordering: str) -> str:
    return json.dumps({"filters": {"conjunction": "and", "items": list(filters)}, "ordering": [ordering]})

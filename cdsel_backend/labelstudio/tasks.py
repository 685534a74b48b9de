"""What we ask of Label Studio about tasks and their annotations."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cdsel_backend.labelstudio import connection
from cdsel_backend.labelstudio.errors import FAILED, NotFound, RequestRefused, UnreadableTask, read_json
from cdsel_backend.labelstudio.projects import Projects
from cdsel_backend.phrases import form, number_of, numbered
from cdsel_backend.store.records import Json

IMPORT_TIMEOUT = 600.0  # seconds
IMPORT_CHUNK = 2500
TASKS_NAMED = 10  # of those at which it fails, in a sentence
MOST_UNREADABLE = 100  # tasks of a page at which Label Studio fails, before it counts as failing altogether
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
        unreadable: set[int] | None = None,
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
            unreadable: where the tasks are put at which Label Studio fails, which are passed over.

        Raises:
            UnreadableTask: it fails at a task, and there is no `unreadable`.
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
            filters = [_filter("id", "greater", "Number", last), *since]
            params["query"] = _query(filters, "tasks:id")
            try:
                tasks = self.get("/api/tasks/", params)["tasks"]
                ids = [task["id"] for task in tasks]
            except RequestRefused as fault:
                if fault.status != FAILED:
                    raise
                ids, tasks = self._one_by_one(params, filters)
                found = set(ids) - {task["id"] for task in tasks}
                if unreadable is None:
                    raise UnreadableTask(unreadable_message(project_id, found), FAILED) from fault
                unreadable |= found
            yield from tasks
            if len(ids) < connection.PAGE:
                return
            last = ids[-1]

    def _one_by_one(self, params: Mapping[str, Any], filters: Sequence[Json]) -> tuple[list[int], list[Json]]:
        """The ids of a page at which Label Studio fails, and the tasks that it lists all the same: found by halving.

        Raises:
            RequestRefused: it fails at more than a few, or at the ids.
        """
        only_ids = {name: value for name, value in params.items() if name != "fields"} | {"include": "id"}
        ids = [int(task["id"]) for task in self.get("/api/tasks/", only_ids)["tasks"]]
        tasks: list[Json] = []
        parts, failed = [ids], 0
        while parts:
            part = parts.pop()
            ends = [
                _filter("id", "greater", "Number", part[0] - 1),
                _filter("id", "less", "Number", part[-1] + 1),
            ]
            asked = {**params, "query": _query([*filters, *ends], "tasks:id")}
            try:
                tasks += read_json(self.request("GET", "/api/tasks/", params=asked, retries=0))["tasks"]
            except RequestRefused as fault:
                failed += len(part) == 1
                if fault.status != FAILED or failed > MOST_UNREADABLE:
                    raise
                middle = len(part) // 2
                parts += [half for half in (part[middle:], part[:middle]) if half and len(part) > 1]
        return ids, tasks

    def newest(self, project_id: int) -> Newest:
        """How many tasks a project has, the last change and the highest id, in two short requests."""
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

        Raises:
            UnreadableTask: Label Studio fails at it.
        """
        try:
            task = dict(self.get(f"/api/tasks/{task_id}/"))
        except NotFound:
            return None
        except RequestRefused as fault:
            if fault.status != FAILED:
                raise
            raise UnreadableTask(unreadable_message(project_id, [task_id]), FAILED) from fault
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


def annotated_tasks(
    studio: Tasks, project: int, among: Iterable[int] | None, unreadable: set[int]
) -> Iterator[Json]:
    """Tasks of a project with their annotations: `among` these, asked for one by one; None: all that have any, listed.

    `unreadable`: where the tasks are put at which Label Studio fails, which are passed over.
    """
    if among is None:
        yield from studio.tasks(project, with_annotations=True, annotated=True, unreadable=unreadable)
        return
    failed = 0
    for number in sorted(among):
        try:
            task = studio.task(number, project)
        except UnreadableTask:
            failed += 1
            if failed > MOST_UNREADABLE:
                raise
            unreadable.add(number)
        else:
            if task is not None:
                yield task


def unreadable_message(project: int, tasks: Collection[int]) -> str:
    """The sentence that Label Studio fails at some tasks of a project, with the fix."""
    count = len(tasks)
    named, it = numbered("task", sorted(tasks), TASKS_NAMED), form(count, "it", "them")
    return (
        f"{number_of(count, 'task')} of project {project} cannot be read ({named}): Label Studio answers 500 wherever "
        f"{form(count, 'it is', 'they are')} to be shown, as at half a character (\\ud800, a part of an emoji) in the "
        f"data or an annotation. Give {it} other data, or delete {it}, by Label Studio's API (PATCH or DELETE "
        f"/api/tasks/{min(tasks)}/): its pages fail, too"
    )


def _filter(field: str, operator: str, kind: str, value: object) -> Json:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _query(filters: Sequence[Json], ordering: str) -> str:
    return json.dumps({"filters": {"conjunction": "and", "items": list(filters)}, "ordering": [ordering]})

"""A server that keeps projects, tasks and annotations as Label Studio 1.23.2 was measured to, and fails when told to.

What it does follows `test_studio.py` and `test_client.py`, which hold the real one to the same: late and double
submissions are accepted, a task that is gone answers 404, imports answer the ids, each change is told by a webhook that
comes once or not at all, and a webhook about deleted annotations names no task. Ids grow; as on PostgreSQL they are not
used again, unless its database is restored.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import RLock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving import running

TOKEN = "0" * 40
Answer = tuple[int, Any]
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
TITLE_LENGTH = 50  # of a project, at the most


class FakeStudio:
    """`tasks`: id -> task with `project`, `data`, `annotations`; `projects`, `webhooks`, `predictions` likewise.

    `fault(method, path)` is asked before each request: a status to answer instead, "cut" to end the connection, "lost"
    to do what is asked and end it before the answer, None for no fault. It may also hang.
    `outbox`: the webhooks that it would send, oldest first; whoever plays the network takes them from there.
    `imported(project, tasks)` is called after each import.
    """

    TABLES = ("projects", "tasks", "webhooks", "predictions", "clock")

    def __init__(self) -> None:
        self.url = ""
        self.lock = RLock()
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.webhooks: dict[int, dict[str, Any]] = {}
        self.predictions: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.token = TOKEN
        self.open_paths = {"/api/version"}
        self.clock = 0
        self.time: Callable[[], float] | None = None
        self.outbox: deque[dict[str, Any]] = deque(maxlen=10_000)
        self.imported: Callable[[int, list[dict[str, Any]]], None] = lambda project, tasks: None
        self.fault: Callable[[str, str], int | str | None] = lambda method, path: None

    def number(self) -> int:
        """An id, and the time of a change."""
        self.clock += 1
        return self.clock

    def now(self) -> str:
        # No two changes have one time: it is written to the microsecond.
        number = self.number()
        passed = number if self.time is None else self.time() - EPOCH.timestamp() + number % 10_000 * 1e-6
        moment = EPOCH + timedelta(seconds=passed)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def add_project(self, title: str, label_config: str, tasks: list[dict[str, Any]]) -> int:
        with self.lock:
            number = self.number()
            self.projects[number] = {
                "id": number,
                "title": title,
                "label_config": label_config,
                "description": "",
                "sampling": "Sequential sampling",
            }
            self.add_tasks(number, tasks)
        return number

    def add_tasks(self, project: int, tasks: list[dict[str, Any]]) -> list[int]:
        ids = []
        for data in tasks:
            number = self.number()
            self.tasks[number] = {
                "id": number,
                "project": project,
                "data": data,
                "annotations": [],
                "updated_at": (now := self.now()),
                "created_at": now,
            }
            ids.append(number)
        if ids:
            self.tell("TASKS_CREATED", project, tasks=[self.tasks[number] for number in ids])
        return ids

    def tell(self, action: str, project: int, **fields: Any) -> None:
        """Have a webhook for each address that a project's changes are sent to."""
        for hook in list(self.webhooks.values()):
            if hook["project"] == project and hook.get("is_active", True):
                payload = {"action": action, **copy.deepcopy(fields), "project": {"id": project}}
                self.outbox.append({"headers": hook.get("headers") or {}, "json": payload})

    def snapshot(self) -> dict[str, Any]:
        """Its database, as a backup holds it."""
        with self.lock:
            return copy.deepcopy({name: getattr(self, name) for name in self.TABLES})

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a backup in the place of its database; nothing is told of it, and ids are given again."""
        with self.lock:
            for name, value in copy.deepcopy(snapshot).items():
                setattr(self, name, value)

    def of(self, project: int) -> list[dict[str, Any]]:
        """The tasks of a project, in the order in which Label Studio gives them out."""
        return [task for _, task in sorted(self.tasks.items()) if task["project"] == project]

    def next(self, project: int) -> dict[str, Any] | None:
        return next((task for task in self.of(project) if not task["annotations"]), None)

    def submit(
        self, task: int, result: list[Any], *, skip: bool = False, user: int = 1
    ) -> dict[str, Any] | None:
        """An annotation, also on a task that has one; None where the task is gone (404)."""
        with self.lock:
            if task not in self.tasks:
                return None
            now = self.now()
            annotation = {
                "id": self.number(),
                "result": result,
                "was_cancelled": skip,
                "completed_by": user,
                "created_at": now,
                "updated_at": now,
            }
            found = self.tasks[task]
            found["annotations"].append(annotation)
            found["updated_at"] = now
            self.tell("ANNOTATION_CREATED", found["project"], annotation=annotation, task=found)
            return annotation

    def annotations(self, projects: Sequence[int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every annotation of some projects, with its task."""
        return [
            (task, annotation)
            for project in projects
            for task in self.of(project)
            for annotation in task["annotations"]
        ]

    def change_annotation(self, task: int, annotation: int, result: list[Any]) -> None:
        """Submit an annotation once more, with another answer."""
        with self.lock:
            found = self.tasks[task]
            changed = next(one for one in found["annotations"] if one["id"] == annotation)
            changed.update(result=result, was_cancelled=False, updated_at=self.now())
            found["updated_at"] = changed["updated_at"]
            self.tell("ANNOTATION_UPDATED", found["project"], annotation=changed, task=found)

    def delete_annotation(self, task: int, annotation: int) -> None:
        """Delete an annotation; the webhook names it, and no task."""
        with self.lock:
            found = self.tasks[task]
            found["annotations"] = [one for one in found["annotations"] if one["id"] != annotation]
            found["updated_at"] = self.now()
            self.tell("ANNOTATIONS_DELETED", found["project"], annotations=[{"id": annotation}])

    def change_task(self, task: int, data: dict[str, Any]) -> None:
        """Edit a task's data, of which no webhook tells."""
        with self.lock:
            self.tasks[task].update(data=data, updated_at=self.now())

    def delete_tasks(self, tasks: Sequence[int]) -> None:
        """Delete tasks of one project, with their annotations."""
        with self.lock:
            project = self.tasks[tasks[0]]["project"]
            for task in tasks:
                del self.tasks[task]
            self.tell("TASKS_DELETED", project, tasks=[{"id": task} for task in tasks])

    def delete_project(self, project: int) -> None:
        """Delete a project with all that is in it; its webhooks go, too."""
        with self.lock:
            del self.projects[project]
            for task in self.of(project):
                del self.tasks[task["id"]]
            self.webhooks = {
                number: hook for number, hook in self.webhooks.items() if hook["project"] != project
            }

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        parts = [part for part in path.split("/") if part][1:]
        head = parts[0]
        if head == "version":
            return 200, {"release": "1.23.2"}
        if head == "current-user":
            return 200, {"id": 1}
        if head == "users":
            return 200, [{"id": 1, "email": "ann@example.org"}, {"id": 2, "email": "bob@example.org"}]
        if head == "ml":
            return 200, []
        if head == "projects":
            return self._projects(method, parts[1:], body)
        if head == "tasks":
            return self._tasks(method, parts[1:], query, body)
        if head == "predictions":
            project = int(query["project"])
            found = [
                one for one in self.predictions if self.tasks.get(one["task"], {}).get("project") == project
            ]
            return 200, found
        if head == "webhooks":
            return self._webhooks(method, parts[1:], query, body)
        return 404, {"detail": f"{method} {path} is not played"}

    def _projects(self, method: str, parts: list[str], body: Any) -> Answer:
        if not parts:
            if method == "GET":
                return 200, {"results": list(self.projects.values()), "next": None}
            if len(body["title"]) > TITLE_LENGTH:
                return 400, {"title": [f"no more than {TITLE_LENGTH} characters"]}
            number = self.add_project(body["title"], body["label_config"], [])
            self.projects[number] |= body
            return 201, self.projects[number]
        number = int(parts[0])
        project = self.projects.get(number)
        if project is None:
            return 404, {"detail": "Not found."}
        if parts[1:] == ["next"]:
            task = self.next(number)
            return (200, task) if task else (404, {"detail": "no more"})
        if parts[1:] == ["import"]:
            ids = self.add_tasks(number, [one["data"] for one in body])
            self.imported(number, [self.tasks[task] for task in ids])
            return 201, {"task_ids": ids, "task_count": len(ids)}
        if parts[1:] == ["import", "predictions"]:
            if any(self.tasks.get(one["task"], {}).get("project") != number for one in body):
                return 400, {"detail": "a task is not of this project"}
            self.predictions += body
            return 201, {"created": len(body)}
        if method == "PATCH":
            project |= body
            self.tell("PROJECT_UPDATED", number)
        elif method == "DELETE":
            self.delete_project(number)
            return 204, None
        count = sum(task["project"] == number for task in self.tasks.values())
        return 200, {**project, "task_number": count}

    def _tasks(self, method: str, parts: list[str], query: dict[str, str], body: Any) -> Answer:
        if parts[1:] == ["annotations"] and method == "POST":
            made = self.submit(int(parts[0]), body["result"], skip=body["was_cancelled"])
            return (201, made) if made else (404, {"detail": "Not found."})
        if parts:
            task = self.tasks.get(int(parts[0]))
            if task is None:
                return 404, {"detail": "Not found."}
            if method == "DELETE":
                self.delete_tasks([task["id"]])
                return 204, None
            if method == "PATCH":
                self.change_task(task["id"], body["data"])
            return 200, task
        project = int(query["project"])
        if project not in self.projects:
            return 404, {"detail": "Not found."}
        found, asked = self.of(project), json.loads(query.get("query", "{}"))
        for item in asked.get("filters", {}).get("items", ()):
            name, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
            match item["operator"]:
                case "greater":
                    found = [task for task in found if task[name] > value]
                case "greater_or_equal":
                    found = [task for task in found if task[name] >= value]
                case "less":
                    found = [task for task in found if task[name] < value]
                case "less_or_equal":
                    found = [task for task in found if task[name] <= value]
                case "in":
                    found = [task for task in found if value["min"] <= task[name] <= value["max"]]
                case _:
                    return 400, {"detail": f"the filter {item} is not played"}
        for order in reversed(asked.get("ordering", ())):
            name = order.removeprefix("-").removeprefix("tasks:")
            found = sorted(found, key=lambda task: task[name], reverse=order.startswith("-"))
        # Annotations come only where they are asked for.
        wanted = query.get("include", "").split(",")
        shown = [
            {name: value for name, value in task.items() if not query.get("include") or name in wanted}
            for task in found[: int(query.get("page_size", 100))]
        ]
        return 200, {"tasks": shown, "total": len(found)}

    def _webhooks(self, method: str, parts: list[str], query: dict[str, str], body: Any) -> Answer:
        if not parts and method == "GET":
            project = int(query["project"])
            return 200, [hook for hook in self.webhooks.values() if hook["project"] == project]
        if not parts:
            number = self.number()
            self.webhooks[number] = {"actions": [], **body, "id": number}
            return 201, self.webhooks[number]
        hook = self.webhooks.get(int(parts[0]))
        if hook is None:
            return 404, {"detail": "Not found."}
        if method == "DELETE":
            del self.webhooks[hook["id"]]
            return 204, None
        hook |= body or {}
        return 200, hook


@contextmanager
def fake_studio() -> Iterator[FakeStudio]:
    """Run one on a free port."""
    studio = FakeStudio()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # the header and the body at once, or the client waits 40 ms for the body

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            studio.seen.append(f"{self.command} {url.path}")
            fault = studio.fault(self.command, url.path)
            if url.path not in studio.open_paths and (
                (self.headers.get("Authorization") or "").partition(" ")[2] != studio.token
            ):
                status, content = 401, {"detail": "Invalid token."}
            elif fault == "cut":
                self.close_connection = True
                return
            elif isinstance(fault, int):
                status, content = fault, {"detail": "a fault that was asked for"}
            else:
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                with studio.lock:
                    status, content = studio.answer(self.command, url.path, query, body)
                    answer = b"" if content is None else json.dumps(content).encode()
            if fault == "lost":
                self.close_connection = True
                return
            if status >= 400:
                answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_DELETE = do_POST = do_PATCH = handle_any  # noqa: N815

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(studio.time() if studio.time else timestamp)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            return  # whoever asked went away

    with Server(("127.0.0.1", 0), Handler) as server, running(server) as studio.url:
        yield studio

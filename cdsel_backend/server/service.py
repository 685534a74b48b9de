"""What the routes of one web server share: the settings, the store, and what is made from these and kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flask import current_app

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import named_items, read_mark
from cdsel_backend.labelstudio.queue import shown_prediction
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.project.serving import Predictions
from cdsel_backend.server.health import Health
from cdsel_backend.server.inbox import Inbox
from cdsel_backend.server.pool_table import PoolTables
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.store.numbers import is_number
from cdsel_backend.store.pool_tasks import is_another
from cdsel_backend.store.records import Json, Project
from cdsel_backend.training import ModelFormatError

log = logging.getLogger(__name__)


class Service:
    """One web server's settings, store, predictions and tables of pools; its inbox and its health."""

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self.server = server
        self.store = store
        self.serving = Predictions(server, store)
        self.tables = PoolTables(server, store)
        self.inbox = Inbox(store)
        self.health = Health(server, store)

    @classmethod
    def current(cls) -> Service:
        """The service of the app that handles this request."""
        service: Service = current_app.extensions["cdsel"]
        return service

    def project_of(self, source: int) -> Project | None:
        """The project whose pool, or one of whose queues, is this project of our Label Studio."""
        return self.store.project_of(source, self.server.label_studio_url)

    def predictions(
        self, project: Project, source: int, tasks: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """What the champion says of tasks of `source`, the pool or a queue in Label Studio, in their order.

        A task of a queue stands for the image that was pushed there as this task, unless its data are another's,
        with its image; its annotator gets no answer that the model is not sure of.
        A task that has no vector yet gets an empty result: it is predicted once the worker has embedded it. So does
        one whose number was another task's until now: Label Studio on SQLite gives that of a deleted task to the next.
        """
        state = State(self.store, project.id)
        numbers = [task["id"] if is_number(task.get("id")) else 0 for task in tasks]
        items = self._items(state, source, tasks)
        try:
            found = self.serving.of_items(state, set(items.values()))
        except ModelFormatError as fault:
            log.error("no predictions: %s", fault)
            return []
        if found is None:
            return []
        space = space_of(state)
        answers = []
        queue = source != state.project.pool_project or state.queue_is_pool
        for number in numbers:
            shares = found.get(items[number]) if number in items else None
            result: list[Json] = []
            score = 0.0
            if shares is not None:
                probabilities = shares.tolist()
                result, score = (
                    shown_prediction(state, space, probabilities)
                    if queue
                    else space.prediction(probabilities)
                )
            answers.append({"result": result, "score": score, "model_version": state.project.champion})
        return answers

    def _items(self, state: State, source: int, tasks: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        """Task of `source` -> the item that it shows."""
        asked = {task["id"]: task for task in tasks if is_number(task.get("id"))}
        space = space_of(state)
        if source == state.project.pool_project and not state.queue_is_pool:
            listed = self.store.items_by_task(state.project.id, set(asked))
            return {
                number: item.id
                for number, item in listed.items()
                if "data" not in asked[number]
                or not is_another(item, *_image_and_creation(asked[number], space))
            }
        pushed = {
            row.queue_task: row.item
            for row in self.store.tasks_numbered(state.project.id, set(asked))
            if row.queue_task is not None and state.queues.get(row.annotator) == source
        }
        # A mark that holds, of another image, says that the number is another task's now; any other mark says nothing.
        named = self.store.items_by_task(
            state.project.id, named_items(task.get("data") for task in asked.values())
        )
        marks = {number: read_mark(asked[number].get("data"), named, space) for number in pushed}
        return {
            number: item
            for number, item in pushed.items()
            if (mark := marks[number]) is None or mark.item == item
        }


def _image_and_creation(task: Mapping[str, Any], space: LabelSpace) -> tuple[object, str]:
    """What a task shows, and when it was created; None and "" where a request does not say so."""
    data = task.get("data")
    image = space.image.read(data) if isinstance(data, Mapping) else None
    return image, str(task.get("created_at") or "")

"""What the routes share: the settings, the state, and predictions from the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flask import current_app
from sqlalchemy import Row

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.project.serving import Predictions
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.training import ModelFormatError

log = logging.getLogger(__name__)


class Service:
    """One web server's share of the house."""

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self.server = server
        self.store = store
        self.serving = Predictions(server, store)

    @classmethod
    def current(cls) -> Service:
        """The service of the app that handles this request."""
        service: Service = current_app.extensions["cdsel"]
        return service

    def predictions(self, project: Row[Any], tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the champion says of tasks of the pool or the queue, in their order.

        A task that has no vector yet gets an empty result: it is predicted once the worker has embedded it.
        """
        state = State(self.store, project.id)
        numbers = [_pool_task(task) for task in tasks]
        items = self.store.items_by_task(project.id, {task for task in numbers if task is not None})
        try:
            found = self.serving.of_items(state, {row.id for row in items.values()})
        except ModelFormatError as fault:
            log.error("no predictions: %s", fault)
            return []
        if found is None:
            return []
        space = space_of(state)
        answers = []
        for task in numbers:
            item = items.get(task) if task is not None else None
            shares = found.get(item.id) if item is not None else None
            result, score = space.prediction(shares.tolist()) if shares is not None else ([], 0.0)
            answers.append({"result": result, "score": score, "model_version": state.project.champion})
        return answers


def _pool_task(task: Mapping[str, Any]) -> int | None:
    """The pool task that a task of the pool or the queue stands for."""
    data = task.get("data") or {}
    named = data.get("cdsel_item") if isinstance(data, Mapping) else None
    if isinstance(named, int):
        return named
    own = task.get("id")
    return own if isinstance(own, int) else None

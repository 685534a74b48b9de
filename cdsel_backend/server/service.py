"""What the routes share: the settings, the state, and predictions from the champion."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flask import current_app
from sqlalchemy import Row

from cdsel_backend.labelstudio.labels import LabelSpace, parse_label_space
from cdsel_backend.reconcile.context import Pool, load_champion, predict, read_pool
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store
from cdsel_backend.training import Model, ModelFormatError

log = logging.getLogger(__name__)


class Service:
    """One web server's share of the house."""

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self.server = server
        self.store = store
        self._lock = threading.Lock()
        self._loaded: dict[int, tuple[tuple[Any, ...], Model, Pool]] = {}

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
        loaded = self._champion(state)
        if loaded is None:
            return []
        model, pool = loaded
        space = parse_label_space(project.label_config)
        row_of = {row.task: place for place, row in enumerate(pool.rows)}
        rows = [row_of.get(_pool_task(project, task), -1) for task in tasks]
        known = np.array([row for row in rows if row >= 0], dtype=np.int64)
        answers = iter(predict(model, pool, known)) if len(known) else iter(())
        return [self._answer(space, next(answers) if row >= 0 else None, state) for row in rows]

    @staticmethod
    def _answer(space: LabelSpace, shares: Any, state: State) -> dict[str, Any]:
        version = state.project.champion
        if shares is None:
            return {"result": [], "score": 0.0, "model_version": version}
        result, score = space.prediction(shares.tolist())
        return {"result": result, "score": score, "model_version": version}

    def _champion(self, state: State) -> tuple[Model, Pool] | None:
        """The champion and the pool as arrays, kept until either moves."""
        project = state.project
        if project.champion is None:
            return None
        embedded = self.store.embedding_progress(project.id, project.backbone)
        key = (
            project.champion,
            project.backbone,
            project.pool_version,
            project.report_key,
            embedded,
            project.label_config,
        )
        with self._lock:
            kept = self._loaded.get(project.id)
            if kept is None or kept[0] != key:
                try:
                    model = load_champion(self.server, state)
                except ModelFormatError as fault:
                    log.error("no predictions: %s", fault)
                    return None
                if model is None:
                    return None
                kept = key, model, read_pool(self.store, state)
                self._loaded[project.id] = kept
            return kept[1], kept[2]


def _pool_task(project: Row[Any], task: Mapping[str, Any]) -> int | None:
    """The pool task that a task of the pool or the queue stands for."""
    data = task.get("data") or {}
    named = data.get("cdsel_item") if isinstance(data, Mapping) else None
    if isinstance(named, int):
        return named
    own = task.get("id")
    return own if isinstance(own, int) else None

"""/metrics for Prometheus: what is asked for is read from the database, so every web server says the same.

Gauges only: a rate is the slope of one, `deriv(cdsel_pool_embedded_images[5m])` for images embedded a second.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cdsel_backend import __version__
from cdsel_backend.server.health import find_problems
from cdsel_backend.server.service import Service
from cdsel_backend.store import State, Store

metrics = Blueprint("metrics", __name__)


@dataclass(frozen=True)
class Metric:
    """One metric: its name without the prefix, what it means, and its labels beside `project`."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ("project",)

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return f"cdsel_{self.name}"


METRICS = (
    Metric("up", "1 where /health says UP, 0 where something keeps the backend from its work", ("version",)),
    Metric("workers", "Worker processes by state: alive, stuck or dead", ("state",)),
    Metric("worker_step_seconds", "Since a worker last began or ended a step", ("holder",)),
    Metric("pool_images", "Images of the pool"),
    Metric("pool_embedded_images", "Images that have a vector"),
    Metric("pool_unusable_images", "Images that cannot be read, by now"),
    Metric("budget_images", "The budget"),
    Metric("budget_left_images", "What the budget still lets into the queue"),
    Metric("labelled_images", "Images with a label that counts"),
    Metric("skipped_images", "Images that annotators skipped"),
    Metric("queue_open_images", "Images in the queue that wait for an annotator"),
    Metric("queue_waiting_images", "Images that are selected and not in the queue yet"),
    Metric("rounds", "Rounds selected so far"),
    Metric("events_open", "Webhooks and requests that wait for the worker"),
    Metric("event_lag_seconds", "Since the oldest of them came; 0 where none waits"),
    Metric("listing_age_seconds", "Since the project was last read in Label Studio", ("project", "source")),
    Metric("training_age_seconds", "Since the newest training ended"),
    Metric("training_seconds", "How long the newest training took"),
    Metric("trainings", "Trainings so far, by whether a model came of them", ("project", "outcome")),
    Metric(
        "model_accuracy", "The champion's accuracy on held-out labels, by headline", ("project", "metric")
    ),
    Metric(
        "model_group_accuracy", "The champion's accuracy on held-out labels, by group", ("project", "group")
    ),
    Metric("problems", "Problems that the pages show, by kind", ("project", "kind")),
)
HEADLINES = (
    "worst_group_accuracy",
    "group_balanced_accuracy",
    "balanced_accuracy",
    "accuracy",
    "within_group_auc",
)


@metrics.get("/metrics")
def answer() -> Response:
    """Every metric, as text for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collector(Service.current()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def metrics_table() -> str:
    """The table of the README."""
    rows = [
        f"| `{metric.full_name}` | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for metric in METRICS
    ]
    return "\n".join(["| metric | labels | meaning |", "| --- | --- | --- |", *rows])


class _Collector:
    """Reads the metrics when Prometheus asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, in the order of `METRICS`."""
        families = {
            metric.name: GaugeMetricFamily(metric.full_name, metric.meaning, labels=metric.labels)
            for metric in METRICS
        }

        def put(name: str, value: float, *labels: str) -> None:
            families[name].add_metric(labels, value)

        store = self._service.store
        put("up", float(not find_problems(self._service.server, store)), __version__)
        pulses = store.pulses()
        for name, which in (
            ("dead", [pulse.dead for pulse in pulses]),
            ("stuck", [pulse.stuck for pulse in pulses]),
        ):
            put("workers", sum(which), name)
        put("workers", sum(not pulse.dead and not pulse.stuck for pulse in pulses), "alive")
        for pulse in pulses:
            put("worker_step_seconds", pulse.step_seconds, pulse.holder)
        for project in store.projects():
            for name, value, *labels in _of_project(store, State(store, project.id), time.time()):
                put(name, value, str(project.pool_project), *labels)
        yield from families.values()


def _of_project(store: Store, state: State, now: float) -> Iterator[tuple[Any, ...]]:
    """(name, value, labels beside the project) of one project's metrics."""
    project = state.project
    embedded, unusable, images = store.embedding_progress(project.id)
    yield "pool_images", images
    yield "pool_embedded_images", embedded
    yield "pool_unusable_images", unusable
    yield "budget_images", state.budget
    yield "budget_left_images", state.left
    yield "labelled_images", len(state.labels)
    yield "skipped_images", len(state.skipped)
    yield "queue_open_images", len(state.open)
    yield "queue_waiting_images", len(state.waiting_items)
    yield "rounds", len(state.rounds)
    events = store.open_events(state.sources)
    yield "events_open", len(events)
    yield "event_lag_seconds", max((now - event.received_at for event in events), default=0.0)
    for source, at in (("pool", project.pool_synced_at), ("queue", project.queue_synced_at)):
        if at:
            yield "listing_age_seconds", max(0.0, now - at), source
    if state.trainings:
        newest = state.trainings[-1]
        yield "training_age_seconds", max(0.0, now - newest.created_at)
        if isinstance(seconds := newest.metrics.get("seconds"), int | float):
            yield "training_seconds", seconds
    for outcome, count in (
        ("model", sum(training.version is not None for training in state.trainings)),
        ("no model", sum(training.version is None for training in state.trainings)),
    ):
        yield "trainings", count, outcome
    yield from _of_champion(state)
    for kind, number in Counter(problem.origin for problem in state.problems).items():
        yield "problems", number, kind


def _of_champion(state: State) -> Iterator[tuple[Any, ...]]:
    training = state.versions.get(state.project.champion or "")
    measured = training.metrics if training is not None else {}
    for name in HEADLINES:
        if isinstance(value := measured.get(name), int | float):
            yield "model_accuracy", value, name
    groups: Sequence[Any] = measured.get("groups") or ()
    for group in groups:
        if isinstance(value := group.get("accuracy"), int | float):
            yield "model_group_accuracy", value, str(group.get("group"))

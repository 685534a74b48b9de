"""Every table of the pages as a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from flask import Response
from werkzeug.exceptions import NotFound

from cdsel_backend.confounders import Report
from cdsel_backend.project.sentences.models import outcome
from cdsel_backend.server.pages.blueprint import csv_file, moment, pages, read_state
from cdsel_backend.server.pages.confounders import measured_of, mosaics
from cdsel_backend.server.pages.image_rows import data_columns
from cdsel_backend.server.pages.models import champion_now, shares_among_labels
from cdsel_backend.server.pages.queue import QueueRow, queue_rows, queue_states
from cdsel_backend.server.pages.review import Place, disputed, latest_insight, suspects, tasks_of
from cdsel_backend.server.people import annotators
from cdsel_backend.server.status import rounds
from cdsel_backend.store import State
from cdsel_backend.store.database import chunks
from cdsel_backend.table import Cells, csv_lines, csv_text

PART = 500  # images read at once
HEADLINES = ("accuracy", "balanced_accuracy", "group_balanced_accuracy", "worst_group_accuracy")


@dataclass(frozen=True)
class Long:
    """A table that is read and sent part by part, so that it is never held whole; its columns are known before."""

    columns: Sequence[str]
    rows: Iterator[Cells]


@pages.get("/projects/<int:pool_project>/tables/<name>.csv")
def table(pool_project: int, name: str) -> Response:
    """A whole table, also where the page shows a part."""
    if name not in TABLES:
        raise NotFound(f"there is no table {name!r}; the tables are {', '.join(TABLES)}")
    found = TABLES[name](read_state(pool_project))
    lines = csv_lines(found.columns, found.rows) if isinstance(found, Long) else csv_text(found)
    return csv_file(lines, f"project-{pool_project}-{name}")


def _confounders(state: State) -> Sequence[Cells]:
    return [
        {key: cell for name, value in finding.items() for key, cell in _ends(name, value)}
        for finding in (state.project.report or {}).get("findings", ())
    ]


def _ends(name: str, value: Any) -> list[tuple[str, Any]]:
    """An interval as its two ends; anything else as it is."""
    if not name.endswith("_interval"):
        return [(name, value)]
    stem = name.removesuffix("_interval")
    return list(zip((f"{stem}_low", f"{stem}_high"), value or (None, None), strict=True))


def _levels(state: State) -> Sequence[Cells]:
    """What the mosaics show, of every variable."""
    rows = []
    for finding in measured_of(Report.from_json(state.project.report)):
        found = mosaics(state, finding.variable, most_classes=None)
        for panel in found.panels if found else ():
            for index, level in enumerate(found.levels if found else ()):
                counts = zip(found.names if found else (), panel.counts[:, index].tolist(), strict=True)
                rows.append(
                    {
                        "variable": finding.variable,
                        "where": panel.name,
                        "level": level,
                        "images": panel.sizes[index],
                        **{f"label.{name}": count for name, count in counts},
                    }
                )
    return rows


def _pool(state: State) -> Sequence[Cells]:
    insight = latest_insight(state)
    if not insight:
        return []
    share, now = insight["random_share"], champion_now(state)
    among: dict[str, float | None] = dict(shares_among_labels(state, insight))
    among["model is wrong"] = None if now is None or now["accuracy"] is None else 1 - now["accuracy"]
    found = ({"model is wrong": share["error"]} if share["error"] else {}) | (share["prevalence"] or {})
    return [
        {
            "share_of_images": name,
            "in_the_pool": estimate["value"],
            "low": estimate["interval"][0],
            "high": estimate["interval"][1],
            "in_the_labels": among[name],
        }
        for name, estimate in found.items()
    ]


def _queue(state: State) -> Long:
    every = queue_states(state)
    own = [field.name for field in fields(QueueRow)]
    return Long(
        [*own, "tasks", "pool_task", *data_columns(state.store, [item for item, _ in every])],
        (cells for part in chunks(every) for cells in _queue_cells(state, part)),
    )


def _queue_cells(state: State, selected: Sequence[tuple[int, str]]) -> Iterator[Cells]:
    numbers = [item for item, _ in selected]
    items, tasks = state.store.items_by_id(numbers), tasks_of(state, numbers)
    for row in queue_rows(state, selected):
        yield {
            **vars(row),  # `asdict` copies each value, which takes a fifth of the time of the file
            "tasks": _tasks(tasks[row.item]),
            "pool_task": items[row.item].task,
            **{f"data.{k}": v for k, v in items[row.item].data.items()},
        }


def _rounds(state: State) -> Sequence[Cells]:
    return [
        {**{key: value for key, value in row.items() if key != "metrics"}, **_headlines(row["metrics"])}
        for row in rounds(state)
    ]


def _models(state: State) -> Sequence[Cells]:
    return [
        {
            "number": row.number,
            "version": row.version,
            "champion": bool(row.version) and row.version == state.project.champion,
            "created_at": moment(row.created_at),
            "labels": row.label_count,
            "outcome": outcome(row.outcome),
            **_headlines(row.metrics),
        }
        for row in state.trainings
    ]


def _headlines(metrics: Mapping[str, Any]) -> dict[str, object]:
    intervals = metrics.get("intervals", {})
    values: dict[str, object] = {
        "held_out_labels": metrics.get("n"),
        "worst_group": metrics.get("worst_group"),
    }
    for name in HEADLINES:
        low, high = intervals.get(name, (None, None))
        values |= {name: metrics.get(name), f"{name}_low": low, f"{name}_high": high}
    return values


def _groups(state: State) -> Sequence[Cells]:
    now = champion_now(state)
    return list(now["groups"]) if now else []


def _suspects(state: State) -> Sequence[Cells]:
    return [{**asdict(suspect), "tasks": _tasks(suspect.tasks)} for suspect in suspects(state)]


def _disputed(state: State) -> Sequence[Cells]:
    return [
        {
            "item": image.item,
            "label": image.label,
            "readings": "; ".join(f"{who}: {label}" for who, label in image.readings),
            "tasks": _tasks(image.tasks),
        }
        for image in disputed(state)
    ]


def _tasks(places: Iterable[Place]) -> str:
    return "; ".join(f"project {place.project} task {place.task}" for place in places)


def _annotators(state: State) -> Sequence[Cells]:
    return [asdict(annotator) for annotator in annotators(state)]


def _settings(state: State) -> Sequence[Cells]:
    values = state.settings.model_dump(mode="json")
    return [
        {"setting": name, "value": values[name], "source": source}
        for name, source in state.resolved.sources.items()
    ]


def _unusable(state: State) -> Long:
    return Long(("task", "image", "reason", "attempts"), _unusable_cells(state))


def _unusable_cells(state: State) -> Iterator[Cells]:
    last = 0
    while part := state.store.unusable(state.project.id, limit=PART, after=last):
        for row in part:
            yield {"task": row.task, "image": row.image, "reason": row.problem, "attempts": row.attempts}
        last = part[-1].id


def _tasks_of_problems(state: State) -> Sequence[Cells]:
    """Every task that a problem of the project is about, where the message names the first."""
    rows: list[Cells] = [
        {"problem": origin, "project": task.project, "task": task.task, "pool_task": task.pool_task}
        for origin, tasks in state.store.problem_tasks(state.project.id).items()
        for task in tasks
    ]
    other = [row for row in state.annotations if row.item in state.other_answers and row.question is not None]
    wrong = [(row, row.problem) for row in state.annotations if row.problem]
    wrong += [(row, f"answers {row.question}") for row in other]
    items = state.store.items_by_id({row.item for row, _ in wrong})
    rows += [
        {"problem": problem, "project": row.source, "task": row.task, "pool_task": items[row.item].task}
        for row, problem in wrong
    ]
    return rows


def _events(state: State) -> Sequence[Cells]:
    return [
        {
            "received_at": moment(row.received_at),
            "project": row.source,
            "action": row.action,
            "payload": row.payload,
            "handled_at": moment(row.handled_at),
        }
        for row in state.store.events(state.sources)
    ]


def _audit(state: State) -> Sequence[Cells]:
    names = ("who", "name", "old", "old_source", "new", "new_source")
    return [
        {"at": moment(row.at), **{name: getattr(row, name) for name in names}}
        for row in state.store.audit(state.project.id)
    ]


TABLES: dict[str, Callable[[State], Sequence[Cells] | Long]] = {
    "confounders": _confounders,
    "levels": _levels,
    "pool": _pool,
    "queue": _queue,
    "annotators": _annotators,
    "rounds": _rounds,
    "models": _models,
    "groups": _groups,
    "suspects": _suspects,
    "disputed": _disputed,
    "settings": _settings,
    "tasks-of-problems": _tasks_of_problems,
    "unusable": _unusable,
    "events": _events,
    "audit": _audit,
}

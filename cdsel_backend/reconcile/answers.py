"""What annotators gave for a task, as rows of the label table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cdsel_backend.labelstudio.labels import LabelSpace, UnknownLabel
from cdsel_backend.phrases import form, number_of, numbered
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

TASKS_SHOWN = 5  # of a problem
HIDDEN = "not asked"
"""`ignored` of an answer to another question by which Label Studio hid ours (`visibleWhen`): all is as it should be."""


def label_rows(
    task: int, annotations: Sequence[Mapping[str, Any]], item: int, space: LabelSpace
) -> list[Json]:
    """The annotations of one task as rows of the label table."""
    rows: list[Json] = []
    for annotation in annotations:
        skipped, label, problem, question = bool(annotation.get("was_cancelled")), None, None, None
        ignored = None
        if not skipped:
            result = annotation.get("result") or []
            try:
                question = space.other_question(result)
                label = space.label_of(result) if question is None else None
                hidden = question is not None and not space.asked(result)
                ignored = HIDDEN if hidden else space.ignored_in(result)
            except UnknownLabel as fault:
                label = fault.rest
                problem = f"task {task}, annotation {annotation['id']}: {fault}"
            except Exception as fault:  # any account can submit any JSON: it costs this annotation only
                problem = (
                    f"task {task}, annotation {annotation['id']}: it is no answer to this labeling config "
                    f"({type(fault).__name__}: {fault})"
                )
        rows.append(
            {
                "annotation": annotation["id"],
                "item": item,
                "label": label,
                "problem": problem,
                "skipped": skipped,
                "annotator": str(annotation.get("completed_by") or ""),
                "updated_at": str(annotation.get("updated_at") or ""),
                "task": task,
                "question": question,
                "seconds": _seconds(annotation.get("lead_time")),
                "ignored": ignored,
                "ground_truth": annotation.get("ground_truth") is True,
            }
        )
    return rows


def _seconds(lead_time: object) -> float | None:
    """A `lead_time` of Label Studio; None for what is none, as of annotations that were imported."""
    known = isinstance(lead_time, (int, float)) and not isinstance(lead_time, bool)
    return float(lead_time) if known and 0 < lead_time < float("inf") else None  # type: ignore[operator,arg-type]


def other_answers_problem(state: State, space: LabelSpace) -> list[str]:
    """The sentence on images that have answers to other questions only, with the fix; none where there are no such."""
    rows = [
        row
        for row in state.store.labels_of(state.project.id, state.other_answers)
        if row.question is not None and row.ignored != HIDDEN
    ]
    if not rows:
        return []
    counts = Counter(row.question for row in rows).most_common()
    asked = ", ".join(f"{(question or '').replace(', ', ' and ')} ({count})" for question, count in counts)
    numbers = sorted({row.task for row in rows if row.task is not None})
    count = len(rows)
    on_tasks = (
        f"on {form(len(numbers), 'that task', 'those tasks')}, too ({numbered('task', numbers, TASKS_SHOWN)})"
    )
    return [
        f"{number_of(count, 'annotation answers', 'annotations answer')} another question than {space.control}, which "
        f"is learned: {asked}. {form(count, 'It counts', 'They count')} neither as label nor as skipped, and "
        f"{form(count, 'uses', 'use')} no budget. Answer {space.control} {on_tasks}; or set learn to the question that "
        f"is meant; or import {form(count, 'it', 'them')} again with from_name {space.control}"
    ]

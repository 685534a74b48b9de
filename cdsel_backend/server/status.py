"""One project's state in the words and numbers an admin, or a script, asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from cdsel_backend.confounders import Report
from cdsel_backend.project.sentences.models import early_training, outcome
from cdsel_backend.project.sentences.problems import annotation_problems, conflicting_labels, left_out
from cdsel_backend.project.sentences.steps import doing
from cdsel_backend.server.people import agreement_of, annotators, paces, work_left
from cdsel_backend.store import State
from cdsel_backend.store.facts import REPEATS_FACT
from cdsel_backend.store.records import Json

UNUSABLE_SHOWN = 1000  # of the images left out; the count is of all


def project_status(state: State) -> Json:
    """Everything worth knowing about a project, as JSON."""
    store = state.store
    project = state.project
    report = Report.from_json(project.report)
    embedded, unusable, items = store.embedding_progress(project.id)
    shown = store.unusable(project.id, limit=UNUSABLE_SHOWN) if unusable else []
    activity = project.activity
    return {
        "project": project.pool_project,
        "title": project.title,
        "studio_url": project.studio_url,
        "queue_project": project.queue_project,
        "state": activity.step.value,
        "waits": activity.step.waits,
        "step": doing(activity),
        "progress": {"step": doing(activity), "done": activity.done, "total": activity.total},
        "problems": [problem.message for problem in state.problems]
        + annotation_problems(state)
        + conflicting_labels(state)
        + left_out(unusable, items, shown)
        + early_training(state),
        "problem_tasks": bool(state.problems and store.problem_tasks(project.id))
        or bool(state.answers.problem.any()),
        "found": [
            {"origin": problem.origin, "message": problem.message, "since": problem.since}
            for problem in state.problems
        ],
        "settings": state.settings.model_dump(mode="json"),
        "sources": dict(state.resolved.sources),
        "budget": state.budget,
        "labelled": len(state.labels),
        "open": len(state.open),
        "skipped": len(state.skipped),
        "undecided": len(state.undecided),
        "withdrawn": len(state.withdrawn),
        "other_answers": len(state.other_answers),
        "double": len(state.used) - state.used_images,
        "repeats": store.fact(REPEATS_FACT.format(project.id)) or 0,
        "left": state.left,
        "items": items,
        "embedded": embedded,
        "unusable_count": unusable,
        "unusable": [{"task": row.task, "reason": row.problem} for row in shown],
        "confounders": [
            {
                "variable": finding.variable,
                "verdict": finding.verdict,
                "acts": finding.acts,
                "encoded": finding.encoded,
                "given_label": finding.given_label,
                "associated": finding.associated,
                "sentence": finding.sentence,
                "statement": finding.statement,
                "note": finding.note,
            }
            for finding in report.findings
        ],
        "lead": report.lead,
        "annotators": [asdict(annotator) for annotator in annotators(state)],
        "agreement": agreement_of(state),
        "seconds_per_image": None if state.pace.every is None else state.pace.every.seconds,
        "seconds_left": work_left(state),
        "pace": [asdict(row) for row in paces(state)],
        "champion": project.champion,
        # The pages look at themselves again when this changes.
        "explained_training": state.with_insight and state.with_insight.number,
        "rounds": rounds(state),
    }


def rounds(state: State) -> Sequence[Json]:
    """Each round: what was pushed, what became of that, and the model trained once it was complete."""
    found = state.in_queues
    became = {
        "pushed": state.pushed.union(found.item[found.withdrawn].tolist()),
        "labelled": state.labels.keys(),
        "open": state.open,
        "skipped": state.skipped,
        "withdrawn": state.withdrawn,
    }
    chosen_in = found.round[: found.first]
    counts = {name: Counter(chosen_in[found.selected(items)].tolist()) for name, items in became.items()}
    last = {row.round: row for row in state.trainings}
    answer = []
    for row in state.rounds:
        trained = last.get(row.number)
        answer.append(
            {
                "round": row.number,
                **{name: counts[name][row.number] for name in became},
                "model_version": trained.version if trained else None,
                "outcome": outcome(trained.outcome) if trained else None,
                "metrics": {k: v for k, v in trained.metrics.items() if k != "insight"} if trained else {},
            }
        )
    return answer

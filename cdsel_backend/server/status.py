"""One project's state in the words and numbers an admin, or a script, asks for."""

from __future__ import annotations

from typing import Any

from cdsel_backend.store import State, Store


def project_status(store: Store, state: State) -> dict[str, Any]:
    """Everything worth knowing about a project, as JSON."""
    project = state.project
    embedded, _, items = store.embedding_progress(project.id, project.backbone)
    activity = project.activity or {"step": "starting", "done": 0, "total": 0}
    report = project.report or {}
    return {
        "project": project.pool_project,
        "title": project.title,
        "studio_url": project.studio_url,
        "queue_project": project.queue_project,
        "step": activity["step"],
        "progress": activity,
        "problems": [words for sentences in project.problems.values() for words in sentences]
        + sorted({row.problem for row in state.annotations if row.problem}),
        "settings": state.settings.model_dump(mode="json"),
        "sources": dict(state.resolved.sources),
        "budget": state.settings.budget,
        "labelled": len(state.labels),
        "open": len(state.open),
        "skipped": len(state.skipped),
        "left": state.left,
        "items": items,
        "embedded": embedded,
        "unusable": [
            {"task": row.task, "reason": row.problem} for row in state.items if row.problem and not row.gone
        ],
        "confounders": [
            {
                "variable": finding["variable"],
                "verdict": finding["verdict"],
                "encoded": finding["encoded"],
                "associated": finding["associated"],
                "sentence": finding["sentence"],
            }
            for finding in report.get("findings", [])
        ],
        "champion": project.champion,
        "rounds": rounds(state),
    }


def rounds(state: State) -> list[dict[str, Any]]:
    """Each round: pushed, labelled, and the model trained once it was complete."""
    answer = []
    for row in state.rounds:
        items = {one.item for one in state.selections if one.round == row.number}
        after = [one for one in state.trainings if one.round == row.number]
        last = after[-1] if after else None
        answer.append(
            {
                "round": row.number,
                "pushed": len(items & state.pushed),
                "labelled": len(items & state.labels.keys()),
                "open": len(items & state.open),
                "skipped": len(items & state.skipped),
                "model_version": last.version if last else None,
                "outcome": last.outcome if last else None,
                "metrics": last.metrics if last else {},
            }
        )
    return answer

"""Sentences on what is wrong with a project, its images, its labels or Label Studio, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cdsel_backend.phrases import listed, number_of, numbered
from cdsel_backend.project.label_text import label_reader
from cdsel_backend.store import State
from cdsel_backend.store.records import Item

TASKS_SHOWN = 5  # of annotations that have the same problem


def annotation_problems(state: State) -> list[str]:
    """What is wrong with annotations: a line each, or one for many of which the same is wrong."""
    by_fault: dict[str, list[tuple[int, str]]] = {}
    given = state.store.annotation_problems(state.project.id) if state.answers.problem.any() else []
    for task, problem in given:
        by_fault.setdefault(problem.partition(": ")[2], []).append((task or 0, problem))
    lines: set[str] = set()
    for fault, found in by_fault.items():
        if len(found) <= TASKS_SHOWN:
            lines.update(problem for _, problem in found)
            continue
        tasks = sorted({task for task, _ in found})
        lines.add(f"{number_of(len(found), 'annotation')} ({numbered('task', tasks, TASKS_SHOWN)}): {fault}")
    return sorted(lines)


def conflicting_labels(state: State) -> list[str]:
    """That tasks which show the same picture are labelled differently, as a sentence if some are."""
    conflicts = [
        items
        for items in state.same_images
        if len({state.labels[item] for item in items & state.labels.keys()}) > 1
    ]
    if not conflicts:
        return []
    labelled = sorted(conflicts[0] & state.labels.keys())
    rows = state.store.items_by_id(labelled)
    names = [rows[item].name for item in labelled]
    read = label_reader(state)
    texts = [read(text) for text in dict.fromkeys(state.labels[item] for item in labelled)]
    return [
        f"{number_of(len(conflicts), 'picture is', 'pictures are')} in the pool several times, byte for byte, and "
        f"labelled differently, such as {listed(names, TASKS_SHOWN)} ({listed(texts, TASKS_SHOWN)}): correct or delete "
        "the labels that are wrong; until then each is learned"
    ]


def left_out(unusable: int, items: int, shown: Sequence[Item]) -> list[str]:
    """That more images cannot be used than can, and the reason that `shown` of them have most often, as a sentence."""
    if 2 * unusable <= items:
        return []
    reasons = Counter(row.problem for row in shown if row.problem)
    ((reason, _),) = reasons.most_common(1) or [("no reason is known", 0)]
    whole = "none" if unusable == items else f"only {items - unusable:,}"
    return [
        f"{whole} of the {number_of(items, 'image')} of the pool can be used, and {unusable:,} cannot; most often: "
        f"{reason}. The page Activity lists them with the reason"
    ]


def taking_long(step: str, seconds: float) -> str:
    """That a project has been at one step for long."""
    return (
        f"This project has been at one step ({step.replace('_', ' ') or 'its first'}) for more than {seconds / 60:.0f} "
        "minutes: its images, its storage or Label Studio may answer slowly or not at all. Other projects go on."
    )


def pool_gone(pool_project: int) -> str:
    """That the pool project is not there any more, and what can be done."""
    return (
        f"the pool project ({pool_project}) is not in Label Studio any more, or the account of LABEL_STUDIO_API_KEY "
        "may not see it: nothing is pushed, and its labels, models and vectors stay kept here; if it was deleted, "
        "remove it from this dashboard"
    )


def backend_removed(pool_project: int, address: str) -> str:
    """That Label Studio has this backend no more for a project, what becomes of it, and what can be done."""
    return (
        f"this backend was removed under Settings > Model of project {pool_project} in Label Studio: nothing is "
        "selected or pushed any more. Labels of the images that are open in the queue still come in, and labels, "
        f"models and vectors stay kept here. To go on, connect {address} there again; to end it for good, remove the "
        "project from this dashboard"
    )


def sources_lost(pool_project: int) -> str:
    """That the images of a project are from a source that this data folder does not know."""
    return (
        f"the images of project {pool_project} came from outside Label Studio, and this data folder does not know from "
        f"where: name their source again by `cdsel pool add --project {pool_project} SOURCE`; their labels and what is "
        "open come back with it"
    )


def backend_connected_again(pool_project: int) -> str:
    """That Label Studio has this backend again."""
    return f"this backend is under Settings > Model of project {pool_project} in Label Studio again, and goes on there"


def connected_elsewhere(studio_url: str) -> tuple[str, str]:
    """That a project was connected from another Label Studio than that of the environment, and the fix."""
    return (
        f"it was connected from {studio_url}, and LABEL_STUDIO_URL is another address",
        "it stands still; where that Label Studio has moved here, open Settings > Model of the project there, or save "
        "it once more, and it goes on with all that is known of it; else set LABEL_STUDIO_URL to the former address",
    )


def webhook_refused(url: str, reason: str, seconds: float) -> str:
    """What is said where Label Studio lets no webhook lead to us."""
    return (
        f"Label Studio refuses our webhook to {url} ({reason}). Labels still come, by a look every {seconds:.0f} "
        "seconds. To have them at once, start Label Studio with SSRF_PROTECTION_ENABLED=false, or give this backend a "
        "public address (CDSEL_PUBLIC_URL)."
    )

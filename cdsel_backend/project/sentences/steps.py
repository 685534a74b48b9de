"""Sentences on what the worker does for a project, and what comes next."""

from __future__ import annotations

from cdsel_backend.phrases import form, number_of
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.problems import POOL_GONE


def doing(activity: Activity) -> str:
    """What the worker does for a project, or what that waits for; to be followed by its progress."""
    if activity.step is Step.WAITING_FOR_LABELS:
        return f"waiting for labels of {number_of(activity.open, 'image')}"
    return _DOING[activity.step]


_DOING = {
    Step.STARTING: "starting",
    Step.EMBEDDING: "embedding images",
    Step.DETECTING: "looking for confounders",
    Step.TRAINING: "training",
    Step.FINE_TUNING: "fine-tuning the backbone",
    Step.SELECTING: "selecting the next round",
    Step.FILLING_QUEUE: "filling the queue",
    Step.EMBEDDING_QUEUE: "embedding the queue by the fine-tuned backbone",
    Step.NO_IMAGES: "waiting for images in the pool project",
    Step.PAUSED: "paused",
    Step.BUDGET_USED: "the budget is used up",
    Step.QUOTAS_USED: "the annotators' quotas are used up",
    Step.POOL_USED: "no image is left to select",
    Step.DISCONNECTED: "standing still: this backend was removed from the project in Label Studio",
    Step.ANOTHER_BACKEND: "standing aside: another backend works for this project",
    Step.STANDS_STILL: "standing still: a problem keeps it from its work",
}


def next_step(state: State, *, images: int, read: int) -> str:
    """What comes next, as a sentence or two; `read` of the pool's images are embedded, or cannot be."""
    size, waiting = min(state.settings.round_size, state.left), len(state.open)
    if not size:
        after = "Then the budget is used up; raise it to go on."
    elif waiting > state.low_water > 0:
        few = f"{state.low_water} {form(state.low_water, 'is', 'are')} left"
        after = f"Round {len(state.rounds) + 1} of {number_of(size, 'image')} is selected once {few}."
    else:
        after = f"Then round {len(state.rounds) + 1} of {number_of(size, 'image')} is selected."
    if POOL_GONE in state.project.problems:
        return "Nothing: this project is not in Label Studio any more."
    if state.disconnected:
        return (
            "Nothing is selected or pushed until Label Studio has this backend again. Labels of open images still "
            "come in."
        )
    if state.project.activity.step is Step.STANDS_STILL:
        return (
            "Nothing until the problem above is solved; then it goes on by itself. Labels that are given meanwhile are "
            "kept by Label Studio, and learned then."
        )
    if state.settings.paused:
        return "Paused: nothing more is pushed until you resume. Labels still come in."
    if not images:
        return "Import images into the pool project in Label Studio. Everything else follows by itself."
    if read < images:
        return "The images are read and embedded first; the confounder report and the first round follow."
    if waiting:
        return f"{number_of(waiting, 'image waits', 'images wait')} for the annotators. {after}"
    if not size:
        return "The budget is used up. Raise it to get another round."
    if state.project.activity.step is Step.POOL_USED:
        bounds = [
            name for name in ("group_cap", "near_duplicate") if getattr(state.settings, name) is not None
        ]
        loosen = f", or loosen {' or '.join(bounds)}" if bounds else ""
        return f"Every image that the settings allow is chosen. Import more{loosen}."
    return f"Round {len(state.rounds) + 1} of {number_of(size, 'image')} is selected next."

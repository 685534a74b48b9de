"""Sentences on trainings and what came of them, and names of what models are measured by."""

from __future__ import annotations

from cdsel_backend.phrases import form, number_of
from cdsel_backend.store import State
from cdsel_backend.store.records import Became, Outcome

HEADLINES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced over the classes",
    "group_balanced_accuracy": "mean over the groups",
    "worst_group_accuracy": "worst group",
    "within_group_auc": "AUROC within groups",
    "calibration_error": "calibration error",
}
"""What a model is measured by -> its name for people."""


def few_labels(state: State, labels: int) -> str | None:
    """That a training on so many labels has fewer than Label Studio's project asks for; None if it has not."""
    least = state.project.least_labels
    if labels >= least:
        return None
    return (
        f"{number_of(labels, 'label is', 'labels are')} fewer than the {least} from which this project trains by "
        "itself (min_annotations_to_start_training in Label Studio)"
    )


def early_training(state: State) -> list[str]:
    """That the newest training had fewer labels than Label Studio's project asks for, as a sentence if so."""
    newest = state.trainings[-1] if state.project.least_labels and state.trainings else None
    few = few_labels(state, newest.label_count) if newest is not None else None
    return [f"the newest training came early: {few}"] if few else []


def first_training(state: State) -> str:
    """That there is no model yet, and when one is trained, as two sentences."""
    settings, least, few = state.settings, state.project.least_labels, state.low_water
    if state.trainings:
        due = "The labels so far do not make one; the next try is once all of the round is labelled, or at "
        return f"No model yet. {due}{number_of(settings.retrain_every, 'new label')}."
    open_then = f"{number_of(few, 'image of the round is', 'images of the round are')} left to label"
    due = open_then if few else "the round is labelled"
    sooner = settings.retrain_every < settings.round_size - few
    due += f", or at {number_of(settings.retrain_every, 'label')}" if sooner else ""
    if least:
        due += f", but not before there are {number_of(least, 'label')}"
        due += " (min_annotations_to_start_training in Label Studio)"
    return f"No model yet. The first is trained once {due}."


def outcome(found: Outcome) -> str:
    """What became of a training."""
    if found.explanation:
        return found.explanation
    if found.became is Became.KEPT_OUT:
        return f"kept out: worse than {found.champion} on the held-out labels"
    if found.new_labels is not None:
        return (
            f"promoted without a comparison: the setting `group` changed, and only {found.new_labels} of the "
            f"labels held out now {form(found.new_labels, 'is', 'are')} new to {found.champion}, too few to judge by"
        )
    return str(found.became.value)

"""Every sentence that people read and that is made from facts; code compares the facts."""

from __future__ import annotations

from cdsel_backend.store import State


def few_labels(state: State, labels: int) -> str | None:
    """That a training on so many labels has fewer than Label Studio's project asks for; None if it has not."""
    least = state.project.least_labels
    if labels >= least:
        return None
    return (
        f"{labels} label{'s are' if labels != 1 else ' is'} fewer than the {least} from which this project trains by "
        "itself (min_annotations_to_start_training in Label Studio)"
    )


def early_training(state: State) -> list[str]:
    """That the newest training had fewer labels than Label Studio's project asks for, as a sentence if so."""
    # Snapshots of labels are large: they are not read where nothing is asked for.
    newest = state.trainings[-1] if state.project.least_labels and state.trainings else None
    few = few_labels(state, len(newest.labels)) if newest is not None else None
    return [f"the newest training came early: {few}"] if few else []

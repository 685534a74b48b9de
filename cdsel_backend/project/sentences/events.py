"""Sentences on what happened, for the page of activity."""

from __future__ import annotations

from cdsel_backend.phrases import number_of
from cdsel_backend.store.records import Json

WEBHOOKS = {
    "ANNOTATION_CREATED": "Label Studio: an annotation was submitted",
    "ANNOTATIONS_CREATED": "Label Studio: annotations were submitted",
    "ANNOTATION_UPDATED": "Label Studio: an annotation was changed",
    "ANNOTATIONS_DELETED": "Label Studio: annotations were deleted",
    "TASKS_CREATED": "Label Studio: tasks were imported",
    "TASKS_DELETED": "Label Studio: tasks were deleted",
    "PROJECT_CREATED": "Label Studio: the project was made",
    "PROJECT_UPDATED": "Label Studio: the project was changed",
    "PROJECT_DELETED": "Label Studio: the project was deleted",
    "LARGE_EVENT": "Label Studio: a webhook too large to read, as after a large import",
    "SETUP": "The project was connected, or what Label Studio says of it changed",
    "START_TRAINING": "A training was asked for",
    "SELECT_NOW": "The next round was asked for",
    "TAKE_OVER": "The project was to be taken over",
    "SOURCE_ADDED": "A source outside Label Studio was added to the pool",
    "SOURCE_REMOVED": "A source outside Label Studio was taken out of the pool",
    "TASKS_PUSHED": "Images were pushed into the queue",
    "PREDICTIONS_SHOWN": "Predictions were sent to the queue",
    "TASKS_WITHDRAWN": "Tasks were withdrawn",
    "TASKS_CORRECTED": "Tasks got the metadata of the pool",
    "TASKS_MOVED": "Tasks show their images by a new address",
    "TASKS_RETURNED": "Tasks came back",
    "LABELS_KEPT": "Labels were kept",
    "TASKS_TAKEN_BACK": "Tasks were taken back",
    "CONFIG_KEPT": "A labeling config was changed in Label Studio",
    "IMAGE_HOST_SUSPENDED": "A host of images is left alone for a while",
}
"""What an event is, by its action."""


def event_text(action: str) -> str:
    """What an event is, for the activity page."""
    return WEBHOOKS.get(action, action.replace("_", " ").capitalize())


def brought(result: Json) -> str:
    """What the look that an event led to brought, as a sentence without its full stop."""
    parts = [
        f"{number_of(count, noun)}{rest}"
        for name, noun, rest in (
            ("answers", "annotation", " new or changed"),
            ("withdrawn", "annotation", " gone"),
            ("images", "image", " more in the pool"),
        )
        if (count := int(result.get(name, 0))) > 0
    ]
    if int(result.get("images", 0)) < 0:
        gone = -int(result["images"])
        parts.append(f"{number_of(gone, 'image')} fewer in the pool")
    return ", ".join(parts) or "nothing new"

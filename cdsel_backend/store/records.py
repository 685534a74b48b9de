"""What the store keeps and answers, as records: no row of a table leaves the store."""

from __future__ import annotations

from enum import Enum


class Request(str, Enum):
    """An event that asks for a step, and stays open until that step has run."""

    TRAIN = "START_TRAINING"
    """What Label Studio's button sends, too."""
    SELECT = "SELECT_NOW"

    __str__ = str.__str__  # databases and forms hold the value

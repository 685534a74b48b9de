"""What the worker does for a project, and what it can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Request(str, Enum):
    """An event that asks for a step, and stays open until that step has run."""

    TRAIN = "START_TRAINING"
    """What Label Studio's button sends, too."""
    SELECT = "SELECT_NOW"
    TAKE_OVER = "TAKE_OVER"
    """Keep the books of a project that another backend kept."""

    __str__ = str.__str__  # databases and forms hold the value


class Step(str, Enum):
    """What the worker does for a project, or what the project waits for."""

    STARTING = "starting"
    EMBEDDING = "embedding"
    DETECTING = "detecting"
    TRAINING = "training"
    FINE_TUNING = "fine-tuning"
    SELECTING = "selecting"
    FILLING_QUEUE = "filling-queue"
    EMBEDDING_QUEUE = "embedding-queue"
    NO_IMAGES = "no-images"
    WAITING_FOR_LABELS = "waiting-for-labels"
    PAUSED = "paused"
    BUDGET_USED = "budget-used"
    QUOTAS_USED = "quotas-used"
    POOL_USED = "pool-used"
    ANOTHER_BACKEND = "another-backend"
    DISCONNECTED = "disconnected"
    STANDS_STILL = "stands-still"

    @property
    def waits(self) -> bool:
        """Whether the project waits for somebody."""
        return self in _WAITING


_WAITING = frozenset(
    {Step.NO_IMAGES, Step.WAITING_FOR_LABELS, Step.PAUSED, Step.BUDGET_USED, Step.QUOTAS_USED, Step.POOL_USED}
    | {Step.ANOTHER_BACKEND, Step.DISCONNECTED, Step.STANDS_STILL}
)


@dataclass(frozen=True)
class Activity:
    """What the worker does for a project now, with `done` of `total` images; or how many `open` images it waits for."""

    step: Step = Step.STARTING
    done: int = 0
    total: int = 0
    open: int = 0

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Activity:
        """Read what the database holds; the sentence of an earlier version counts as `STARTING` until the next pass."""
        try:
            return cls(**{**kept, "step": Step(kept["step"])})
        except (KeyError, TypeError, ValueError):
            return cls()

    def to_json(self) -> dict[str, object]:
        """What the database keeps, for its JSON column."""
        return {**asdict(self), "step": self.step.value}

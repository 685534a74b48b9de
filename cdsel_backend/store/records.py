"""What the store keeps and answers, as records: no row of a table leaves the store.

A record has the columns of its table by their names (`schema.py` says what they hold), not always all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.store.activity import Activity
from cdsel_backend.store.rows import READ

Json = Mapping[str, Any]
"""A JSON object as the database, or Label Studio, has it."""


class Directive(str, Enum):
    """What an admin wants of an image."""

    EXCLUDED = "excluded"
    """It is never selected, and leaves the queue if it is open there."""
    FIRST = "first"
    """It comes before all others in the next selection."""


@dataclass(frozen=True)
class DirectiveChange:
    """A change of what an admin wants of an image; None: as of every other image."""

    at: float
    who: str
    directive: Directive | None
    former: Directive | None


class Became(str, Enum):
    """What became of a training."""

    PROMOTED = "promoted"
    KEPT_OUT = "kept out"
    NO_MODEL = "no model"


_FORMER_EXPLANATION = "words"
"""What `Outcome.explanation` was called on 25 November 2026, in databases of the present schema."""


@dataclass(frozen=True)
class Outcome:
    """What became of a training, and why."""

    became: Became
    champion: str | None = None
    """The version that it was compared with, or could not be compared with."""
    new_labels: int | None = None
    """How many of the held-out labels were new to that version, where they were too few for a comparison."""
    explanation: str = ""
    """What the training said where it gave no model; or the sentence that an earlier version kept."""

    @classmethod
    def read(cls, kept: str) -> Outcome:
        """Read what the database holds: JSON, or the sentence that an earlier version kept."""
        if kept.startswith("{"):
            found = json.loads(kept)
            found.setdefault("explanation", found.get(_FORMER_EXPLANATION, ""))
            known = {one.name: found[one.name] for one in fields(cls) if one.name in found}
            return cls(**{**known, "became": Became(found["became"])})
        for became in (Became.PROMOTED, Became.KEPT_OUT):
            if kept.startswith(became.value):
                return cls(became, explanation="" if kept == became.value else kept)
        return cls(Became.NO_MODEL, explanation=kept)

    def to_text(self) -> str:
        """The JSON that the database keeps."""
        return json.dumps({**asdict(self), "became": self.became.value})


@dataclass(frozen=True)
class Project:
    """A connected project."""

    id: int
    studio_url: str
    pool_project: int
    """Its id in Label Studio."""
    queue_project: int | None
    backend_url: str
    title: str
    label_config: str
    layers: Mapping[str, Json]
    problems: Mapping[str, Sequence[str]]
    activity: Activity = field(metadata={READ: Activity.read})
    pool_version: int
    pool_synced_at: float
    queue_synced_at: float
    backbone: str
    report: Json | None
    report_key: str
    exhausted_key: str
    champion: str | None
    least_labels: int
    described: Json | None


@dataclass(frozen=True)
class Item:
    """An image of the pool, or one that was there."""

    id: int
    project: int
    task: int
    data: Json
    image: str
    content_hash: str | None
    problem: str | None
    due_at: float | None
    """When its image is to be read, in seconds since the epoch; None: it need not be."""
    attempts: int
    gone: bool
    measures: Json | None = None
    """What its file says of itself."""
    note: str | None = None
    """What is odd about a file that is used all the same."""
    source: int | None = None
    """Which source lists it; None: the pool project."""
    key: str | None = None
    """Its name in that source."""
    stamp: str | None = None
    """Of a task of the pool project, when Label Studio created it."""

    @property
    def name(self) -> str:
        """What people know it by: its task in the pool project, or its name in its source."""
        return f"task {self.task}" if self.source is None else str(self.key)

    @property
    def metadata(self) -> Json:
        """The task's data, and beside them what the file says of itself."""
        return self.data if not self.measures else {**self.data, **self.measures}


@dataclass(frozen=True)
class DueItem:
    """An item whose image is to be read, with what that takes: pools are large, and their data are not needed."""

    id: int
    task: int
    image: str
    due_at: float
    attempts: int
    source: int | None
    key: str | None


class ReadImage(NamedTuple):
    """What came of reading an item's image. A tuple, since it is made for each image of a pool and a dataclass takes
    five times as long."""

    item: int
    content_hash: str
    vector: NDArray[np.floating[Any]] | None
    """(d,), or None: its content has a vector, or another item of the same content will bring it."""
    measures: Json
    """What its file says of itself."""
    note: str | None
    """What is odd about a file that is used all the same."""


@dataclass(frozen=True)
class Source:
    """Where items of a project come from that are not tasks of its pool project."""

    id: int
    project: int
    address: str
    options: Json
    watermark: str
    listed_at: float


@dataclass(frozen=True)
class Annotation:
    """What an annotator gave for an item: a label, a skip, or an answer that makes no label."""

    annotation: int
    source: int
    item: int
    label: str | None
    problem: str | None
    skipped: bool
    annotator: str
    """The user's id in Label Studio, as text; "": not known."""
    updated_at: str
    task: int | None = None
    """The task it was made on."""
    question: str | None = None
    """The controls that it answers instead of the one that is learned; None: it answers that one, or none."""
    seconds: float | None = None
    """How long the annotator had it open, by Label Studio's `lead_time`; None: not measured."""
    ignored: str | None = None
    """The classes it gives that are not learned (`ignore_classes`), where it gives no other."""
    ground_truth: bool = False
    """Whether somebody marked it as ground truth in Label Studio."""


@dataclass(frozen=True)
class Round:
    """A round that was selected."""

    number: int
    strategy: str
    seed: int
    model_version: str | None
    created_at: float


@dataclass(frozen=True)
class Shown:
    """What the task of a queue showed when it was pushed or seen first."""

    created_at: str
    """When Label Studio made it, as it writes that; "": not known yet."""
    address: str
    """Where its picture is."""
    digest: str
    """What stands for its other data, without ours."""

    @classmethod
    def read(cls, value: Sequence[str] | None) -> Shown | None:
        """Read what the database holds."""
        return None if value is None else cls(*value)

    def parts(self) -> tuple[str, str, str]:
        """What the database holds."""
        return self.created_at, self.address, self.digest


@dataclass(frozen=True)
class QueueTask:
    """An item with the task by which it is in a queue, or none yet."""

    item: int
    annotator: str
    """Whose queue; "": everyone's."""
    rank: int
    queue_task: int | None
    predicted_by: str | None
    withdrawn_at: float | None
    """When its task was found deleted in Label Studio, in seconds since the epoch."""
    shown: Shown | None = field(metadata={READ: Shown.read})
    """None: it has no task, or one that was not seen yet."""

    @property
    def live(self) -> bool:
        """Whether its task is in a queue."""
        return self.queue_task is not None and self.withdrawn_at is None


@dataclass(frozen=True)
class Copy(QueueTask):
    """A further task of an item that is in a queue already."""


@dataclass(frozen=True)
class Selection(QueueTask):
    """An item that a round selected, and its first task."""

    round: int
    gain: float
    sentence: str
    reason: Json

    @property
    def drawn_at_random(self) -> bool:
        """Whether it belongs to the round's random share."""
        return bool(self.reason.get("drawn_at_random"))

    @property
    def chosen_by_chance(self) -> bool:
        """Whether nothing but chance chose it, among all images or inside its stratum."""
        return self.drawn_at_random or bool(self.reason.get("by_chance"))

    @property
    def represents(self) -> float:
        """How many items of its level it represents: 1 / odds where nothing but chance chose it, else 0.

        Selections of earlier versions keep no odds: all images of a stratum had the same.
        """
        return 1 / float(self.reason.get("odds", 1.0)) if self.chosen_by_chance else 0.0

    @property
    def levels(self) -> Mapping[str, str]:
        """The levels of the confounders that it was selected with: variable -> level."""
        return dict(self.reason.get("levels") or {})


@dataclass(frozen=True)
class Annotator:
    """An account that the setting `annotators` names or named."""

    email: str
    user: int | None
    queue_project: int | None


@dataclass(frozen=True)
class Training:
    """A training that ran, with a model or without."""

    number: int
    version: str | None
    round: int
    label_count: int
    outcome: Outcome = field(metadata={READ: Outcome.read})
    metrics: Json
    created_at: float

    @property
    def explained(self) -> bool:
        """Whether it is known what its model says of labels and pool, if only that this cannot be computed."""
        return "insight" in self.metrics


@dataclass(frozen=True)
class Event:
    """Something that Label Studio, or somebody on the dashboard, made known."""

    id: int
    source: int | None
    action: str
    received_at: float
    handled_at: float | None = None
    payload: Json = field(default_factory=dict)
    result: Json | None = None
    """What the look that it led to brought: `answers` new or changed, `withdrawn`, and `images`; None: not known."""


@dataclass(frozen=True)
class AuditEntry:
    """Something that was changed or asked for on the dashboard or by a command."""

    at: float
    who: str
    name: str
    old: object
    old_source: str | None
    new: object
    new_source: str | None

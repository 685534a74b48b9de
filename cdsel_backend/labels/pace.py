"""How long people take for an image, from the time that Label Studio measures of each annotation.

Label Studio counts for as long as the task is open, also while nobody looks at it. So a median is taken: half of the
times may be those of an idle tab, and it hardly moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

FEWEST_TIMES = 5  # from which a median is given


@dataclass(frozen=True)
class Times:
    """Annotations whose time is known: how many, and their median in seconds."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How long an image takes: of all annotators together, None while too few times are known, and of each."""

    every: Times | None = None
    by_annotator: Mapping[str, Times] = field(default_factory=dict)
    """User id, as text -> the times of one who has enough of them."""

    def images_in(self, seconds: float) -> int | None:
        """How many images so many seconds of annotators' work allow; None where that is not known."""
        return None if self.every is None else int(seconds / self.every.seconds)


def measure_pace(times: Iterable[tuple[str, float | None]]) -> Pace:
    """Measure the pace of annotations: who made each, and in how many seconds (None: not known)."""
    by: dict[str, list[float]] = {}
    for annotator, seconds in times:
        if seconds is not None and seconds > 0:
            by.setdefault(annotator, []).append(seconds)
    known = {who: found for who, own in sorted(by.items()) if (found := _times(own)) is not None}
    return Pace(_times([seconds for own in by.values() for seconds in own]), known)


def _times(seconds: list[float]) -> Times | None:
    return Times(len(seconds), float(median(seconds))) if len(seconds) >= FEWEST_TIMES else None

"""Why an item was picked, as a sentence for the annotator and in numbers for the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import isolated, number_of
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.strata import Strata, quotas_of

_UNSURE = 0.5
_LIKELIER = 1.25  # odds from which the sentence says that an image was likelier to be drawn


@dataclass(frozen=True)
class Reason:
    """Why one item is in the round.

    `quota` and `got` count the item's stratum in this round; `got` includes the item and is its place in the
    stratum. Nothing here tells what the label may be.
    """

    stratum: str
    quota: float
    got: int
    covers: int
    uncertainty: float | None
    drawn_at_random: bool
    """Uniformly from the whole pool."""
    by_chance: bool = False
    odds: float = 1.0
    """How likely chance was to draw it, against the mean of its stratum."""
    put_first: bool = False
    """By an admin: no strategy chose it, and no chance."""
    copies: int = 0
    """How many other images of the pool are the same file, which this one spares the annotators."""

    @property
    def sentence(self) -> str:
        """One plain sentence."""
        if self.put_first:
            return "Put first by an administrator."
        if self.drawn_at_random:
            drawn = "Drawn at random from all images, to tell what the whole pool is like"
            return _sentence("; ".join([drawn, *self._same]))
        why = []
        if self.covers > 1:
            why.append(f"represents {self.covers} similar images")
        if self.uncertainty is not None and self.uncertainty >= _UNSURE:
            why.append("the model is not yet sure of such images")
        if not why and self.covers:
            why.append("unlike the images chosen before it")
        if not self.stratum:
            bare = self._by_chance if self.by_chance else "chosen for what it adds to the images before it"
            return _sentence("; ".join([*(why or [bare]), *self._same]))
        quota = round(self.quota)
        turn = f"image {self.got} of its quota of {quota}" if self.got <= quota else "beyond its quota"
        rest = "; ".join([*(why or [self._by_chance]), *self._same])
        return _sentence(f"{isolated(_capital(self.stratum))}: {turn}{'; ' if why else ', '}{rest}")

    @property
    def represents(self) -> float:
        """For how many items of its level it speaks, against one drawn at even odds; 0 where not chance alone chose."""
        return 1 / self.odds if self.drawn_at_random or self.by_chance else 0.0

    @property
    def _by_chance(self) -> str:
        likelier = ", at greater odds because the model is not sure of it"
        return f"drawn by chance{likelier if self.odds >= _LIKELIER else ''}"

    @property
    def _same(self) -> list[str]:
        return [f"the same file as {number_of(self.copies, 'other image')}"] if self.copies else []

    def to_json(self) -> dict[str, object]:
        """Return the fields and the sentence as JSON-able values."""
        return vars(self) | {"sentence": self.sentence}


PUT_FIRST = Reason("", 0.0, 0, 0, None, drawn_at_random=False, put_first=True)
"""Of an image that an admin put first."""


def sentence_without_label(reason: Reason, classes: Sequence[str]) -> str:
    """Return the reason's sentence for the annotator, who must not read the answer in it.

    Metadata may hold a diagnosis: a stratum that names one of the `classes` is not shown.
    """
    named = bool(classes) and _naming_any(tuple(classes)).search(reason.stratum)
    return replace(reason, stratum="").sentence if named else reason.sentence


@lru_cache(maxsize=8)
def _naming_any(classes: tuple[str, ...]) -> re.Pattern[str]:
    """What finds one of the names in a text: Python forgets patterns of 500, and makes each anew for each image."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, classes))})(?!\w)", re.IGNORECASE)


def neutral_sentence(reason: Mapping[str, object]) -> str:
    """The reason as `Reason.to_json` kept it, without confounder and doubt, for the annotator."""
    if reason.get("put_first"):
        return PUT_FIRST.sentence
    covers = reason.get("covers", 0)
    drawn = bool(reason.get("drawn_at_random"))
    chance = bool(reason.get("by_chance"))
    copies = reason.get("copies", 0)
    return Reason(
        "",
        0.0,
        0,
        covers if isinstance(covers, int) else 0,
        None,
        drawn,
        chance,
        copies=copies if isinstance(copies, int) else 0,
    ).sentence


def _sentence(text: str) -> str:
    return f"{_capital(text)}."


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


@dataclass(frozen=True, eq=False)
class Selection:
    """What was picked, in rank order: `indices` (m,) into the pool, `gains` (m,), a reason each."""

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    reasons: tuple[Reason, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def represents(self) -> NDArray[np.float64]:
        """(m,): for how many items of its level each speaks, as in `TrainingLabels`."""
        return np.array([reason.represents for reason in self.reasons], dtype=np.float64)


def explain(problem: Problem, draft: Draft, found: Sequence[Strata]) -> Selection:
    """Turn a finished draft into a selection with reasons; `found` are the partitions that the strategy keeps.

    With several partitions, a pick is explained by the stratum that lacked most when it was picked.
    """
    picked = draft.indices
    pool = problem.usable & ~problem.taken
    quotas = [quotas_of(p.shares, p.counts(problem.taken), p.counts(pool), len(picked)) for p in found]
    got = [np.zeros(len(p.names), dtype=np.int64) for p in found]
    uncertainty = draft.uncertainty
    reasons = []
    for pick in draft.picks:
        for count, partition in zip(got, found, strict=True):
            count[partition.codes[pick.index]] += 1
        stratum, owed, turn = "", 0.0, 0
        best = -np.inf
        for count, partition, quota in zip(got, found, quotas, strict=True):
            code = partition.codes[pick.index]
            if (lack := (quota[code] - count[code]) / max(int(quota[code]), 1)) > best:
                best, stratum = lack, partition.names[code]
                owed, turn = float(quota[code]), int(count[code])
        reasons.append(
            Reason(
                stratum=stratum,
                quota=owed,
                got=turn,
                covers=pick.covers,
                uncertainty=None if uncertainty is None else float(uncertainty[pick.index]),
                drawn_at_random=pick.at_random,
                by_chance=pick.by_chance,
                odds=1.0 if draft.odds is None else float(draft.odds[pick.index]),
                copies=0 if problem.copies is None else int(problem.copies[pick.index]),
            )
        )
    gains = np.array([pick.gain for pick in draft.picks], dtype=np.float64)
    return Selection(picked, gains, tuple(reasons))

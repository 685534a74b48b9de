"""What a strategy must offer, and the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.methods import (
    confounder_aware,
    ji2025,
    kcenter,
    margin,
    maxherding,
    peers,
    random,
    stratified,
    typiclust,
    uherding,
)
from cdsel_backend.selection.problem import Problem
from cdsel_backend.selection.reasons import Selection, explain
from cdsel_backend.selection.strata import Strata, joint, partitions


@dataclass(frozen=True)
class Strategy:
    """One way to choose.

    `fill(problem, draft)` adds items in rank order until `draft.full`, choosing among `draft.open` only. The
    draft closes what caps and near-duplicate suppression forbid, so a strategy knows nothing of them.
    """

    name: str
    sentence: str
    """What it does, for whoever chooses among them."""
    fill: Callable[[Problem, Draft], None]
    partitions: Callable[[Problem], list[Strata]] | None = None
    """The strata it gives their share, which the reasons name."""
    reads_model: bool = True
    """It reads the vectors or the probabilities, so what it picks may depend on the model of the round."""


_OURS = (
    Strategy(
        "confounder_aware",
        "Every level its share; typical images first, then chance, or doubt where nothing confounds.",
        confounder_aware.fill,
        partitions=partitions,
    ),
    Strategy(
        "ji2025", "Ji et al. 2025: evenly over the classes, and in each over clusters of images.", ji2025.fill
    ),
    Strategy(
        "random",
        "Uniformly at random: the baseline that needs no assumption.",
        random.fill,
        reads_model=False,
    ),
    Strategy(
        "stratified",
        "Every combination of the confounders' levels gets its share; chance decides inside.",
        stratified.fill,
        partitions=lambda problem: [joint(problem)],
        reads_model=False,
    ),
    Strategy("kcenter", "k-center greedy: the image that is farthest from all chosen so far.", kcenter.fill),
    Strategy(
        "typiclust", "TypiClust: the most typical image of the largest cluster without one.", typiclust.fill
    ),
    Strategy(
        "maxherding", "MaxHerding: images that together are near to as much as can be.", maxherding.fill
    ),
    Strategy(
        "margin",
        "Margin sampling: what the model is least sure of; at random before the first model.",
        margin.fill,
    ),
    Strategy(
        "uherding",
        "UHerding: as maxherding, but near to what the model is unsure of.",
        uherding.fill,
    ),
)
_LIGHTLY = (
    Strategy("lightly", "Lightly: diverse images, balanced over the confounders.", peers.fill_lightly),
)
_SKACTIVEML = (
    Strategy("coreset", "scikit-activeml's CoreSet: k-center greedy.", peers.fill_coreset),
    Strategy(
        "probcover",
        "scikit-activeml's ProbCover: as much as can be within a set distance of a chosen image.",
        peers.fill_probcover,
    ),
    Strategy(
        "dropquery",
        "scikit-activeml's DropQuery: what a model contradicts itself on when features are dropped, spread out.",
        peers.fill_dropquery,
    ),
    Strategy(
        "badge",
        "scikit-activeml's BADGE: what would change a model most, spread out.",
        peers.fill_badge,
    ),
)
_PEERS = (*_LIGHTLY, *_SKACTIVEML)
_STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        *_OURS,
        *(_LIGHTLY if peers.HAS_LIGHTLY else ()),
        *(_SKACTIVEML if peers.HAS_SKACTIVEML else ()),
    )
}


def strategies() -> tuple[str, ...]:
    """Return the names that `select` knows here, the default first; peers only where they are installed."""
    return tuple(_STRATEGIES)


def missing_peers() -> tuple[str, ...]:
    """Return the names of the peers that the extra `peers` would add here."""
    return tuple(peer.name for peer in _PEERS if peer.name not in _STRATEGIES)


def describe(strategy: str) -> str:
    """Return what a strategy does, in a sentence; ValueError for an unknown one, with the names of those there are."""
    return _named(strategy).sentence


def reads_model(strategy: str) -> bool:
    """Return whether what the strategy picks may depend on the model of the round; ValueError for an unknown one."""
    return _named(strategy).reads_model


def _named(strategy: str) -> Strategy:
    if strategy in missing_peers():
        raise ValueError(f"strategy {strategy!r} needs the extra: pip install 'cdsel-backend[peers]'")
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is unknown; choose one of {', '.join(strategies())}")
    return _STRATEGIES[strategy]


def select(strategy: str, problem: Problem, size: int) -> Selection:
    """Choose up to `size` items by the named strategy, in rank order.

    Fewer come back when the pool, the group cap or near-duplicate suppression leaves no more; the same problem
    gives the same selection. Raises ValueError for an unknown strategy or a negative size.
    """
    chosen = _named(strategy)
    if size < 0:
        raise ValueError(f"size is {size}; it must be 0 or more")
    draft = Draft(problem, size)
    if not draft.full:
        chosen.fill(problem, draft)
    return explain(problem, draft, chosen.partitions(problem) if chosen.partitions else [])

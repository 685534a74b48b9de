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


@dataclass(frozen=True)
class Strategy:
    """One way to choose.

    `fill(problem, draft)` adds items in rank order until `draft.full`, choosing among `draft.open` only. The
    draft closes what caps and near-duplicate suppression forbid, so a strategy knows nothing of them.
    """

    name: str
    fill: Callable[[Problem, Draft], None]
    stratified: bool = False
    """Reasons name the item's stratum and what it was due."""
    reads_model: bool = True
    """It reads the vectors or the probabilities, so what it picks may depend on the model of the round."""


_OURS = (
    Strategy("confounder_aware", confounder_aware.fill, stratified=True),
    Strategy("ji2025", ji2025.fill),
    Strategy("random", random.fill, reads_model=False),
    Strategy("stratified", stratified.fill, stratified=True, reads_model=False),
    Strategy("kcenter", kcenter.fill),
    Strategy("typiclust", typiclust.fill),
    Strategy("maxherding", maxherding.fill),
    Strategy("margin", margin.fill),
    Strategy("uherding", uherding.fill),
)
_LIGHTLY = (Strategy("lightly", peers.fill_lightly),)
_SKACTIVEML = (
    Strategy("coreset", peers.fill_coreset),
    Strategy("probcover", peers.fill_probcover),
    Strategy("dropquery", peers.fill_dropquery),
    Strategy("badge", peers.fill_badge),
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
    return explain(problem, draft, stratified=chosen.stratified)

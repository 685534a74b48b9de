"""Which model version serves: promoted or taken back by hand, on the command line and on the dashboard alike."""

from __future__ import annotations

from cdsel_backend.reconcile.learn import PROMOTED
from cdsel_backend.store import State, Store


class NoSuchVersion(ValueError):
    """There is no such model version, or none to go back to."""


def promote(store: Store, state: State, version: str, *, who: str) -> None:
    """Make a version the champion, whatever its metrics, and say so in the audit.

    Raises:
        NoSuchVersion: no training gave it; the message names those there are.
    """
    known = [row.version for row in state.trainings if row.version]
    if version not in known:
        raise NoSuchVersion(f"there is no version {version!r}; there are {', '.join(known) or 'none'}")
    store.set_champion(state.project.id, version, who=who)


def rollback(store: Store, state: State, *, who: str) -> str:
    """Make the version before the champion the champion again; returns it.

    Raises:
        NoSuchVersion: there was no champion before it.
    """
    version = before(state)
    if version is None:
        raise NoSuchVersion("there is no earlier champion to go back to; `cdsel models list` shows all")
    store.set_champion(state.project.id, version, who=who)
    return version


def before(state: State) -> str | None:
    """The version that `rollback` goes back to: the one that became champion before the one in force."""
    promoted = [row.version for row in state.trainings if row.outcome == PROMOTED]
    if state.project.champion not in promoted:
        return None
    return next(iter(reversed(promoted[: promoted.index(state.project.champion)])), None)

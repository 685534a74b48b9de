"""Which model version serves: promoted or taken back by hand, on the command line and on the dashboard alike."""

from __future__ import annotations

from cdsel_backend.project.versions import aliases, kept, predecessors
from cdsel_backend.store import State


class NoSuchVersion(ValueError):
    """There is no such model version, or none to go back to."""


def version_named(state: State, name: str) -> str:
    """The version of this name, which may be an alias: champion or candidate.

    Raises:
        NoSuchVersion: there is none; the message names those there are.
    """
    named = aliases(state)
    if (version := named.get(name, name)) not in state.versions:
        there = ", ".join([*state.versions, *named]) or "none"
        raise NoSuchVersion(f"there is no version {name!r}; there are {there}")
    return version


def promote(state: State, name: str, *, who: str) -> str:
    """Make a version the champion, whatever its metrics, and say so in the audit; returns it.

    One that is the champion stays it: written down as another change, it would be what to go back to.

    Raises:
        NoSuchVersion: no training gave it, or its files were removed; the message names those there are.
    """
    version = version_named(state, name)
    if version not in (stay := kept(state)):
        raise NoSuchVersion(
            f"the files of {version} were removed to save space; kept are {', '.join(sorted(stay))}"
        )
    if version != state.project.champion:
        state.store.set_champion(state.project.id, version, who=who)
    return version


def rollback(state: State, *, who: str) -> str:
    """Make the version before the champion the champion again; returns it.

    Raises:
        NoSuchVersion: there was no champion before it.
    """
    version = version_before(state)
    if version is None:
        raise NoSuchVersion("there is no earlier champion to go back to; `cdsel models list` shows all")
    state.store.set_champion(state.project.id, version, who=who)
    return version


def version_before(state: State) -> str | None:
    """The version that `rollback` goes back to: the one that served before the champion in force."""
    return next(iter(predecessors(state)), None)

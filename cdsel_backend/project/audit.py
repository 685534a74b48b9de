"""Which settings in force a change of a project's layers moves, and the rows that the audit keeps of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdsel_backend.settings import resolve_project
from cdsel_backend.store.records import Json

Sources = Mapping[str, Mapping[str, Any]]


def audit_rows(before: Sources, after: Sources, names: Iterable[str], *, who: str) -> list[Json]:
    """The audit's rows of a change of some settings: the value in force and its source, before and after."""
    old, new = resolve_project(before), resolve_project(after)
    olds, news = (layers.settings.model_dump(mode="json") for layers in (old, new))
    return [
        {
            "who": who,
            "name": name,
            "old": olds[name],
            "old_source": old.sources[name],
            "new": news[name],
            "new_source": new.sources[name],
        }
        for name in names
    ]


def moved(before: Sources, after: Sources) -> list[str]:
    """The settings whose value in force a change moves."""
    olds, news = (resolve_project(layers).settings.model_dump(mode="json") for layers in (before, after))
    return [name for name in olds if olds[name] != news[name]]

"""Labels as text: a class where an image has one, the canonical JSON of the names where it may have any of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

NONE = "none of them"


def presence_text(names: Iterable[str]) -> str:
    """The label that says which classes an image shows: `["a","b"]`, `[]` for none of them."""
    return json.dumps(sorted(set(names)), ensure_ascii=False, separators=(",", ":"))


def presence_names(label: str) -> tuple[str, ...] | None:
    """The classes that such a label names; None where it is a single class."""
    if not label.startswith("["):
        return None
    try:
        names = json.loads(label)
    except ValueError:
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(one, str) for one in names) else None


def label_words(label: str) -> str:
    """A label as people read it."""
    names = presence_names(label)
    if names is None:
        return label
    return ", ".join(names) or NONE


def majority(rows: Sequence[Any]) -> str:
    """The label of one image from its readings, one of each annotator: rows with `label`, `updated_at`, `annotation`.

    A single class: the commonest, the newest among equals. Any of several: each class for itself, so that it counts
    as shown when more than half of the annotators say so; where they are equally divided the newest of them decides.
    """
    newest_first = sorted(rows, key=lambda row: (row.updated_at, row.annotation), reverse=True)
    named = [presence_names(str(row.label)) for row in newest_first]
    if None not in named:
        votes = Counter(name for names in named for name in set(names or ()))
        newest = named[0] or ()
        return presence_text(
            name
            for name, count in votes.items()
            if 2 * count > len(named) or (2 * count == len(named) and name in newest)
        )
    counts: Counter[str] = Counter(str(row.label) for row in rows)
    most = max(counts.values())
    return next(str(row.label) for row in newest_first if counts[str(row.label)] == most)

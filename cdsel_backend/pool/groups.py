"""Images that belong together: those of one patient or lesion."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.cleaning import is_missing, tidy

_WHOLE = re.compile(r"^(\d+)\.0$")
_NESTED = (Mapping, list, tuple, set, frozenset)


def group_id(value: object) -> str | None:
    """Return the name of the group that a task's field gives, None where it gives none that can be read.

    Text and numbers are the name, apart from what depends on the program that wrote it: blanks, the form of accents,
    and the ".0" of a whole number; `{"id": ...}` and a list of one element give what they hold.
    """
    if isinstance(value, Mapping):
        return next((group_id(held) for key, held in value.items() if str(key).lower() == "id"), None)
    if isinstance(value, (list, tuple)):
        return group_id(value[0]) if len(value) == 1 else None
    return None if is_missing(value) else _WHOLE.sub(r"\1", tidy(str(value)))


def unread_groups(name: str, values: Iterable[object]) -> str | None:
    """Return a problem, with its fix, where the field `name` holds nested values that name no group."""
    values = list(values)
    unread = [value for value in values if isinstance(value, _NESTED) and value and group_id(value) is None]
    if not unread:
        return None
    return (
        f"the setting `group` names the field {name!r}, which holds nested values without an id in {len(unread)} of "
        f"{number_of(len(values), 'task')}, such as {str(unread[0])[:80]}; each of these images counts as a group of "
        'its own. Give text, a number, {"id": ...} or a list of one of them'
    )


def alone_or_together(groups: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Return (n,): the group of each item as a code from 0; an item of a negative group is one on its own."""
    alone = -1 - np.arange(n)
    keys = alone if groups is None else np.where(groups < 0, alone, groups)
    return np.asarray(np.unique(keys, return_inverse=True)[1].ravel(), dtype=np.int64)

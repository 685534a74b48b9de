"""What a cell of a column of labels says: a class, none, or several."""

from __future__ import annotations

import json
import re

from cdsel_backend.pool.cleaning import tidy

NO_LABEL = frozenset({"", "?", "-", "--", ".", "n/a", "na", "n.a.", "#n/a", "<na>", "nan", "null"})
"""What programs write where there is no label. "none" and "unknown" may be classes and stay."""


def label_of(cell: str) -> str:
    """The class that a cell names; none ("") where it is empty or says that there is none. 1.0 is the class 1."""
    text = tidy(cell)
    if text.casefold() in NO_LABEL:
        return ""
    whole = re.fullmatch(r"([+-]?\d+)\.0+", text)  # what pandas makes of whole numbers where a cell is empty
    return whole[1] if whole else text


def is_several(text: str) -> bool:
    """Whether a cell holds a list, as where Label Studio exports the answers to a multiple choice or regions."""
    if text[:1] not in ("[", "{"):
        return False
    try:
        return isinstance(json.loads(text), (list, dict))
    except (ValueError, RecursionError):
        return False

"""Which values can be a number that Label Studio gives to a project or task, or we to an item, a rank or a round."""

from __future__ import annotations

from typing import TypeGuard

MAX_NUMBER = 2**31 - 1  # the largest that every database can hold


def is_number(value: object) -> TypeGuard[int]:
    """Whether a value is such a number; true and 1.0 are none."""
    return type(value) is int and 0 < value <= MAX_NUMBER


def number_in(text: str) -> int | None:
    """The number that a text consists of, from 0 to `MAX_NUMBER`; None where it is something else."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_NUMBER)):
        return None
    return int(text) if int(text) <= MAX_NUMBER else None

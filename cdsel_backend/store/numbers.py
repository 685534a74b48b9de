"""Which values can be a number that Label Studio gives to a project or task, or we to a rank or round."""

from __future__ import annotations

from typing import TypeGuard

MAX_NUMBER = 2**31 - 1  # the largest that every database can hold


def is_number(value: object) -> TypeGuard[int]:
    """Whether a value is such a number; true and 1.0 are none."""
    return type(value) is int and 0 < value <= MAX_NUMBER

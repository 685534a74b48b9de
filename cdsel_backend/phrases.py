"""Phrases for what is counted: numbers agree with their nouns and verbs, and long lists are cut.

Whatever says how many of something there are to a person says it with these.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]+")


def form(count: float, one: str, several: str = "") -> str:
    """The form of a word that agrees with a number: `image` or `images`, `is` or `are`.

    `several` is the form for all numbers but 1; by default `one` with an s.
    """
    return one if count == 1 else several or f"{one}s"


def number_of(count: int, noun: str, several: str = "") -> str:
    """`1 image`, `2 images`, `12,345 images`."""
    return f"{count:,} {form(count, noun, several)}"


def listed(things: Iterable[object], most: int | None = None) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `most`, the first and how many more: `a, b and 9 more`."""
    names = [str(thing) for thing in things]
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def numbered(noun: str, numbers: Iterable[int], most: int) -> str:
    """`task 5`, `tasks 5, 6`; of more than `most` the first, as in `tasks 5, 6, …`, where their number is said."""
    found = list(numbers)
    if len(found) > most:
        return f"{noun}s {', '.join(map(str, found[:most]))}, …"
    return f"{form(len(found), noun)} {', '.join(map(str, found))}"


def named_level(variable: str, level: str) -> str:
    """`site north`; but a level that begins with its variable's name, such as `site 7`, by itself."""
    rest = level[len(variable) :]
    repeats = level.casefold().startswith(variable.casefold()) and rest and not rest[0].isalpha()
    return level if repeats else f"{variable} {level}"


def isolated(name: str) -> str:
    """A name inside a sentence: one that is written from right to left leaves the numbers after it where they are."""
    leftward = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\u2068{name}\u2069" if leftward else name


def as_typed(text: str) -> str:
    """A text as all programs would write what looks the same: composed letters, single blanks, nothing invisible."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return " ".join(text.split())

"""What differs between releases of Label Studio: tokens, switches, and which were run with this backend."""

from __future__ import annotations

import re

# `pytest -m versions` runs the loop on each; the README has the results.
TESTED = ("1.13.1", "1.16.0", "1.18.0", "1.20.0", "1.22.0", "1.23.2")
PERSONAL_TOKENS = (1, 17)
"""From here on accounts have personal access tokens, and new installations refuse legacy tokens."""
BLOCKED_BY_DEFAULT = (1, 23, 1)
"""From here on Label Studio refuses backends and webhooks on private addresses unless two switches say otherwise."""

Release = tuple[int, ...]


def parse_release(text: str) -> Release:
    """The numbers of a release, "1.23.2" -> (1, 23, 2); (), which is below all, where there are none."""
    found = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(map(int, found[0].split("."))) if found else ()


def has_personal_tokens(text: str) -> bool:
    """Whether accounts of this release have personal access tokens."""
    return parse_release(text) >= PERSONAL_TOKENS


def blocks_private_addresses(text: str) -> bool:
    """Whether this release refuses backends and webhooks on private addresses when nothing is set."""
    return parse_release(text) >= BLOCKED_BY_DEFAULT


def token_advice(text: str) -> str:
    """Where an account finds a token that this release accepts; for any release where `text` is empty."""
    personal = "your picture (top right) > Account & Settings > Personal Access Token > Create"
    legacy = "your picture (top right) > Account & Settings > Access Token"
    if not parse_release(text):
        return f"make a token in Label Studio: {personal} (before Label Studio 1.17: {legacy})"
    if has_personal_tokens(text):
        return f"make a token in Label Studio: {personal}"
    return f"copy the token in Label Studio: {legacy}"


def judge_release(text: str) -> tuple[str, str]:
    """A clause on whether the loop was run on this release, and the fix; "" where none is needed."""
    release, tested = parse_release(text)[:2], [parse_release(known)[:2] for known in TESTED]
    if release in tested:
        return "the loop was run on it", ""
    run = f"the loop was run on {', '.join(TESTED)}"
    if release < tested[0]:
        return f"{run}, none as old as this", "upgrade Label Studio"
    if release > tested[-1]:
        fix = f"read its change log, or run the loop on it: `pytest -m versions --label-studio {text}`"
        return f"{run}, none as new as this", fix
    return f"{run}, and so on both sides of this one", ""

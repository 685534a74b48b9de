"""Times that are compared with the clock, which somebody may set back."""

from __future__ import annotations


def is_over(since: float, seconds: float, now: float) -> bool:
    """Whether so many seconds have passed; also where the clock was set back, so that nothing waits for it."""
    return not 0 <= now - since <= seconds

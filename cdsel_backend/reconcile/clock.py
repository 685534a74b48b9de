"""Times that are compared with the clock, which somebody may set back."""

from __future__ import annotations

SET_BACK_SECONDS = 600.0
"""By less, nothing waits for long, and the clocks of several workers may differ."""


def is_over(since: float, seconds: float, now: float) -> bool:
    """Whether so many seconds have passed; also where the clock was set back, so that nothing waits for it."""
    return not 0 <= now - since <= seconds


def was_set_back(since: float, now: float) -> bool:
    """Whether the clock was set back since it showed a time: whatever is due at a later one would wait for that."""
    return since - now > SET_BACK_SECONDS

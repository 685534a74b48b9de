"""How long to wait before what failed is tried again."""

from __future__ import annotations

_DOUBLINGS = 40  # enough for any pause; 2 ** 1024 is no float, and a host may be away for months


def growing_pause(times: int, first: float, longest: float) -> float:
    """Seconds to wait after so many failures in a row, 1 or more: `first`, doubled by each that follows.

    `longest` at most.
    """
    return min(longest, first * 2.0 ** min(times - 1, _DOUBLINGS))

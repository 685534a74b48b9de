"""Signals that reach every process of a service or a terminal at once."""

from __future__ import annotations

import signal


def leave_to_parent(*names: str) -> None:
    """Ignore these signals, where the system has them: whoever started this process decides when it ends."""
    for name in names:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None:
            signal.signal(number, signal.SIG_IGN)

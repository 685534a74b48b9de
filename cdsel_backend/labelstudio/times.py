"""Times as Label Studio writes them: ISO 8601, in UTC where they name no zone."""

from __future__ import annotations

from datetime import datetime, timezone


def read_time(text: str) -> datetime:
    """Read a time; it is returned in UTC.

    Raises:
        ValueError: it is none.
    """
    return read_zoned(text).astimezone(timezone.utc)


def read_zoned(text: str) -> datetime:
    """Read a time with the offset that it was written with.

    Raises:
        ValueError: it is none.
    """
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))  # before Python 3.11 it knows no Z
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def time_or_none(text: object) -> datetime | None:
    """Read a time; None for what is none."""
    try:
        return read_time(str(text))
    except ValueError:
        return None


def seconds_of(text: object, *, otherwise: float = 0.0) -> float:
    """Read a time as seconds since the epoch; `otherwise` for what is none."""
    try:
        return read_zoned(str(text)).timestamp()
    except ValueError:
        return otherwise

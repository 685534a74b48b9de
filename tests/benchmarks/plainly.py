"""How a benchmark ends where this machine or a table lacks what it was asked to measure."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.table import UsageError


@contextmanager
def plainly(parser: argparse.ArgumentParser) -> Iterator[None]:
    """A device, backbone, file or column that cannot be had ends the script with the sentence that names it."""
    try:
        yield
    except (BackboneError, UsageError) as fault:
        parser.error(str(fault))

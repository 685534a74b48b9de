"""Events that say in a sentence what the loop found or did in Label Studio, for the log and the activity page."""

from __future__ import annotations

import logging
from collections.abc import Collection

from cdsel_backend.reconcile.context import Context

MOST_TASKS = 500  # that an event names
WITHDRAWN = "TASKS_WITHDRAWN"  # the action of an event

log = logging.getLogger(__name__)


def say(context: Context, source: int, action: str, tasks: Collection[int], message: str) -> None:
    """Log a message, and keep it as an event of a project in Label Studio, with the tasks that it is about."""
    log.warning("project %s: %s", source, message)
    context.store.add_event(
        source, action, {"tasks": sorted(tasks)[:MOST_TASKS], "sentence": message}, handled=True
    )

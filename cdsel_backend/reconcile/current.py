"""A project's state for the steps of one pass, read again where something may have changed since the last step.

A step that had nothing to do has changed nothing. A state of 50,000 labels takes long to read, and a pass has
twenty steps.
"""

from __future__ import annotations

from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State


class Current:
    """The state of a project, and when it was read: what shows that it is as it was."""

    def __init__(self, context: Context, project: int) -> None:
        self._context, self._project = context, project
        self._state: State | None = None
        self._read_at: tuple[object, ...] = ()

    def state(self) -> State:
        """The state as it stands now: the one that was read last, unless anything was written since.

        Rows of labels, queues and rounds are changed by this worker alone, which holds the project. Others change
        settings and models, which are in the project's row, or say so by an event or in the audit.
        """
        store = self._context.store
        now = (
            store.writes,
            store.project(self._project),
            store.newest_event(),
            store.newest_change(self._project),
            store.training_runs(self._project),
        )
        if self._state is None or now != self._read_at:
            self._state, self._read_at = self._context.read_state(self._project), now
        return self._state

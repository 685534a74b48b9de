"""Tasks of a queue that this backend did not put there, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdsel_backend.phrases import form, number_of, numbered
from cdsel_backend.reconcile.answers import TASKS_SHOWN


@dataclass(frozen=True)
class Strangers:
    """Tasks of a queue that this backend did not put there."""

    labelled: Sequence[int] = ()
    """Tasks of images of which nothing is known, with an annotation."""
    unlabelled: Sequence[int] = ()
    """The same, without one."""
    doubles: Sequence[int] = ()
    """Tasks of images that have a task of ours in the queue, or had one."""

    @property
    def all(self) -> Sequence[int]:
        """The tasks of every kind."""
        return [*self.labelled, *self.unlabelled, *self.doubles]

    def messages(self, queue: int, *, outside: bool) -> list[str]:
        """The sentences on what becomes of these tasks, with the fix.

        `queue` is its project; `outside` tells whether the images come from outside Label Studio.
        """
        messages = []
        instead = (
            "add such images by `cdsel pool add`" if outside else "import such images into the pool instead"
        )
        if count := len(self.labelled):
            messages.append(
                f"{number_of(count, 'labelled task')} of the queue (project {queue}) {form(count, 'was', 'were')} not "
                f"put there by this backend ({numbered('task', self.labelled, TASKS_SHOWN)}): "
                f"{form(count, 'its label is', 'their labels are')} not learned; {instead}"
            )
        if count := len(self.unlabelled):
            it = form(count, "it", "them")
            messages.append(
                f"{number_of(count, 'task')} of the queue (project {queue}) {form(count, 'was', 'were')} not put there "
                f"by this backend ({numbered('task', self.unlabelled, TASKS_SHOWN)}): annotators get {it}, beyond the "
                f"budget, and what they label there is not learned; delete {it} there, and {instead}"
            )
        if count := len(self.doubles):
            messages.append(
                f"{number_of(count, 'task')} of the queue (project {queue}) "
                f"{form(count, 'shows an image that has', 'show images that have')} another task there, and "
                f"{form(count, 'was', 'were')} not put there by this backend "
                f"({numbered('task', self.doubles, TASKS_SHOWN)}), as where an export of the queue was imported into "
                f"it: annotators label {form(count, 'this image', 'these images')} twice; delete "
                f"{form(count, 'it', 'them')} there"
            )
        return messages

"""A scripted annotator: asks Label Studio for the next task and submits the truth, as a person would."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import LabelSpace

SIMULATED_SECONDS = 30.0  # the median time of an image


class OutOfOrder(RuntimeError):
    """Label Studio handed out a task whose rank is not above the one before."""


class Annotator:
    """Labels the queue project through Label Studio's own API.

    Args:
        studio: Label Studio, as the annotator.
        space: what there is to choose.
        truth: pool task id -> class.
    """

    def __init__(self, studio: LabelStudio, space: LabelSpace, truth: Mapping[int, str]) -> None:
        self._studio = studio
        self._space = space
        self._truth = truth
        self.ranks: list[int] = []
        """The ranks of the labelled images, in the order in which Label Studio showed them."""

    def label_all(
        self,
        queue_project: int,
        *,
        most: int | None = None,
        labelled: Callable[[int], None] = lambda rank: None,
    ) -> int:
        """Label until Label Studio has no more tasks, or `most` are labelled; returns how many were labelled.

        `labelled` is called with the rank after each submission.

        Raises:
            OutOfOrder: the tasks do not come in rank order.
            LabelStudioError: Label Studio refused something.
        """
        count = 0
        while count != most and (task := self._studio.next_task(queue_project)) is not None:
            data = task["data"]
            rank = int(data["cdsel_rank"])
            if self.ranks and rank <= self.ranks[-1]:
                raise OutOfOrder(
                    f"task {task['id']} of project {queue_project} has rank {rank}, "
                    f"but came after rank {self.ranks[-1]}"
                )
            self.ranks.append(rank)
            answer = self._space.result_for(self._truth[int(data["cdsel_item"])])
            # A simulated reader takes half a minute, more or less, and the same for the same image.
            seconds = float(np.random.default_rng(rank).lognormal(np.log(SIMULATED_SECONDS), 0.4))
            self._studio.submit(int(task["id"]), answer, seconds=round(seconds, 1))
            count += 1
            labelled(rank)
        return count

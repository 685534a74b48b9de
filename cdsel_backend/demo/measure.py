"""How good the model is, on images that were never offered for labelling and whose truth the demo knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cdsel_backend.demo.backend import LocalBackend
from cdsel_backend.demo.images import LabelledImages
from cdsel_backend.pool.columns import read_columns
from cdsel_backend.training import evaluate

CONFOUNDING = ("confounder", "forced in")  # the verdicts whose variables make the groups


def measure(
    backend: LocalBackend,
    pool_project: int,
    images: LabelledImages,
    task_ids: Sequence[int],
    offered: set[int],
    confounders: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Evaluate the champion over the backend's /predict.

    Left out are the images that were offered for labelling, all others of their patients (or lesions), and
    those without a prediction because their file is unusable. /predict gives the best class and its
    probability; the rest is spread evenly over the other classes.

    Args:
        backend: the running backend.
        pool_project: whose champion is measured.
        images: the images and their truth.
        task_ids: pool task of each image.
        offered: pool tasks that were put into the queue.
        confounders: what the backend found, as in status.json.

    Returns:
        What `training.evaluate` returns, and `measured_on` in words; only that when nothing is left to measure.
    """
    keys = [
        row.get(images.group or "") or f"task {task}"
        for row, task in zip(images.metadata, task_ids, strict=True)
    ]
    seen = {key for key, task in zip(keys, task_ids, strict=True) if task in offered}
    fresh = np.array([i for i, key in enumerate(keys) if key not in seen], dtype=np.int64)
    tasks = [{"id": task_ids[i], "data": dict(images.metadata[i])} for i in fresh]
    answers = backend.predict(pool_project, tasks)
    known = np.array([name is not None for name, _ in answers], dtype=bool)
    tested = fresh[known]
    of_whom = f" with a {images.group} none of whose images was" if images.group else " never"
    words = f"{len(tested)} images{of_whom} offered for labelling"
    if not len(tested):
        return {"measured_on": words}
    classes = images.classes
    code = {name: place for place, name in enumerate(classes)}
    predicted = [answer for answer in answers if answer[0] is not None]
    score = np.array([score for _, score in predicted])
    probabilities = np.repeat(((1 - score) / (len(classes) - 1))[:, None], len(classes), axis=1)
    probabilities[np.arange(len(tested)), [code[name] for name, _ in predicted if name]] = score
    names = [found["variable"] for found in confounders if found["verdict"] in CONFOUNDING]
    columns = {column.name: column for column in read_columns(images.metadata, groups=images.group)}
    return {
        **evaluate(
            probabilities,
            np.array([code[images.truth[i]] for i in tested], dtype=np.int64),
            [columns[name].take(tested) for name in names],
            classes,
            seed=0,
        ),
        "measured_on": words,
    }

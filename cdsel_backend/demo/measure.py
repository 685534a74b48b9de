"""How good a model is, on images that were never offered for labelling and whose truth the demo knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.demo.backend import LocalBackend
from cdsel_backend.demo.images import LabelledImages
from cdsel_backend.labels import Labels
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.store.records import Json
from cdsel_backend.training import (
    NotEnoughLabels,
    Pool,
    TrainingLabels,
    TrainingOptions,
    evaluate,
    train_head,
)

PLAIN_DRAWS = 10
HEADLINES = ("accuracy", "balanced_accuracy", "group_balanced_accuracy", "worst_group_accuracy")


def measure_champion(
    backend: LocalBackend,
    pool_project: int,
    images: LabelledImages,
    task_ids: Sequence[int],
    offered: Collection[int],
    confounders: Collection[str],
) -> Json:
    """Evaluate the champion over the backend's /predict, on images that `fresh` gives.

    /predict tells the best class and its probability; the rest is spread evenly over the other classes. Images
    without a prediction, because their file is unusable, are left out.

    Args:
        backend: the running backend.
        pool_project: whose champion is measured.
        images: the images and their truth.
        task_ids: pool task of each image.
        offered: pool tasks that were put into the queue.
        confounders: the variables whose levels, with the classes, make the groups.

    Returns:
        What `training.evaluate` returns, and `measured_on` as a sentence; only that when nothing is left to measure.
    """
    rows = fresh(images, np.array([task in offered for task in task_ids], dtype=bool))
    tasks = [{"id": task_ids[row], "data": dict(images.metadata[row])} for row in rows]
    answers = backend.predict(pool_project, tasks)
    tested = rows[np.array([name is not None for name, _ in answers], dtype=bool)]
    of_whom = f" with a {images.group} none of whose images was" if images.group else " never"
    words = f"{number_of(len(tested), 'image')}{of_whom} offered for labelling"
    if not len(tested):
        return {"measured_on": words}
    classes = images.classes
    probabilities = np.zeros((len(tested), len(classes)))
    for place, (name, score) in enumerate((name, score) for name, score in answers if name is not None):
        probabilities[place] = (1 - score) / (len(classes) - 1)
        probabilities[place, classes.index(name)] = score
    return {**_evaluate(probabilities, images, tested, confounders), "measured_on": words}


def measure_plain(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    images: LabelledImages,
    confounders: Collection[str],
    labelled: Iterable[NDArray[np.bool_]],
) -> Json | None:
    """What plain training, with class weights and no notion of a confounder, makes of labels.

    Args:
        vectors: (n, d) of the embedded pool.
        rows: (n,) the image of each vector, as an index into `images`.
        images: the images and their truth.
        confounders: the variables whose levels, with the classes, make the groups.
        labelled: masks over the images, each a set of labels to train on; it is measured as the champion is, on the
            images that share a patient or lesion with none of them.

    Returns:
        `draws`, how many sets could be trained and measured, and the mean of each of HEADLINES; None without any.
    """
    truth = np.array([images.classes.index(name) for name in images.truth], dtype=np.int64)
    pool, plain = Pool(vectors, []), TrainingOptions(recipe="plain")
    results = []
    for mask in labelled:
        outside = np.isin(rows, fresh(images, mask))
        try:
            labels = np.where(mask[rows], truth[rows], -1)
            head = train_head(pool, TrainingLabels(labels, images.classes), plain)
        except NotEnoughLabels:
            continue
        if outside.any():
            results.append(_evaluate(head.predict(vectors[outside], []), images, rows[outside], confounders))
    means = {}
    for name in HEADLINES:
        values = [result[name] for result in results if result[name] is not None]
        means[name] = float(np.mean(values)) if values else None
    return {"draws": len(results), **means} if results else None


def random_labels(
    images: LabelledImages, rows: NDArray[np.int64], labels: int, seed: int
) -> Iterator[NDArray[np.bool_]]:
    """PLAIN_DRAWS masks over the images, each of so many drawn at random from `rows`."""
    for draw in range(PLAIN_DRAWS):
        drawn = np.zeros(len(images.files), dtype=bool)
        drawn[np.random.default_rng([seed, draw]).permutation(rows)[:labels]] = True
        yield drawn


def fresh(images: LabelledImages, offered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The images (as indices) that share a patient or lesion with none of the offered ones, a mask (n,)."""
    keys = [row.get(images.group or "") or f"image {i}" for i, row in enumerate(images.metadata)]
    seen = {key for key, was in zip(keys, offered, strict=True) if was}
    return np.array([i for i, key in enumerate(keys) if key not in seen], dtype=np.int64)


def _evaluate(
    probabilities: NDArray[np.float64],
    images: LabelledImages,
    tested: NDArray[np.int64],
    confounders: Collection[str],
) -> Json:
    truth = np.array([images.classes.index(images.truth[row]) for row in tested], dtype=np.int64)
    columns = {column.name: column for column in read_columns(images.metadata, groups=images.group)}
    named = [columns[name].take(tested) for name in confounders if name in columns]
    return evaluate(probabilities, Labels(truth, images.classes), named)

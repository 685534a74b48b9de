"""A level of which the labels show one class only: what a model does there is said beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from cdsel_backend.labels import PRESENCE, Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training import Pool, TrainingLabels, train_head
from cdsel_backend.training.offsets import occurs
from cdsel_backend.training.one_class import one_class_levels
from cdsel_backend.training.shares import Shares

CLASSES = ("benign", "malignant")


def site(codes, levels=("north", "south")):
    return Column("site", "categorical", tuple(levels), np.asarray(codes, dtype=np.int64))


@pytest.mark.parametrize(("of_the_rare", "said"), [(0, True), (5, False)])
def test_what_is_said_is_what_the_model_does(of_the_rare: int, said: bool) -> None:
    """150 labels of a site show one class, or five of the other, too."""
    rng = np.random.default_rng(0)
    n = 3000
    column = site(np.arange(n) % 2)
    truth = np.where(column.codes == 0, rng.random(n) < 0.02, rng.random(n) < 0.5).astype(np.int64)
    vectors = rng.standard_normal((n, 16)).astype(np.float32)
    vectors[:, 0] += truth
    north, south = np.flatnonzero(column.codes == 0), np.flatnonzero(column.codes == 1)
    common, rare = north[truth[north] == 0], north[truth[north] == 1]
    rows = np.r_[common[: 150 - of_the_rare], rare[:of_the_rare], south[:150]]
    known = np.full(n, -1)
    known[rows] = truth[rows]
    found = one_class_levels(Labels(truth[rows], CLASSES), [column.take(rows)])
    model = train_head(Pool(vectors, [column]), TrainingLabels(known, CLASSES))
    recall = (model.predict(vectors, [column])[rare].argmax(axis=1) == 1).mean()
    if said:
        (sentence,) = found
        assert sentence.startswith("site north: 150 of 150 labels are benign.")
        assert recall < 0.1
    else:
        assert found == []
        assert recall > 0.4


@pytest.mark.parametrize(
    ("seen", "occurs_in"),
    [
        ([[98, 2], [99, 1]], [True, True]),
        ([[40, 0], [57, 3]], [True, True]),
        ([[400, 0], [57, 3]], [False, True]),
        ([[150, 0], [75, 75]], [False, True]),
        ([[147, 3], [75, 75]], [True, True]),
    ],
)
def test_a_class_that_is_rare_everywhere_is_not_absent_where_few_labels_show_it(seen, occurs_in) -> None:
    """Of a finding in 2 % of all images every level was taken to hold none, and the model hardly ever called it."""
    counts = np.array(seen, dtype=np.float64)
    assert occurs(Shares(counts, counts)).tolist() == occurs_in


def test_few_labels_levels_without_any_and_labels_that_all_agree_say_nothing() -> None:
    labels = np.array([0, 0, 0, 1, 1, 0])
    column = site([0, 0, 0, 1, 1, 1], ("north", "south", "empty"))
    assert one_class_levels(Labels(labels, CLASSES), [column]) == []
    assert one_class_levels(Labels(np.zeros(6, dtype=np.int64), CLASSES), [column]) == []
    assert one_class_levels(Labels(labels, CLASSES), []) == []
    nobody = np.zeros(0, dtype=np.int64)
    assert one_class_levels(Labels(nobody, CLASSES), [site(nobody)]) == []


def test_of_several_classes_an_image_the_class_is_named() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 200)
    labels = np.stack([codes & (rng.random(400) < 0.5), rng.random(400) < 0.5], axis=1).astype(np.int8)
    (sentence,) = one_class_levels(Labels(labels, ("effusion", "mass"), kind=PRESENCE), [site(codes)])
    assert sentence.startswith("site north: 200 of 200 labels are effusion absent.")

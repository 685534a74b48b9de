"""Accuracy by group while few labels are held out: cross-fitted, provisional, with intervals."""

from __future__ import annotations

import numpy as np
import pytest
from world import World

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.reconcile.insight import explain
from cdsel_backend.server.pages.models import MOST_GROUPS, group_picture
from cdsel_backend.training.cross_fit import Unseen
from cdsel_backend.training.provisional import MIN_GROUP, provisional


@pytest.mark.slow
def test_at_sixty_labels_the_worst_group_has_an_estimate_with_its_interval(tmp_path):
    world = World(tmp_path, budget=60, round_size=60)
    assert world.round()
    assert world.step(explain)
    metrics = world.state().trainings[-1].metrics
    assert metrics["worst_group_accuracy"] is None, "too few are held out"
    found = metrics["insight"]["provisional"]
    assert found["n"] == 60
    low, high = found["intervals"]["worst_group_accuracy"]
    assert 0 <= low < found["worst_group_accuracy"] < high <= 1 or low < high == 1
    assert found["worst_group"] in {one["group"] for one in found["groups"]}
    assert all(one["interval"][0] <= one["accuracy"] <= one["interval"][1] for one in found["groups"])


def test_the_estimate_is_that_of_the_heads_that_have_not_seen_the_label():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 40)
    site = Column("site", "categorical", ("north", "south"), np.repeat([0, 1], 40))
    right = rng.random(80) < np.where(site.codes == 0, 0.95, 0.6)
    said = np.where(right, labels, 1 - labels)
    probabilities = np.stack([1.0 - said, said], axis=1)[None, None]
    probabilities[:, :, 5] = np.nan  # never tested
    found = provisional(
        Unseen(np.arange(80), np.array([64]), probabilities), Labels(labels, ("benign", "malignant")), [site]
    )
    assert found["n"] == 79
    groups = {one["group"]: one for one in found["groups"]}
    kept = np.arange(80) != 5
    for name, code, label in (("benign, site south", 1, 0), ("malignant, site north", 0, 1)):
        own = kept & (site.codes == code) & (labels == label)
        assert groups[name]["accuracy"] == pytest.approx(right[own].mean())
        assert groups[name]["n"] == own.sum() >= MIN_GROUP
    assert found["worst_group_accuracy"] == min(one["accuracy"] for one in found["groups"])


def test_of_hundreds_of_groups_those_of_lowest_accuracy_are_drawn_and_the_others_counted():
    groups = [
        {"group": f"class {i}, site {i % 4}", "n": 20, "accuracy": (99 - i) / 100, "interval": [0.0, 1.0]}
        for i in range(60)
    ]
    drawn = group_picture({"groups": groups, "worst_group": "class 59, site 3"})
    assert "class 59, site 3" in drawn.picture
    assert "class 0, site 0" not in drawn.picture
    assert drawn.more == f"{60 - MOST_GROUPS} more groups have an accuracy of 0.64 or more."
    few = group_picture({"groups": groups[:MOST_GROUPS]})
    assert few.more == ""

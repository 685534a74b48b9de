"""Who gets which image: shares, strata, second readings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cdsel_backend.selection.dealing import deal, second_readings, shares


def pool(n, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"site": "north" if rng.random() < 0.7 else "south", "sex": "f" if rng.random() < 0.5 else "m"}
        for _ in range(n)
    ]


@pytest.mark.parametrize("n", [1, 7, 60, 400])
def test_everybody_gets_a_part_in_proportion_to_room(n):
    room = {"a": 100, "b": 50, "c": 50}
    counts = Counter(deal(pool(n), room))
    given = min(n, 200)
    for name, places in room.items():
        assert abs(counts[name] - given * places / 200) < 1
    assert counts[None] == n - given


@pytest.mark.parametrize("seed", range(5))
def test_every_annotator_sees_the_sites_in_the_same_shares(seed):
    """An annotator with mostly one site would be a confounder of her own making."""
    room, before = {"a": 300, "b": 150, "c": 150}, {}
    worst = 0.0
    for number in range(6):  # rounds, as the loop deals them
        images = pool(20, seed * 10 + number)
        dealt = deal(images, room, before)
        for image, name in zip(images, dealt, strict=True):
            before.setdefault(name, []).append(image)
            room[name] -= 1
    everyone = [image for images in before.values() for image in images]
    for variable, level in (("site", "north"), ("sex", "f")):
        share = np.mean([image[variable] == level for image in everyone])
        for images in before.values():
            worst = max(worst, abs(np.mean([image[variable] == level for image in images]) - share))
    assert worst < 0.06  # two images of 30


def test_alternating_strata_do_not_fall_to_one_annotator_each():
    """Dealt in turns, a queue that alternates between two sites gives each annotator one site."""
    images = [{"site": "north" if place % 2 else "south"} for place in range(40)]
    got = {"a": Counter(), "b": Counter()}
    for image, name in zip(images, deal(images, {"a": 20, "b": 20}), strict=True):
        got[name][image["site"]] += 1
    assert got["a"] == got["b"] == {"north": 10, "south": 10}


def test_early_and_late_ranks_go_to_everybody():
    dealt = deal(pool(90), {"a": 45, "b": 30, "c": 15})
    for half in (dealt[:45], dealt[45:]):
        counts = Counter(half)
        assert abs(counts["a"] - 22.5) < 4
        assert abs(counts["c"] - 7.5) < 4


def test_same_images_same_deal():
    assert deal(pool(50), {"a": 9, "b": 70}) == deal(pool(50), {"a": 9, "b": 70})


def test_shares_never_exceed_room():
    assert shares({"a": 1, "b": 1000, "c": 0}, 500) == {"a": 0, "b": 500}
    assert shares({"a": 3, "b": 2}, 50) == {"a": 3, "b": 2}
    assert shares({}, 5) == {}


def test_second_readings_add_up_and_stay_when_rounds_follow():
    sizes = [5] * 40
    chosen = second_readings(sizes, 0.1, seed=3)
    assert sum(map(len, chosen)) == 20
    assert second_readings(sizes[:7], 0.1, seed=3) == chosen[:7]
    assert set(map(len, chosen)) <= {0, 1}
    assert len({place for places in chosen for place in places}) > 1  # by chance, not always the first
    assert second_readings([4], 1.0, seed=0) == [[0, 1, 2, 3]]
    assert second_readings([4], 0.0, seed=0) == [[]]

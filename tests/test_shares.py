"""Shares of the classes in a level, from labels of which some were chosen for what they are."""

from __future__ import annotations

import numpy as np
import pytest

from cdsel_backend.pool.columns import Column
from cdsel_backend.training.offsets import fair_offsets
from cdsel_backend.training.shares import level_shares

N = 20_000


@pytest.fixture(scope="module")
def pool():
    """Two sites; 90 % of the first and 10 % of the second are of class 1."""
    rng = np.random.default_rng(0)
    site = rng.integers(0, 2, N)
    truth = (rng.random(N) < np.where(site == 0, 0.9, 0.1)).astype(np.int64)
    return Column("site", "categorical", ("a", "b"), site), truth


def balanced(site, truth, each, rng):
    """So many of each class in each site."""
    cells = [np.flatnonzero((site.codes == s) & (truth == y)) for s in (0, 1) for y in (0, 1)]
    return np.concatenate([rng.permutation(cell)[:each] for cell in cells])


def test_without_a_word_on_how_they_came_labels_count_as_drawn(pool):
    site, truth = pool
    rows = np.random.default_rng(1).permutation(N)[:400]
    found = level_shares(site, rows, truth[rows], 2)
    drawn = level_shares(site, rows, truth[rows], 2, np.ones(400))
    chosen = level_shares(site, rows, truth[rows], 2, np.zeros(400))
    np.testing.assert_allclose(found.values, drawn.values)
    np.testing.assert_allclose(
        found.values, chosen.values, err_msg="none were drawn, so they are all there is"
    )
    np.testing.assert_allclose(found.values[:, 1], [0.9, 0.1], atol=0.07)


def test_balanced_picks_do_not_make_a_level_balanced(pool):
    site, truth = pool
    rng = np.random.default_rng(1)
    for drawn in (20, 60):
        errors = []
        for _ in range(20):
            rows = np.r_[rng.permutation(N)[:drawn], balanced(site, truth, 40, rng)]
            rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
            speaks = (np.arange(len(rows)) < drawn).astype(float)
            errors.append(level_shares(site, rows, truth[rows], 2, speaks).values[:, 1] - [0.9, 0.1])
            blind = level_shares(site, rows, truth[rows], 2).values[:, 1]
            assert np.abs(blind - 0.5).max() < 0.2, "as if the picks spoke for the sites"
        assert np.abs(np.mean(errors, axis=0)).max() < {20: 0.25, 60: 0.1}[drawn]


def test_chosen_labels_that_agree_with_the_drawn_ones_are_believed(pool):
    site, truth = pool
    rng, spread = np.random.default_rng(1), []
    for speaks in (np.r_[np.ones(20), np.zeros(180)], np.ones(20)):
        found = []
        for _ in range(100):
            rows = rng.permutation(N)[: len(speaks)]
            found.append(level_shares(site, rows, truth[rows], 2, speaks).values[0, 1])
        spread.append(np.std(found))
    assert spread[0] < 0.75 * spread[1]


def test_known_odds_undo_what_they_did(pool):
    """The oracle draws the cells equally, and knows how large each is."""
    site, truth = pool
    rows = balanced(site, truth, 50, np.random.default_rng(1))
    sizes = np.array([[((site.codes == s) & (truth == y)).sum() for s in (0, 1)] for y in (0, 1)])
    odds = np.zeros(N)
    odds[rows] = sizes[truth[rows], site.codes[rows]] / 50
    found = level_shares(site, rows, truth[rows], 2, odds[rows])
    np.testing.assert_allclose(found.values[:, 1], [0.9, 0.1], atol=0.03)
    assert found.seen.tolist() == [[50, 50], [50, 50]]


def test_what_is_chosen_is_a_part_of_its_level():
    """A small level of which all of one class was chosen: the drawn ones speak for the rest only."""
    truth = np.repeat([1, 0], [30, 170])
    site = Column("site", "categorical", ("a",), np.zeros(200, dtype=np.int64))
    rows = np.arange(130)  # all of class 1, and 100 of class 0
    speaks = np.repeat([0.0, 1.0], [30, 100])
    found = level_shares(site, rows, truth[rows], 2, speaks).values[0, 1]
    assert found == pytest.approx(30 / 200, abs=0.06)


def test_a_class_that_only_a_chosen_label_shows_occurs_all_the_same():
    """80 drawn labels of a site without the rare class, and a chosen one of it: it is not called absent."""
    rng = np.random.default_rng(0)
    site = Column("site", "categorical", ("a", "b"), np.repeat([0, 1], 500))
    labels = np.r_[np.zeros(80, int), [1], np.ones(80, int), [0]]
    rows = np.r_[np.arange(81), 500 + np.arange(81)]
    speaks = np.where(np.isin(np.arange(162), [80, 161]), 0.0, 1.0)
    scores = np.stack([np.zeros(1000), rng.standard_normal(1000)], axis=1)
    known = level_shares(site, rows, labels, 2, speaks)
    common, table = fair_offsets(scores, [site], [known], accuracy=0.65, strength=1.0)
    called = (scores + common + table[site.codes]).argmax(axis=1)
    assert called[:500].mean() > 0.25, "fair: about .35 of the site are called what is rare there"

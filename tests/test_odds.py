"""Draws with known odds: they happen as often as their odds state, and what they did to the shares is undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cdsel_backend.pool.columns import Column
from cdsel_backend.selection import Problem, SelectionOptions, neutral_sentence, select
from cdsel_backend.selection.odds import draw_order, label_deviation, odds_of
from cdsel_backend.store.records import Selection


@pytest.fixture(scope="module")
def pool():
    """600 images of two sites, of which 15 % and 85 % show the finding, and what a good model says of them."""
    rng = np.random.default_rng(0)
    site = np.repeat([0, 1], [300, 300])
    truth = (rng.random(600) < np.where(site == 0, 0.15, 0.85)).astype(np.int64)
    score = rng.normal(np.where(truth == 1, 1.0, -1.0))
    shown = 1 / (1 + np.exp(-2 * score))
    labels = np.full(600, -1)
    first = np.concatenate([rng.choice(np.flatnonzero(site == s), 40, replace=False) for s in (0, 1)])
    labels[first] = truth[first]
    problem = Problem(
        vectors=rng.standard_normal((600, 4)).astype(np.float32),
        columns=[Column("site", "categorical", ("a", "b"), site)],
        labels=labels,
        n_classes=2,
        taken=labels >= 0,
        probabilities=np.stack([1 - shown, shown], axis=1),
    )
    return problem, truth


@pytest.mark.parametrize("size", [30, 300])
def test_each_is_drawn_as_often_as_its_odds_say(size):
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], [300, 200])
    weights = np.where(np.arange(500) % 3 == 0, 0.9, 0.3)
    open_ = np.arange(500) % 7 > 0
    items = np.flatnonzero(open_)
    often = np.zeros(500)
    for _ in range(400):
        values = draw_order(weights[items], kinds[items], rng)
        drawn = np.zeros(500, dtype=bool)
        drawn[items[np.argsort(-values)[:size]]] = True
        often += drawn
    heavy, light = (often[open_ & (weights == w)].mean() for w in (0.9, 0.3))
    odds = odds_of(weights, kinds, open_, drawn, 0.0)
    of_both = odds[open_ & (weights == 0.9)].mean() / odds[open_ & (weights == 0.3)].mean()
    assert of_both == pytest.approx(heavy / light, rel=0.06)
    assert np.mean(odds[open_ & (kinds == 0)]) == pytest.approx(1)


def test_where_all_are_drawn_or_half_came_at_random_odds_are_evener():
    weights, kinds = np.array([0.2, 0.8] * 50), np.zeros(100, dtype=np.int64)
    everything = np.ones(100, dtype=bool)
    assert odds_of(weights, kinds, everything, everything, 0.0).tolist() == [1.0] * 100
    assert odds_of(weights, kinds, everything, ~everything, 0.0).tolist() == [1.0] * 100
    few = np.arange(100) < 10
    alone, beside = (odds_of(weights, kinds, everything, few, uniform) for uniform in (0.0, 0.1))
    assert alone[1] > beside[1] > 1 > beside[0] > alone[0]


def test_images_are_drawn_oftener_where_the_model_cannot_tell_the_label(pool):
    problem, _ = pool
    deviation = label_deviation(problem, problem.columns[0].codes)
    # In the site where the finding is rare, an image that shows it as likely as not leaves the least known.
    rare = problem.columns[0].codes == 0
    surest = problem.probabilities[rare].max(axis=1)
    assert deviation[rare][np.argsort(problem.probabilities[rare][:, 1])[:20]].max() < 0.3
    assert deviation[rare][surest < 0.6].mean() > 0.4
    plain = label_deviation(replace(problem, probabilities=np.full((600, 2), 0.5)), problem.columns[0].codes)
    assert len(np.unique(plain[rare].round(9))) == 1, "a model that knows nothing leaves all odds even"
    broken = replace(problem, probabilities=np.full((600, 2), np.nan))
    assert np.isfinite(label_deviation(broken, problem.columns[0].codes)).all()


def test_labels_drawn_so_still_say_how_often_a_class_occurs(pool):
    problem, truth = pool
    site, free = problem.columns[0].codes, ~problem.taken
    weighted, counted, doubt = [], [], []
    for seed in range(60):
        chosen = select("confounder_aware", replace(problem, seed=seed), 80)
        rows, speaks = chosen.indices, chosen.represents
        assert (speaks > 0).all()
        at = [site[rows] == s for s in (0, 1)]
        weighted.append([np.average(truth[rows][own], weights=speaks[own]) for own in at])
        counted.append([truth[rows][own].mean() for own in at])
        doubt.append(problem.uncertainty[rows].mean())
    real = np.array([truth[free & (site == s)].mean() for s in (0, 1)])
    np.testing.assert_allclose(np.mean(weighted, axis=0), real, atol=0.015)
    assert np.abs(np.mean(counted, axis=0) - real).min() > 0.03, (
        "without their odds they lean to half and half"
    )
    assert np.mean(doubt) > 1.2 * problem.uncertainty[free].mean()


def test_the_random_share_is_drawn_evenly_but_speaks_for_what_both_ways_leave(pool):
    problem, _ = pool
    chosen = select("confounder_aware", replace(problem, options=SelectionOptions(random_share=0.5)), 80)
    at_random = np.array([reason.drawn_at_random for reason in chosen.reasons])
    assert at_random.sum() == 40
    assert len(np.unique(chosen.represents[at_random].round(6))) > 10
    odds = np.array([reason.odds for reason in chosen.reasons])
    np.testing.assert_allclose(chosen.represents, 1 / odds)


def test_a_kept_selection_speaks_for_as_many_and_one_of_an_earlier_version_for_one(pool):
    problem, _ = pool
    reason = select("confounder_aware", problem, 20).reasons[3]

    def kept(reason):
        return Selection(1, "", 0, None, None, None, None, round=2, gain=0.0, sentence="", reason=reason)

    assert kept(reason.to_json()).represents == pytest.approx(1 / reason.odds)
    without = {key: value for key, value in reason.to_json().items() if key != "odds"}
    assert kept(without).represents == 1.0
    assert kept({}).represents == 0.0


def test_the_reason_says_that_an_image_was_likelier_to_be_drawn(pool):
    problem, _ = pool
    reasons = [
        reason for reason in select("confounder_aware", problem, 80).reasons if not reason.drawn_at_random
    ]
    likelier = "drawn by chance, at greater odds because the model is not sure of it."
    for reason in reasons:
        assert reason.sentence.endswith(likelier if reason.odds >= 1.25 else "drawn by chance."), reason
        assert neutral_sentence(reason.to_json()) == "Drawn by chance."
    assert len({reason.sentence.endswith(likelier) for reason in reasons}) == 2

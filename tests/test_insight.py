"""What a training tells: the random share, the learning curve, and labels that may be wrong, against known answers."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from cdsel_backend.labels import PRESENCE, Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training import NotEnoughLabels, Pool, TrainingLabels
from cdsel_backend.training.accuracies import AT_ONCE, accuracies
from cdsel_backend.training.cells import Cells
from cdsel_backend.training.cross_fit import Unseen, cross_fit
from cdsel_backend.training.curve import FEWEST, learning_curve, power_law
from cdsel_backend.training.labels_saved import labels_saved_sentence, too_few
from cdsel_backend.training.random_share import RandomShare, pool_estimates, wilson
from cdsel_backend.training.suspects import LISTED, find_suspects, label_issues

CLASSES = ("benign", "malignant")


@pytest.fixture(autouse=True)
def one_thread():
    """As the training's process has it: for small matrices, threads only wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def world(n=600, labelled=300, *, seed=0, signal=1.0, noise=0.0):
    """Vectors that know the site and, less, the label; the site predicts the label with .8. Some labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.5).astype(np.int64)
    site = np.where(rng.random(n) < 0.8, truth, 1 - truth)
    vectors = rng.normal(size=(n, 32))
    vectors[:, 0] += 3 * site
    vectors[:, 1] += signal * (2 * truth - 1)
    labels = truth.copy()
    wrong = np.zeros(n, dtype=bool)
    wrong[rng.permutation(labelled)[: int(noise * labelled)]] = True
    labels[wrong] = 1 - labels[wrong]
    labels[labelled:] = -1
    return vectors, [Column("site", "categorical", ("a", "b"), site)], labels, truth, wrong


# labels that no head has seen


@pytest.mark.slow
def test_no_head_is_asked_about_what_it_was_trained_on_or_a_relative_of_it():
    vectors, columns, labels, *_ = world()
    groups = np.arange(len(labels)) // 3
    # A label that can only be known by heart: its group's images are copies that all say the same by chance.
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(200, 32)), 3, axis=0)
    labels[:300] = np.repeat(rng.integers(0, 2, 100), 3)
    held_out = groups % 5 == 0
    found = cross_fit(
        Pool(vectors, columns), TrainingLabels(labels, CLASSES, groups=groups, trainable=~held_out)
    )
    said = found.at_full_size()
    assert (found.rows == np.arange(300)).all()
    assert np.isfinite(said).all()
    assert abs((said.argmax(axis=1) == labels[:300]).mean() - 0.5) < 0.09
    tested = np.isfinite(found.probabilities[:, -1, :, 0])
    assert tested[:, held_out[:300]].all(), "what is held out is never trained on, so every draw tests it"
    assert (tested[:, ~held_out[:300]].sum(axis=0) == 2).all(), "once in each repeat"


def test_what_heads_say_is_held_once(monkeypatch):
    """Draws were listed, and then copied into one array."""
    vectors, columns, labels, *_ = world(4000, 4000)
    pool, labels = Pool(vectors, columns), TrainingLabels(labels, tuple(map(str, range(20))))
    monkeypatch.setattr(
        "cdsel_backend.training.cross_fit._draw",
        lambda pool, labels, options, beginnings, m: np.zeros((len(beginnings), m, len(labels.classes))),
    )
    cross_fit(pool, labels)  # what is imported meanwhile counts, too
    tracemalloc.start()
    found = cross_fit(pool, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * found.probabilities.nbytes


@pytest.mark.slow
def test_no_head_is_asked_about_a_patient_it_was_trained_on_where_only_some_images_are_trained_on():
    """As for the labels drawn by chance. The images tell the patient, and nothing of the class."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(150), 4)
    labels = rng.integers(0, 2, 150)[groups]
    vectors = rng.normal(size=(150, 96))[groups] + 0.1 * rng.normal(size=(600, 96))
    held_out = groups % 5 == 0
    chance = ~held_out & (rng.random(600) < 0.3)
    said = cross_fit(
        Pool(vectors, []), TrainingLabels(labels, CLASSES, groups=groups, trainable=chance)
    ).at_full_size()
    related = ~chance & ~held_out & np.isin(groups, groups[chance])
    assert np.isfinite(said).all()
    assert abs((said[related].argmax(axis=1) == labels[related]).mean() - 0.5) < 0.15


def test_of_many_classes_fewer_heads_are_trained_and_each_label_is_tested_all_the_same(monkeypatch):
    """Of 500 classes fifty heads took an hour; most of a labeling config's may be nobody's."""
    vectors, columns, labels, *_ = world(n=120, labelled=90)
    pool, given = Pool(vectors, columns), TrainingLabels(labels, [*CLASSES, *map(str, range(40))])
    monkeypatch.setattr("cdsel_backend.training.cross_fit.MANY_CLASSES", 2)
    found = cross_fit(pool, given)
    assert found.probabilities.shape[:2] == (5, 3)
    assert np.isfinite(found.at_full_size()).all()


def test_too_few_labels_for_folds_are_told():
    vectors, columns, labels, *_ = world(labelled=4)
    with pytest.raises(NotEnoughLabels, match="too few for 5 folds"):
        cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))


# the curve


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.9, 1.2, 0.5), (0.8, 0.9, 0.25), (0.7, 3.0, 1.0), (0.6, -0.4, 0.5)]
)
def test_a_power_law_is_found_again(a, b, c):
    sizes = np.array([40, 57, 80, 113, 160])
    ahead = [180.0, 320.0]
    found = power_law(sizes, (a - b * sizes**-c)[None], ahead)[0]
    np.testing.assert_allclose(found, [a - b * n**-c for n in ahead], atol=1e-9)


def planted(accuracies, *, items=3000, draws=6, seed=0):
    """Heads that are right with these probabilities at sizes 40, 57, 80, 113, 160: what learning would give."""
    rng = np.random.default_rng(seed)
    labels = np.arange(items) % 2
    right = rng.random((draws, len(accuracies), items)) < np.asarray(accuracies)[None, :, None]
    said = np.where(right, labels, 1 - labels)
    return Unseen(np.arange(items), np.array([40, 57, 80, 113, 160]), np.eye(2)[said]), labels


def test_the_gain_of_a_known_curve_lies_in_its_interval_and_the_round_is_worth_it():
    law = lambda n: 0.9 - 2.0 * n**-0.5  # noqa: E731
    unseen, labels = planted([law(n) for n in (40.0, 57.0, 80.0, 113.0, 160.0)])
    site = [Column("site", "categorical", ("a", "b"), np.arange(len(labels)) // 2 % 2)]
    found = learning_curve(unseen, Labels(labels, CLASSES), site, labels_now=160, labels_more=80, asked=100)
    for curve in found["curves"].values():
        assert curve["interval"][0] < law(240) - law(160) < curve["interval"][1]
        assert curve["twice"]["interval"][0] < law(320) - law(160) < curve["twice"]["interval"][1]
        assert abs(curve["expected"][1] - law(160)) < 0.02
    assert found["worth"] == "yes"
    assert found["sentence"].startswith("Another round of 100 would likely bring +")
    assert re.search(
        r"\+\d\.\d percentage points \(\+\d\.\d to \+\d\.\d\) of accuracy in the worst group",
        found["sentence"],
    )


def test_a_small_round_on_a_curve_that_rises_is_worth_it_little_by_little():
    unseen, labels = planted([0.9 - 2.0 * n**-0.5 for n in (40.0, 57.0, 80.0, 113.0, 160.0)], items=6000)
    found = learning_curve(unseen, Labels(labels, CLASSES), [], labels_now=160, labels_more=4, asked=5)
    assert found["worth"] == "slowly"
    assert "the curve still rises" in found["sentence"]
    assert found["twice"].startswith("Twice the labels: +4.")


def test_a_flat_curve_says_hardly_and_a_noisy_one_that_it_cannot_be_told():
    unseen, labels = planted([0.7] * 5, items=6000)
    flat = learning_curve(unseen, Labels(labels, CLASSES), [], labels_now=160, labels_more=16, asked=20)
    assert flat["worth"] == "hardly"
    assert "hardly one more image right in a hundred" in flat["sentence"]
    unseen, labels = planted([0.5, 0.55, 0.6, 0.65, 0.6], items=30, draws=5)
    noisy = learning_curve(unseen, Labels(labels, CLASSES), [], labels_now=160, labels_more=160, asked=200)
    assert noisy["worth"] == "cannot tell"
    assert "interval" in noisy["sentence"]


@pytest.mark.slow
def test_it_cannot_be_told_yet_with_few_labels_or_rare_classes():
    vectors, columns, labels, *_ = world(labelled=30)
    unseen = cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))
    own = [column.take(unseen.rows) for column in columns]
    few = learning_curve(unseen, Labels(labels[:30], CLASSES), own, labels_now=30, labels_more=16, asked=20)
    assert few["sentence"] == f"Not known yet: 30 of the {FEWEST} labels needed can be trained on."
    vectors, columns, labels, *_ = world(labelled=60)
    labels[:60] = 0
    labels[:2] = 1
    unseen = cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))
    own = [column.take(unseen.rows) for column in columns]
    again = cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))
    np.testing.assert_array_equal(unseen.probabilities, again.probabilities)
    rare = learning_curve(unseen, Labels(labels[:60], CLASSES), own, labels_now=60, labels_more=16, asked=20)
    assert rare["worth"] == "cannot tell"


def test_accuracies_of_many_groups_take_the_memory_of_some():
    """Of 50,000 labels in 1,000 groups all at once took gigabytes."""
    rng = np.random.default_rng(0)
    m, g = 4_000, 1_500
    level = rng.integers(g, size=m)
    cells = Cells(tuple(map(str, range(g))), level[:, None] == np.arange(g), np.zeros(g, dtype=np.int64))
    right = np.where(rng.random((1, 2, m, 1)) < 0.9, rng.integers(2, size=(1, 2, m, 1)), np.nan)
    items, draws = rng.integers(3, size=(2, m)).astype(float), np.ones((2, 1))
    tracemalloc.start()
    found = accuracies(right, cells, items, draws)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * AT_ONCE
    tested = np.isfinite(right[0, 1, :, 0])
    for group in (0, 777, g - 1):
        weight = items[1] * tested * (level == group)
        expected = (weight * np.nan_to_num(right[0, 1, :, 0])).sum() / weight.sum()
        assert found[1, 1, group] == pytest.approx(expected)


@pytest.mark.slow
def test_a_real_curve_rises_to_what_all_labels_reach():
    vectors, columns, labels, *_ = world(n=600, labelled=300)
    unseen = cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))
    own = [column.take(unseen.rows) for column in columns]
    found = learning_curve(
        unseen, Labels(labels[:300], CLASSES), own, labels_now=300, labels_more=20, asked=20
    )
    assert set(found["curves"]) == {"worst_group_accuracy", "balanced_accuracy"}
    balanced = found["curves"]["balanced_accuracy"]
    assert balanced["values"][-1] > balanced["values"][0]
    assert all(
        low <= value <= high
        for low, value, high in zip(balanced["low"], balanced["values"], balanced["high"], strict=True)
    )


# the random share


def test_the_random_share_is_unbiased_though_the_rounds_hunt_for_one_class():
    rng = np.random.default_rng(0)
    pool = (rng.random(1000) < 0.3).astype(np.float64)
    estimates, covered = [], 0
    for _ in range(300):
        taken = np.zeros(len(pool), dtype=int)
        drawn = np.zeros(len(pool), dtype=bool)
        for number in range(1, 6):
            free = np.flatnonzero(taken == 0)
            by_chance = rng.choice(free, 15, replace=False)
            taken[by_chance], drawn[by_chance] = number, True
            hunted = np.flatnonzero((taken == 0) & (pool == 1))[:40]
            taken[hunted] = number
        labelled = taken > 0
        share = RandomShare(taken[labelled], drawn[labelled], len(pool))
        found = share.estimate(pool[labelled])
        estimates.append(found["value"])
        covered += found["interval"][0] <= pool.mean() <= found["interval"][1]
    assert abs(np.mean(estimates) - pool.mean()) < 3 * np.std(estimates) / np.sqrt(300)
    assert abs(pool[labelled].mean() - pool.mean()) > 0.3, "what all labels say is far off"
    assert covered / 300 > 0.93


def test_a_pool_that_is_labelled_wholly_leaves_nothing_to_estimate():
    values = np.array([1.0, 0, 0, 1])
    share = RandomShare(np.array([1, 1, 1, 2]), np.array([False, False, False, True]), 4)
    assert share.estimate(values)["value"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no label"):
        RandomShare(np.array([1]), np.array([False]), 4).estimate(values[:1])


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (40, 40), (7, 15)])
def test_the_interval_is_wilson_s(k, n):
    from scipy.stats import binomtest

    theirs = binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(k / n, n), (theirs.low, theirs.high), atol=1e-12)


def test_error_and_prevalence_of_the_pool_are_told_once_there_are_enough():
    n = 40
    labels = np.arange(n) % 2
    said = np.eye(2)[np.where(np.arange(n) < 10, 1 - labels, labels)]
    few = pool_estimates(
        RandomShare(np.ones(n, int), np.arange(n) % 4 == 0, 1000), Labels(labels, CLASSES), said
    )
    assert few["error"] is None
    assert few["sentence"] == "Too few yet: 10 of the 15 labels needed were drawn by chance."
    one = pool_estimates(RandomShare(np.ones(n, int), np.arange(n) == 0, 1000), Labels(labels, CLASSES), said)
    assert one["sentence"] == "Too few yet: 1 of the 15 labels needed was drawn by chance."
    enough = pool_estimates(
        RandomShare(np.ones(n, int), np.ones(n, bool), 1000), Labels(labels, CLASSES), said
    )
    assert enough["n"] == n
    assert enough["error"]["value"] == pytest.approx(0.25)
    assert enough["prevalence"]["malignant"]["value"] == pytest.approx(0.5)


def test_a_class_that_came_later_is_estimated_from_those_who_were_asked_for_it():
    labels = np.zeros((40, 2), dtype=np.int8)
    labels[:20, 0] = 1
    labels[:30, 1] = -1
    labels[30:35, 1] = 1
    found = pool_estimates(
        RandomShare(np.ones(40, int), np.ones(40, bool), 10_000),
        Labels(labels, ("a", "b"), kind=PRESENCE),
        np.full((40, 2), 0.4),
    )
    assert found["prevalence"]["a"]["value"] == pytest.approx(0.5)
    assert found["prevalence"]["b"]["value"] == pytest.approx(0.5)
    assert found["error"]["value"] == pytest.approx((20 + 5 / 2) / 40, abs=0.02)


# labels that may be wrong


@pytest.fixture(scope="module")
def noisy():
    """What unseen heads say of 500 labels of which a tenth are wrong, the labels, and which are wrong."""
    vectors, columns, labels, _, wrong = world(n=800, labelled=500, signal=1.5, noise=0.1, seed=2)
    with threadpool_limits(1, user_api="blas"):
        unseen = cross_fit(Pool(vectors, columns), TrainingLabels(labels, CLASSES))
    return unseen, labels, wrong


def test_suspected_labels_are_those_of_cleanlab(noisy):
    filter_ = pytest.importorskip("cleanlab.filter", reason="cleanlab, the reference, is not installed")
    unseen, labels, _ = noisy
    said, given = unseen.at_full_size(), labels[unseen.rows]
    theirs = filter_.find_label_issues(given, said, filter_by="confident_learning", n_jobs=1)
    ours = label_issues(said, given)
    # It spares what the same head would call by its label anyway; we rank by that and cut.
    assert (theirs <= ours).all()
    assert (theirs == ours).mean() > 0.97


def test_planted_wrong_labels_are_found_far_oftener_than_by_chance(noisy):
    unseen, labels, wrong = noisy
    found = find_suspects(unseen.at_full_size(), Labels(labels[unseen.rows], ()))
    assert len(found) == LISTED * 500
    assert wrong[[unseen.rows[one.row] for one in found]].mean() >= 0.5, "by chance it would be 0.1"
    assert all(one.own < one.likelihood and one.label != one.other for one in found)


@pytest.mark.slow
def test_a_rare_label_of_a_site_is_no_more_suspicious_than_another():
    suspected = {"aware": [], "unaware": []}
    for seed in range(4):
        vectors, columns, labels, _, _ = world(n=900, labelled=600, seed=seed)
        for name, given in (("aware", columns), ("unaware", [])):
            unseen = cross_fit(Pool(vectors, given), TrainingLabels(labels, CLASSES))
            issues = label_issues(unseen.at_full_size(), labels[unseen.rows])
            rare = columns[0].codes[unseen.rows] != labels[unseen.rows]
            suspected[name].append((issues[rare].mean(), issues[~rare].mean()))
    rare, common = np.mean(suspected["aware"], axis=0)
    assert rare < 1.5 * common
    rare, common = np.mean(suspected["unaware"], axis=0)
    assert rare > 2 * common, "without the confounder the head suspects what is rare"


def test_suspects_of_several_classes_an_image_name_the_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 2)).astype(np.int8)
    said = np.where(labels == 1, 0.9, 0.1) + rng.uniform(-0.05, 0.05, labels.shape)
    said[7, 1] = 0.03 if labels[7, 1] else 0.97
    labels[:, 0][5:9] = -1
    (only,) = find_suspects(said, Labels(labels, (), kind=PRESENCE))
    assert (only.row, only.column, only.label, only.other) == (7, 1, labels[7, 1], 1 - labels[7, 1])


# labels saved against chance


def planted_at(accuracy, rows, sizes, *, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    right = rng.random((6, len(sizes), rows)) < np.array([accuracy(n) for n in sizes])[None, :, None]
    return Unseen(np.arange(rows), np.array(sizes), np.eye(2)[np.where(right, labels, 1 - labels)]), labels


def test_labels_saved_are_read_off_the_curve_where_the_difference_is_clear():
    law = lambda n: 0.95 - 2.0 * n**-0.5  # noqa: E731
    queue, labels = planted_at(law, 4000, [80, 113, 160, 226, 320], seed=0)
    chance, _ = planted_at(lambda n: law(n / 2), 4000, [100, 140, 200], seed=1)
    words = labels_saved_sentence(queue, chance, Labels(labels, CLASSES), [])
    assert words.startswith("200 labels of the queue bring +")
    few, many = map(int, re.search(r"of the queue \((\d+) to (\d+)\)\.$", words).groups())
    assert few <= 100 <= many < 150


def test_labels_saved_cannot_be_told_where_the_difference_is_not_clear_or_few_were_drawn():
    law = lambda n: 0.95 - 2.0 * n**-0.5  # noqa: E731
    queue, labels = planted_at(law, 200, [80, 113, 160, 226, 320], seed=0)
    chance, _ = planted_at(law, 200, [100, 140, 200], seed=1)
    assert labels_saved_sentence(queue, chance, Labels(labels, CLASSES), []).endswith(
        "saves labels is not known."
    )
    assert "12 of the 100 labels needed to train on were drawn by chance" in too_few(12, 100)
    assert too_few(100, 100).startswith("All labels were drawn by chance")
    assert too_few(100, 300) is None


# several classes an image


@pytest.mark.slow
def test_several_classes_an_image_have_a_curve_a_share_and_suspects():
    vectors, columns, single, _, wrong = world(n=700, labelled=400, signal=1.5, noise=0.05, seed=4)
    rng = np.random.default_rng(4)
    other = (vectors[:, 2] + 0.5 * rng.normal(size=700) > 0).astype(np.int8)
    labels = np.stack([single, np.where(single >= 0, other, -1)], axis=1).astype(np.int8)
    labels[:100, 1] = -1  # the second class came later
    unseen = cross_fit(Pool(vectors, columns), TrainingLabels(labels, ("effusion", "mass"), kind=PRESENCE))
    own, given = [column.take(unseen.rows) for column in columns], labels[unseen.rows]
    found = learning_curve(
        unseen,
        Labels(given, ("effusion", "mass"), kind=PRESENCE),
        own,
        labels_now=400,
        labels_more=20,
        asked=20,
    )
    assert found["worth"] != "cannot tell"
    assert found["curves"]["balanced_accuracy"]["values"][-1] > 0.8
    share = RandomShare(np.ones(400, int), np.ones(400, bool), 100_000)
    estimates = pool_estimates(
        share, Labels(given, ("effusion", "mass"), kind=PRESENCE), unseen.at_full_size()
    )
    assert estimates["prevalence"]["effusion"]["value"] == pytest.approx((given[:, 0] == 1).mean())
    assert 0.02 < estimates["error"]["value"] < 0.25
    listed = [
        one
        for one in find_suspects(unseen.at_full_size(), Labels(given, (), kind=PRESENCE))
        if one.column == 0
    ]
    assert wrong[[unseen.rows[one.row] for one in listed]].mean() > 0.3, "by chance it would be 0.05"

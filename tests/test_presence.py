"""Images that show any of several classes: labels, the model, its evaluation, confounders, selection."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cdsel_backend.confounders import detect
from cdsel_backend.labels import PRESENCE, Labels, display_label, majority, presence_text
from cdsel_backend.labels.presence import NONE, largest_doubt, rarest_probabilities, rarest_shown
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.pool.columns import Column
from cdsel_backend.project.serving import answers, misfit
from cdsel_backend.project.view import PoolView
from cdsel_backend.selection import problem_for, select, strategies
from cdsel_backend.training import (
    HeadModel,
    ModelFormatError,
    NotEnoughLabels,
    Pool,
    PresenceModel,
    TrainingLabels,
    TrainingOptions,
    evaluate,
    load,
    save,
    train_head,
    train_model,
    train_presence,
)

CLASSES = ("effusion", "nodule", "hernia")


def world(n=900, *, seed=0, confounded=0.9, noise=1.0):
    """Vectors, a site and which of the classes each image shows; the site goes with the effusion, not with the nodule.

    Nobody has a hernia.
    """
    rng = np.random.default_rng(seed)
    shown = np.stack([rng.random(n) < 0.4, rng.random(n) < 0.3, np.zeros(n, dtype=bool)], axis=1)
    north = rng.random(n) < np.where(shown[:, 0], confounded, 1 - confounded)
    vectors = noise * rng.normal(size=(n, 24))
    vectors[:, 0] += 1.5 * shown[:, 0]
    vectors[:, 1] += 2 * shown[:, 1]
    vectors[:, 2] += 3 * north
    site = Column("site", "categorical", ("north", "south"), np.where(north, 0, 1).astype(np.int64))
    return vectors.astype(np.float32), [site], shown.astype(np.int8)


@pytest.fixture(scope="module")
def trained():
    vectors, columns, labels = world()
    some = labels.copy()
    some[400:] = -1
    return (
        train_presence(Pool(vectors, columns), TrainingLabels(some, CLASSES, kind=PRESENCE)),
        vectors,
        columns,
        labels,
    )


# labels as text


def test_labels_are_canonical_text():
    assert presence_text(["b", "a", "b"]) == '["a","b"]'
    assert presence_text([]) == "[]"
    assert PRESENCE.names('["a","é"]') == ("a", "é")
    assert PRESENCE.names(presence_text(["é"])) == ("é",)
    for single in ("benign", "[", "[1]", "[a]"):
        assert PRESENCE.names(single) is None
    assert [display_label(label) for label in ("benign", "[]", '["a","b"]')] == ["benign", NONE, "a, b"]


def annotation(label, at, number=0):
    return SimpleNamespace(label=label, updated_at=at, annotation=number)


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        (['["a"]'], '["a"]'),
        (['["a","b"]', '["b","c"]', '["b"]'], '["b"]'),
        (['["a","b"]', '["a","c"]', "[]"], '["a"]'),
        (['["a","b"]', '["b","c"]'], '["b","c"]'),  # equally divided on a and c: the newest decides
        (['["a"]', "[]"], "[]"),
        (["[]", '["a"]'], '["a"]'),
        (["x", "y", "x"], "x"),
        (["x", "y"], "y"),
    ],
)
def test_the_majority_decides_class_by_class_and_the_newest_among_equals(labels, winner):
    rows = [annotation(label, f"2026-01-0{day}", day) for day, label in enumerate(labels, start=1)]
    for order in itertools.permutations(rows):
        assert majority(order) == winner


# the model


def test_the_model_finds_what_is_shown_and_says_which_class_it_left_out(trained):
    model, vectors, columns, labels = trained
    probabilities = model.predict(vectors[400:], [column.take(np.arange(400, 900)) for column in columns])
    assert probabilities.shape == (500, 3)
    for code, inside in itertools.product((0, 1), (columns[0].codes[400:] == level for level in (0, 1))):
        assert roc_auc_score(labels[400:][inside, code], probabilities[inside, code]) > 0.65
    assert not probabilities[:, 2].any()
    described = model.describe()
    assert described["left_out"] == {"hernia": "only absent, in 400 labels"}
    assert described["n"] == 400
    assert described["counts"]["nodule"] == int(labels[:400, 1].sum())
    assert described["confounders"] == ["site"]


def test_each_class_is_de_confounded_like_a_choice_between_present_and_absent(trained):
    model, vectors, columns, labels = trained
    for code, name in enumerate(CLASSES[:2]):
        own = np.where(np.arange(900) < 400, labels[:, code], -1).astype(np.int64)
        head = train_head(Pool(vectors, columns), TrainingLabels(own, ("absent", "present")))
        expected = head.predict(vectors, columns)[:, 1]
        assert np.array_equal(model.predict(vectors, columns)[:, code], expected), name


def test_it_is_fairer_than_a_plain_one_where_the_site_goes_with_the_class():
    worst = {"plain": [], "deconfounded": []}
    for seed in range(3):
        vectors, columns, labels = world(2000, seed=seed)
        test = np.arange(2000) >= 300
        for recipe, found in worst.items():
            model = train_presence(
                Pool(vectors, columns),
                TrainingLabels(labels, CLASSES, trainable=~test, kind=PRESENCE),
                TrainingOptions(recipe=recipe, seed=seed),
            )
            own = [column.take(np.flatnonzero(test)) for column in columns]
            metrics = evaluate(
                model.predict(vectors[test], own), Labels(labels[test], CLASSES, kind=PRESENCE), own
            )
            found.append(metrics["by_class"]["effusion"]["worst_group_accuracy"])
    assert np.mean(worst["deconfounded"]) > np.mean(worst["plain"]) + 0.1


def test_the_same_labels_give_the_same_model(trained, tmp_path):
    model, vectors, columns, labels = trained
    some = np.where(np.arange(900)[:, None] < 400, labels, -1)
    save(model, tmp_path / "one")
    save(
        train_presence(Pool(vectors, columns), TrainingLabels(some, CLASSES, kind=PRESENCE)), tmp_path / "two"
    )
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_it_is_kept_and_read_back_as_it_was(trained, tmp_path):
    model, vectors, columns, _ = trained
    save(model, tmp_path / "v1", {"version": "v1"})
    back = load(tmp_path / "v1")
    assert isinstance(back, PresenceModel)
    assert back.describe() == model.describe()
    assert np.array_equal(back.predict(vectors, columns), model.predict(vectors, columns))
    arrays = (tmp_path / "v1" / "model.safetensors").stat().st_size
    _, one = next(iter(model.heads.items()))
    save(one, tmp_path / "one")
    assert (
        arrays < 1.5 * (tmp_path / "one" / "model.safetensors").stat().st_size
    )  # one representation for all


def test_a_folder_whose_heads_do_not_fit_is_refused(trained):
    arrays, described = trained[0].parts()
    with pytest.raises(ValueError, match="do not make"):
        PresenceModel.from_parts(arrays, described | {"classes": ["effusion"]})
    with pytest.raises(KeyError):
        PresenceModel.from_parts({}, described)


def test_a_head_in_the_place_of_a_presence_model_is_refused_by_name(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("cdsel_backend.training.model_files.FORMATS", {"cdsel-head": PresenceModel})
    save(trained[0], tmp_path / "wrong")
    monkeypatch.undo()
    with pytest.raises(ModelFormatError, match="wrong"):
        load(tmp_path / "wrong")


def test_answers_that_nobody_was_asked_for_are_not_trained_on(trained):
    model, vectors, columns, labels = trained
    some = np.where(np.arange(900)[:, None] < 400, labels, -1)
    asked = some.copy()
    asked[200:400, 1] = -1
    other = train_presence(Pool(vectors, columns), TrainingLabels(asked, CLASSES, kind=PRESENCE))
    assert np.array_equal(other.predict(vectors, columns)[:, 0], model.predict(vectors, columns)[:, 0])
    assert other.describe()["counts"]["nodule"] == int(labels[:200, 1].sum())


def test_held_out_and_unfinished_rows_are_left_alone():
    vectors, columns, labels = world(300)
    trainable = np.arange(300) < 150
    flipped = labels.copy()
    flipped[150:] = 1 - flipped[150:]
    models = [
        train_presence(
            Pool(vectors, columns), TrainingLabels(one, CLASSES, trainable=trainable, kind=PRESENCE)
        )
        for one in (labels, flipped)
    ]
    assert np.array_equal(*(model.predict(vectors, columns) for model in models))
    vectors[3] = np.nan
    model = train_presence(Pool(vectors, columns), TrainingLabels(labels, CLASSES, kind=PRESENCE))
    assert model.describe()["n"] == 299
    found = model.predict(vectors, columns)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_what_is_missing_for_a_model_is_said():
    vectors, columns, labels = world(60)
    with pytest.raises(
        NotEnoughLabels, match="'effusion' is only present, in 60 labels; 'nodule' is not labelled"
    ):
        train_presence(
            Pool(vectors, columns),
            TrainingLabels(np.array([[1, -1]] * 60, dtype=np.int8), ("effusion", "nodule"), kind=PRESENCE),
        )
    with pytest.raises(NotEnoughLabels, match="held out"):
        train_presence(
            Pool(vectors, columns),
            TrainingLabels(labels, CLASSES, trainable=np.zeros(60, dtype=bool), kind=PRESENCE),
        )
    with pytest.raises(ValueError, match="labels are"):
        train_presence(Pool(vectors, columns), TrainingLabels(labels[:, :2], CLASSES, kind=PRESENCE))
    with pytest.raises(ValueError, match="strength"):
        train_presence(
            Pool(vectors, columns),
            TrainingLabels(labels, CLASSES, kind=PRESENCE),
            TrainingOptions(strength=2),
        )


def test_a_class_that_every_image_shows_is_said_to_be_shown():
    vectors, columns, labels = world(120)
    labels[:, 2] = 1
    model = train_presence(Pool(vectors, columns), TrainingLabels(labels, CLASSES, kind=PRESENCE))
    assert (model.predict(vectors, columns)[:, 2] == 1).all()
    assert model.describe()["left_out"] == {"hernia": "only present, in 120 labels"}


# evaluation


def test_the_metrics_agree_with_scikit_learn_class_by_class(trained):
    model, vectors, columns, labels = trained
    own = [column.take(np.arange(400, 900)) for column in columns]
    probabilities, truth = model.predict(vectors[400:], own), labels[400:]
    metrics = evaluate(probabilities, Labels(truth, CLASSES, kind=PRESENCE), own)
    guessed = probabilities >= 0.5
    assert metrics["n"] == 500
    assert metrics["accuracy"] == pytest.approx((guessed == truth).mean())
    each = [balanced_accuracy_score(truth[:, code], guessed[:, code]) for code in (0, 1)]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(each))  # nobody has a hernia: not counted
    assert [metrics["by_class"][name]["balanced_accuracy"] for name in CLASSES] == [
        *map(pytest.approx, each),
        None,
    ]
    groups = {}
    for code, name in enumerate(CLASSES):
        for value, outcome in enumerate(("absent", "present")):
            for level, word in enumerate(("north", "south")):
                inside = (truth[:, code] == value) & (own[0].codes == level)
                if inside.any():
                    groups[f"{name} {outcome}, site {word}"] = (guessed[inside, code] == value).mean()
    assert {one["group"]: one["accuracy"] for one in metrics["groups"]} == pytest.approx(groups)
    large = {one["group"] for one in metrics["groups"] if not one["unreliable"]}
    assert metrics["worst_group"] == min(large, key=lambda name: groups[name])
    assert metrics["worst_group_accuracy"] == pytest.approx(min(groups[name] for name in large))
    assert metrics["group_balanced_accuracy"] == pytest.approx(np.mean([groups[name] for name in large]))
    inside = [own[0].codes == level for level in (0, 1)]
    areas = [
        np.mean([roc_auc_score(truth[mask, code], probabilities[mask, code]) for mask in inside])
        for code in (0, 1)
    ]
    assert metrics["within_group_auc"] == pytest.approx(np.mean(areas))
    assert 0 <= metrics["calibration_error"] < 0.3
    for name, (low, high) in metrics["intervals"].items():
        assert low <= metrics[name] <= high
        assert 0 < high - low < 0.4


def test_its_keys_are_those_of_a_single_choice(trained):
    model, vectors, columns, labels = trained
    presence = evaluate(model.predict(vectors, columns), Labels(labels, CLASSES, kind=PRESENCE), columns)
    one = labels[:, 0].astype(np.int64)
    two = np.stack([1 - labels[:, 0], labels[:, 0]], axis=1).astype(float)
    single = evaluate(two, Labels(one, ("no", "yes")), columns)
    assert presence.keys() == single.keys() | {"by_class"}
    assert presence["intervals"].keys() == single["intervals"].keys()


def test_intervals_hold_the_truth_about_as_often_as_they_promise():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        n = 250
        labels = (rng.random((n, 2)) < 0.5).astype(np.int8)
        right = rng.random((n, 2)) < 0.8
        probabilities = np.where(right, labels, 1 - labels) * 0.8 + 0.1
        metrics = evaluate(probabilities, Labels(labels, ("a", "b"), kind=PRESENCE), [], seed=seed)
        low, high = metrics["intervals"]["balanced_accuracy"]
        held += low <= 0.8 <= high
    assert held >= 52  # 95 % of 60 is 57; below 52 has probability .005


def test_patients_with_all_their_images_make_intervals_wider_and_few_of_them_no_group():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 5)
    labels = rng.integers(0, 2, (200, 2)).astype(np.int8)
    right = np.repeat(rng.random((40, 2)) < 0.7, 5, axis=0)
    probabilities = np.where(right, labels, 1 - labels) * 0.8 + 0.1
    by_image, by_patient = (
        evaluate(probabilities, Labels(labels, ("a", "b"), kind=PRESENCE, groups=groups), [])
        for groups in (None, patient)
    )
    for name, interval in by_image["intervals"].items():
        assert by_patient[name] == by_image[name]
        assert np.ptp(by_patient["intervals"][name]) > 1.5 * np.ptp(interval)
    assert all(30 < one["patients"] <= 40 for one in by_patient["groups"])
    few = evaluate(probabilities, Labels(labels, ("a", "b"), kind=PRESENCE, groups=patient // 10), [])
    assert few["worst_group_accuracy"] is None
    assert all(one["unreliable"] and one["patients"] == 4 for one in few["groups"])


def test_few_labels_are_said_to_be_few():
    _, columns, labels = world(12)
    metrics = evaluate(np.full(labels.shape, 0.5), Labels(labels, CLASSES, kind=PRESENCE), columns)
    assert metrics["worst_group_accuracy"] is None
    assert "two groups" in metrics["reasons"]["worst_group_accuracy"]
    assert all(one["unreliable"] for one in metrics["groups"])
    nothing = evaluate(np.zeros((0, 3)), Labels(np.zeros((0, 3), dtype=np.int8), CLASSES, kind=PRESENCE), [])
    assert nothing["n"] == 0
    assert nothing["accuracy"] is None
    assert nothing.keys() - {"by_class"} == metrics.keys() - {"by_class"}
    with pytest.raises(ValueError, match="leave the unlabelled out"):
        evaluate(
            np.full((20, 3), 0.9), Labels(np.full((20, 3), -1, dtype=np.int8), CLASSES, kind=PRESENCE), []
        )
    with pytest.raises(ValueError, match="classes"):
        evaluate(np.zeros((2, 2)), Labels(np.zeros((2, 2), dtype=np.int8), CLASSES, kind=PRESENCE), [])


# confounders


def test_a_variable_is_judged_by_the_class_it_goes_with():
    vectors, columns, labels = world(800)
    rng = np.random.default_rng(1)
    coin = Column("coin", "categorical", ("heads", "tails"), rng.integers(0, 2, 800))
    some = np.where(np.arange(800)[:, None] < 300, labels, -1).astype(np.int8)
    report = detect(vectors, [coin, *columns], Labels(some, CLASSES, kind=PRESENCE))
    by_name = {one.variable: one for one in report.findings}
    assert report.confounders == ("site",)
    assert by_name["site"].associated_class == "effusion"
    assert "the presence of 'effusion'" in by_name["site"].sentence
    assert by_name["site"].associated > 0.5
    assert by_name["coin"].verdict == "neither"
    assert report == detect(vectors, [coin, *columns], Labels(some, CLASSES, kind=PRESENCE))


def test_before_the_labels_clusters_stand_in():
    vectors, columns, labels = world(300)
    few = np.full_like(labels, -1)
    few[:10] = labels[:10]
    (finding,) = detect(vectors, columns, Labels(few, CLASSES, kind=PRESENCE)).findings
    assert finding.associated_with == "clusters"
    assert finding.associated_class is None


@pytest.mark.slow
def test_labels_at_random_name_nothing_associated():
    """False discoveries over ten variables and three classes, adjusted together."""
    vectors, columns, labels = world(300)
    rng = np.random.default_rng(3)
    variables = [
        Column(f"v{i}", "categorical", ("a", "b", "c"), rng.integers(0, 3, 300)) for i in range(9)
    ] + columns
    named = 0
    for seed in range(12):
        shuffled = labels[np.random.default_rng(seed).permutation(300)]
        report = detect(vectors, variables, Labels(shuffled, CLASSES, kind=PRESENCE), seed=seed)
        named += any(one.verdict in ("confounder", "associated only") for one in report.findings)
    assert named <= 3  # 5 % of 12 is .6; above 3 has probability .002


def test_a_variable_that_decides_a_class_is_its_consequence():
    vectors, columns, labels = world(400)
    drain = Column("drain", "categorical", ("no", "yes"), labels[:, 0].astype(np.int64))
    by_name = {
        one.variable: one
        for one in detect(vectors, [drain, *columns], Labels(labels, CLASSES, kind=PRESENCE)).findings
    }
    assert by_name["drain"].verdict == "left out"
    assert "'effusion'" in by_name["drain"].sentence
    assert by_name["site"].verdict == "confounder"


def test_how_far_the_model_depends_on_the_variable():
    vectors, columns, labels = world(400)
    south = (columns[0].codes == 0).astype(float)
    leaky = np.stack([0.2 + 0.6 * south, np.full(400, 0.5), np.zeros(400)], axis=1)
    found = detect(vectors, columns, Labels(labels, CLASSES, kind=PRESENCE), predictions=leaky)
    assert found.findings[0].dependence > 0.3
    fair = np.clip(labels * 0.6 + 0.2 + np.random.default_rng(0).normal(size=labels.shape) * 0.05, 0, 1)
    assert (
        detect(vectors, columns, Labels(labels, CLASSES, kind=PRESENCE), predictions=fair)
        .findings[0]
        .dependence
        < 0.05
    )


# selection


def test_an_image_counts_as_the_rarest_class_it_shows():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [-1, -1, -1], [1, 0, -1]], dtype=np.int8)
    assert rarest_shown(labels).tolist() == [1, 0, 3, -1, 0]
    probabilities = np.array([[0.5, 0.2, 0.0]])
    found = rarest_probabilities(labels, probabilities)
    assert found == pytest.approx(np.array([[0.8 * 0.5, 0.2, 0.0, 0.8 * 0.5]]))
    random = np.random.default_rng(0).random((50, 3))
    assert rarest_probabilities(labels, random).sum(axis=1) == pytest.approx(np.ones(50))


def test_an_image_is_as_unsure_as_its_most_doubtful_class():
    probabilities = np.array([[0.5, 0.99], [0.9, 0.05], [np.nan, 0.5], [0.0, 1.0]])
    assert largest_doubt(probabilities) == pytest.approx([1.0, 0.2, 0.0, 0.0])


@pytest.mark.parametrize("strategy", strategies())
@pytest.mark.parametrize("with_model", [False, True])
def test_every_strategy_chooses_among_such_images(strategy, with_model, trained):
    model, vectors, columns, labels = trained
    vectors, own = vectors[:200], [column.take(np.arange(200)) for column in columns]
    some = np.where(np.arange(200)[:, None] < 40, labels[:200], -1).astype(np.int8)
    problem = problem_for(
        vectors=vectors,
        columns=own,
        labels=some,
        n_classes=3,
        kind=PRESENCE,
        taken=np.arange(200) < 40,
        probabilities=model.predict(vectors, own) if with_model else None,
    )
    chosen = select(strategy, problem, 15)
    assert len(set(chosen.indices.tolist())) == 15
    assert chosen.indices.min() >= 40
    assert (problem.uncertainty is not None) == with_model


# a label set that changes


def space(*names, kind="multiple"):
    choices = "".join(f'<Choice value="{name}"/>' for name in names)
    return parse_label_space(
        f'<View><Image name="i" value="$i"/><Choices name="c" toName="i" choice="{kind}">{choices}</Choices></View>'
    )


def metadata(columns):
    """The data of tasks that have these columns."""
    names = [column.name for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*(one.names for one in columns), strict=True)]


def test_a_model_of_other_classes_answers_for_those_it_knows(trained):
    model, vectors, columns, _ = trained
    found = model.predict(vectors, columns)
    now = answers(model, space("mass", "nodule"), vectors, metadata(columns))
    assert np.array_equal(now, np.stack([np.zeros(900), found[:, 1]], axis=1))


def test_a_head_of_other_classes_shares_out_what_it_says_of_one_that_is_gone():
    vectors, columns, labels = world(300)
    one = (labels[:, 0] + 2 * labels[:, 1]).astype(np.int64)
    head = train_model(Pool(vectors, columns), TrainingLabels(one, ("a", "b", "c", "d")))
    assert isinstance(head, HeadModel)
    now = answers(head, space("d", "new", "a", kind="single"), vectors, metadata(columns))
    assert now.sum(axis=1) == pytest.approx(np.ones(300))
    assert not now[:, 1].any()
    before = head.predict(vectors, columns)
    assert now[:, 2] / now[:, 0] == pytest.approx(before[:, 0] / before[:, 3])
    vectors[5] = np.nan
    assert np.isnan(answers(head, space("d", "new", "a", kind="single"), vectors, metadata(columns))[5]).all()


def test_a_model_that_cannot_serve_says_why(trained):
    model = trained[0]
    assert misfit(model, space(*CLASSES)) is None
    assert misfit(model, space("nodule", "mass")) is None
    assert "too few of its classes (effusion, nodule, hernia)" in misfit(model, space("mass", "cyst"))
    assert "another kind of label" in misfit(model, space("effusion", "nodule", kind="single"))


def test_a_class_that_came_later_was_not_asked_for_before():
    rows = [
        SimpleNamespace(item=1, label='["a"]', updated_at="2026-01-01T00:00:10Z"),
        SimpleNamespace(item=2, label='["b"]', updated_at="2026-01-01T00:00:30.5Z"),
        SimpleNamespace(item=3, label="[]", updated_at="2026-01-01T00:00:10Z"),
        SimpleNamespace(item=3, label="[]", updated_at="2026-01-01T00:00:40Z"),
        SimpleNamespace(item=4, label=None, updated_at=""),
        SimpleNamespace(item=5, label='["b"]', updated_at="2026-01-01T00:00:10Z"),
        SimpleNamespace(item=6, label="a", updated_at="2026-01-01T00:00:50Z"),
    ]
    state = SimpleNamespace(annotations=rows, labels={row.item: row.label for row in rows if row.label})
    start = 1767225600.0  # 2026-01-01T00:00:00Z
    offers = [(0.0, ["a", "gone"]), (start + 20, ["a", "b"])]
    pool = PoolView(state, np.arange(1, 8), [], space("a", "b"), offers)
    assert pool.labels.tolist() == [[1, -1], [0, 1], [0, 0], [-1, -1], [0, 1], [-1, -1], [-1, -1]]
    assert pool.labels.dtype == np.int8
    assert pool.labelled.tolist() == [True, True, True, False, True, False, False]
    pool = PoolView(state, np.arange(1, 8), [], space("a", "b"))
    assert pool.labels[0].tolist() == [1, 0]

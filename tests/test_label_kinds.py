"""One contract that every kind of label keeps, a toy kind of the tests' own included."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cdsel_backend.confounders import detect
from cdsel_backend.labels import KINDS, PRESENCE, SINGLE, LabelKind, Labels, SeveralLabels, kind_of, majority
from cdsel_backend.labels.single import Single
from cdsel_backend.pool.columns import Column
from cdsel_backend.round import RoundPool, next_round
from cdsel_backend.selection import SelectionOptions
from cdsel_backend.training import TrainingLabels, answers_for, evaluate, train_model
from cdsel_backend.training.cross_fit import cross_fit
from cdsel_backend.training.curve import learning_curve
from cdsel_backend.training.random_share import RandomShare, pool_estimates
from cdsel_backend.training.suspects import find_suspects

CLASSES = ("0", "1", "2")


class Grade(Single):
    """A toy: grades on a scale. Several readings make their median, and a prediction is the grade that is expected.

    As arrays a grade is stored as half steps, so that nothing above can take the values for codes.
    """

    name = "grade"
    asks = "a grade an image"

    def names(self, text: str) -> tuple[str, ...] | None:
        return (text,) if text.isdigit() else None

    def display(self, text: str) -> str:
        return f"grade {text}"

    def majority(self, newest_first: Sequence[str]) -> str:
        return sorted(newest_first, key=int)[len(newest_first) // 2]

    def encode(
        self,
        texts: Sequence[str | None],
        classes: Sequence[str],
        offered: Callable[[int], Collection[str]] | None = None,
    ) -> Any:
        codes = super().encode(texts, classes)
        return np.where(codes < 0, -1, 2 * codes)

    def codes(self, values: Any) -> Any:
        return np.where(values < 0, -1, values // 2).astype(np.int64)[:, None]

    def shows(self, values: Any, n_classes: int) -> Any:
        return super().shows(self.codes(values)[:, 0], n_classes)

    def prediction(self, probabilities: Sequence[float], classes: Sequence[str]) -> tuple[str, float]:
        grade = round(float(np.arange(len(classes)) @ np.asarray(probabilities)))
        return classes[grade], float(probabilities[grade])


@pytest.fixture(params=[*KINDS, Grade()], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> LabelKind:
    return request.param


def texts_of(kind: LabelKind) -> list[str]:
    """A label for every way to name at most two classes that the kind takes."""
    found = []
    for names in ((), *((a,) for a in CLASSES), ("0", "2"), ("1", "2")):
        with suppress(SeveralLabels):
            found.append(kind.text(names, empty_counts=True))
    return [text for text in found if text is not None]


def world(kind: LabelKind, n: int = 600) -> tuple[RoundPool, np.ndarray]:
    """Images that show their classes, and a site that goes with the first of them."""
    rng = np.random.default_rng(0)
    texts = np.array(texts_of(kind), dtype=object)
    given = [str(text) for text in rng.choice(texts, n)]
    values = kind.encode(given, CLASSES)
    shown = kind.shows(values, len(CLASSES))
    site = np.where(rng.random(n) < np.where(shown[:, 0] == 1, 0.8, 0.3), 0, 1)
    vectors = rng.normal(size=(n, 16))
    vectors[:, : len(CLASSES)] += 1.8 * shown
    vectors[:, 8] += 2 * site
    columns = [Column("site", "categorical", ("north", "south"), site.astype(np.int64))]
    return RoundPool(vectors.astype(np.float32), columns, CLASSES, kind, np.arange(n) // 2), values


def test_a_text_comes_back(kind: LabelKind):
    for text in texts_of(kind):
        names = kind.names(text)
        assert names is not None
        assert kind.text(names, empty_counts=True) == text
        assert kind.display(text)
        listed = kind.listed(CLASSES)
        codes = kind.listed_codes(text, CLASSES)
        assert codes
        assert [listed[code] for code in codes] == list(names) or (not names and codes == [len(CLASSES)])
        assert kind.majority([text]) == kind.majority([text, text, text]) == text


def test_values_say_what_the_texts_said(kind: LabelKind):
    texts = texts_of(kind)
    values = kind.encode([*texts, None], CLASSES)
    assert len(values) == len(texts) + 1
    assert kind.labelled(values).tolist() == [True] * len(texts) + [False]
    shown = kind.shows(values, len(CLASSES))
    for row, text in enumerate(texts):
        assert {CLASSES[code] for code in np.flatnonzero(shown[row] == 1)} == set(kind.names(text) or ())
    assert (shown[-1] == -1).all()
    codes, decisions = kind.codes(values), kind.decisions(CLASSES)
    assert codes.dtype == np.int64
    assert codes.shape == (len(values), len(decisions))
    assert (codes[-1] == -1).all()
    for number, decision in enumerate(decisions):
        assert codes[:, number].max() < len(decision.outcomes)
        assert len({decision.group(outcome) for outcome in range(len(decision.outcomes))}) == len(
            decision.outcomes
        )
    assert kind.encode([], CLASSES).shape[0] == 0


def test_a_class_that_is_gone_is_no_label_of_a_class_that_is_there(kind: LabelKind):
    text = kind.text(["2"])
    assert text is not None
    shown = kind.shows(kind.encode([text], ("0", "1")), 2)
    assert not (shown == 1).any()


def test_sure_probabilities_decide_as_the_label_does(kind: LabelKind):
    values = kind.encode(texts_of(kind), CLASSES)
    sure = np.clip(kind.shows(values, len(CLASSES)).astype(float), 0.01, 0.99)
    codes = kind.codes(values)
    assert (kind.decided(sure) == codes).all()
    assert kind.decided(np.stack([sure, sure])).shape == (2, *codes.shape)
    for number, outcome in enumerate(kind.by_decision(sure)):
        assert (outcome.argmax(axis=1) == codes[:, number]).all()
    assert (kind.decided(np.full((2, len(CLASSES)), np.nan)) == -1).all()
    for row, text in enumerate(texts_of(kind)):
        label, score = kind.prediction(
            (sure[row] / (1 if kind.several else sure[row].sum())).tolist(), CLASSES
        )
        assert label == text
        assert 0.9 < score <= 1
    whole = kind.complete(np.array([[0.2, 0.0, 0.2], [0.0, 0.0, 0.0]]))
    assert kind.several or whole.sum(axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "kind",
    [PRESENCE, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (SINGLE, Grade()))],
    ids=lambda kind: kind.name,
)
def test_every_part_of_a_round_takes_the_kind(kind: LabelKind):
    """Select, train, look for confounders, evaluate, cross-fit, look ahead, estimate the pool, suspect."""
    pool, truth = world(kind)
    n = len(truth)
    unlabelled = kind.encode([None], CLASSES)
    labels, taken = np.repeat(unlabelled, n, axis=0).astype(truth.dtype), np.zeros(n, dtype=bool)
    probabilities = None
    for number in (1, 2):
        chosen = next_round(
            pool, labels, taken, 120, strategy="confounder_aware", strength=0.5,
            probabilities=probabilities, seed=number, options=SelectionOptions(),
        )  # fmt: skip
        assert len(chosen) == 120
        assert not taken[chosen.indices].any()
        assert all(reason.sentence for reason in chosen.reasons)
        taken[chosen.indices] = True
        labels[chosen.indices] = truth[chosen.indices]
        learned = TrainingLabels(labels, CLASSES, kind=kind, groups=pool.groups)
        model = train_model(pool, learned)
        assert answers_for(model, kind)
        assert sum(answers_for(model, other) for other in (SINGLE, PRESENCE)) == 1
        probabilities = model.predict(pool.vectors, pool.columns)
    (finding,) = detect(
        pool.vectors,
        pool.columns,
        Labels(labels, CLASSES, kind=kind, groups=pool.groups),
        predictions=probabilities,
    ).findings
    assert finding.associated_with == "label"
    assert finding.associated > 0.2
    assert finding.associated_class == (CLASSES[0] if kind.several else None)
    assert 0 <= finding.dependence < 1
    rest = np.flatnonzero(~taken)
    assert probabilities is not None
    found = evaluate(
        probabilities[rest],
        Labels(truth[rest], CLASSES, kind=kind, groups=pool.groups[rest]),
        [pool.columns[0].take(rest)],
    )
    assert found["accuracy"] > 0.6
    assert found["worst_group_accuracy"] <= found["group_balanced_accuracy"]
    assert found["within_group_auc"] > 0.75
    assert 0 <= found["calibration_error"] < 0.2
    assert ("by_class" in found) == kind.several
    unseen = cross_fit(pool, learned)
    assert (unseen.rows == np.flatnonzero(taken)).all()
    given, said = labels[unseen.rows], unseen.at_full_size()
    own = [pool.columns[0].take(unseen.rows)]
    curve = learning_curve(
        unseen, Labels(given, CLASSES, kind=kind), own, labels_now=240, labels_more=20, asked=20
    )
    assert curve["curves"]["balanced_accuracy"]["values"]
    share = RandomShare(np.ones(240, int), np.ones(240, bool), n)
    estimates = pool_estimates(share, Labels(given, CLASSES, kind=kind), said)
    assert set(estimates["prevalence"]) == set(CLASSES)
    assert 0 < estimates["error"]["value"] < 0.4
    outcomes = [len(decision.outcomes) for decision in kind.decisions(CLASSES)]
    for one in find_suspects(said, Labels(given, (), kind=kind)):
        assert one.label == kind.codes(given)[one.row, one.column] != one.other < outcomes[one.column]


def test_labels_of_another_shape_are_refused():
    with pytest.raises(SeveralLabels, match="several labels where one is asked for: 'a', 'b'"):
        SINGLE.text(["b", "a"])
    with pytest.raises(ValueError, match=r"one class an image are \(n,\)"):
        SINGLE.codes(np.zeros((3, 2), dtype=np.int8))
    with pytest.raises(ValueError, match=r"several classes an image are \(n, classes\)"):
        PRESENCE.codes(np.zeros(3, dtype=np.int64))


def test_the_kind_is_read_off_the_texts_and_decides_what_counts():
    assert kind_of(['["a"]', "[]"]) is PRESENCE
    assert kind_of(["a", '["a"]']) is SINGLE
    days = [SimpleNamespace(label=text, updated_at=f"2026-01-0{day}", annotation=day) for day, text in
            enumerate(('["a"]', '["a","b"]', '["b"]'), start=1)]  # fmt: skip
    assert majority(days) == '["a","b"]'

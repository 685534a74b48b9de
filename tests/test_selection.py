"""One contract that every strategy keeps, registered or peer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cdsel_backend.pool.columns import Column
from cdsel_backend.selection import Ji2025Options, Problem, SelectionOptions, select, strategies

# t-SNE takes a second a round; test_selection_parts.py tries both ways to reduce.
BY_COMPONENTS = Ji2025Options(reduce="pca")
SITES = ("north clinic", "south clinic", "island clinic")


def make_problem(n: int = 240, *, seed: int = 0, labelled: int = 0, **fields: object) -> Problem:
    """Three sites of very different size, eight clusters, labels that lean on the site."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, 6))
    cluster = rng.integers(0, 8, n)
    vectors = (centres[cluster] * 2 + rng.normal(size=(n, 6))).astype(np.float32)
    codes = np.searchsorted(np.cumsum([0.7, 0.25, 0.05]), rng.random(n)).clip(0, 2).astype(np.int64)
    truth = (rng.random(n) < np.where(codes == 0, 0.8, 0.2)).astype(np.int64)
    labels = np.full(n, -1, dtype=np.int64)
    labels[:labelled] = truth[:labelled]
    values: dict[str, object] = {
        "vectors": vectors,
        "columns": [Column("site", "categorical", SITES, codes, None)],
        "labels": labels,
        "n_classes": 2,
        "taken": labels >= 0,
        "probabilities": None,
        "groups": None,
        "seed": seed,
        "options": SelectionOptions(ji2025=BY_COMPONENTS),
    }
    if labelled:
        positive = np.clip(0.2 + 0.6 * truth + rng.normal(0, 0.15, n), 0.01, 0.99)
        values["probabilities"] = np.stack([1 - positive, positive], axis=1)
    return Problem(**(values | fields))


@pytest.fixture(params=strategies())
def strategy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("labelled", [0, 30])
def test_picks_distinct_open_items_with_a_reason_each(strategy: str, labelled: int) -> None:
    problem = make_problem(labelled=labelled)
    selection = select(strategy, problem, 24)
    assert selection.indices.dtype == np.int64
    assert len(selection) == 24 == len(set(selection.indices.tolist()))
    assert not problem.taken[selection.indices].any()
    assert selection.gains.shape == (24,)
    assert np.isfinite(selection.gains).all()
    assert len(selection.reasons) == 24
    for reason in selection.reasons:
        assert reason.sentence.endswith(".")
        assert reason.sentence[0].isupper()
        assert "\n" not in reason.sentence
        assert reason.to_json()["sentence"] == reason.sentence


@pytest.mark.parametrize("labelled", [0, 30])
def test_same_problem_same_selection(strategy: str, labelled: int) -> None:
    first = select(strategy, make_problem(labelled=labelled), 20)
    second = select(strategy, make_problem(labelled=labelled), 20)
    assert first.indices.tolist() == second.indices.tolist()
    assert first.reasons == second.reasons


def test_conditional_on_taken(strategy: str) -> None:
    problem = make_problem(labelled=30)
    first = select(strategy, problem, 20)
    taken = problem.taken.copy()
    taken[first.indices] = True
    second = select(strategy, replace(problem, taken=taken), 20)
    assert not set(first.indices.tolist()) & set(second.indices.tolist())


@pytest.mark.parametrize("labelled", [0, 30])
def test_size_beyond_the_pool_gives_the_pool(strategy: str, labelled: int) -> None:
    problem = make_problem(60, labelled=labelled)
    selection = select(strategy, problem, 500)
    assert sorted(selection.indices.tolist()) == np.flatnonzero(~problem.taken).tolist()


def test_nothing_to_pick(strategy: str) -> None:
    problem = make_problem(20)
    assert len(select(strategy, problem, 0)) == 0
    assert len(select(strategy, replace(problem, taken=np.ones(20, dtype=bool)), 5)) == 0
    empty = make_problem(0)
    assert len(select(strategy, empty, 5)) == 0


def test_one_item(strategy: str) -> None:
    assert select(strategy, make_problem(1), 3).indices.tolist() == [0]


def test_all_vectors_equal(strategy: str) -> None:
    problem = make_problem(80, vectors=np.ones((80, 6), dtype=np.float32))
    assert len(set(select(strategy, problem, 15).indices.tolist())) == 15


def test_vectors_that_are_not_finite_are_never_picked(strategy: str) -> None:
    vectors = make_problem(80).vectors.copy()
    vectors[::4] = np.nan
    vectors[1, 2] = np.inf
    problem = make_problem(80, vectors=vectors)
    picked = select(strategy, problem, 80).indices
    assert sorted(picked.tolist()) == [i for i in range(80) if i % 4 and i != 1]
    unusable = make_problem(10, vectors=np.full((10, 6), np.nan, dtype=np.float32))
    assert len(select(strategy, unusable, 5)) == 0


def test_one_class_only(strategy: str) -> None:
    problem = make_problem(labelled=30)
    problem = replace(problem, labels=np.where(problem.labels >= 0, 0, -1))
    assert len(select(strategy, problem, 20)) == 20
    problem = replace(problem, n_classes=1, probabilities=np.ones((240, 1)))
    assert len(select(strategy, problem, 20)) == 20


def test_empty_stratum_and_no_confounder(strategy: str) -> None:
    problem = make_problem()
    column = Column("site", "categorical", (*SITES, "closed clinic"), problem.columns[0].codes, None)
    assert len(select(strategy, replace(problem, columns=[column]), 20)) == 20
    assert len(select(strategy, replace(problem, columns=[]), 20)) == 20


def test_group_cap_counts_what_is_taken(strategy: str) -> None:
    groups = np.arange(240) // 6
    options = SelectionOptions(ji2025=BY_COMPONENTS, group_cap=2, random_share=0.0)
    problem = make_problem(labelled=30, groups=groups, options=options)
    picked = select(strategy, problem, 500).indices
    assert len(picked) == 35 * 2  # the five groups already labelled are full
    assert np.bincount(groups[picked], minlength=40).tolist() == [0] * 5 + [2] * 35


@pytest.mark.parametrize(("longer", "threshold"), [(1.0001, 0.999), (1.0, 1.0)])
def test_near_duplicates_are_left_out(strategy: str, longer: float, threshold: float) -> None:
    problem = make_problem(60)
    twice = np.concatenate([problem.vectors, problem.vectors * np.float32(longer)])
    codes = np.tile(problem.columns[0].codes, 2)
    doubled = make_problem(
        120,
        vectors=twice,
        columns=[Column("site", "categorical", SITES, codes, None)],
        options=SelectionOptions(ji2025=BY_COMPONENTS, near_duplicate=threshold, random_share=0.0),
        taken=np.arange(120) < 10,
    )
    picked = select(strategy, doubled, 500).indices
    assert sorted((picked % 60).tolist()) == list(range(10, 60))


def test_a_reason_never_names_a_class(strategy: str) -> None:
    problem = make_problem(labelled=30)
    for reason in select(strategy, problem, 40).reasons:
        assert not {"class", "label", "positive", "malignant", "predicted"} & set(
            reason.sentence.lower().split()
        )


def test_unknown_strategy_and_negative_size_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="choose one of confounder_aware"):
        select("best", make_problem(), 5)
    with pytest.raises(ValueError, match="size is -1"):
        select("random", make_problem(), -1)

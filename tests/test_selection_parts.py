"""The parts under the strategies, each against a plain reference."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy

from cdsel_backend.pool.columns import Column
from cdsel_backend.selection import (
    Problem,
    Reason,
    SelectionOptions,
    missing_peers,
    neutral_sentence,
    problem_for,
    reads_model,
    select,
    sentence_without_label,
    strategies,
)
from cdsel_backend.selection.coverage import Coverage
from cdsel_backend.selection.methods import ji2025
from cdsel_backend.selection.neighbours import _compress, _nearest_on_gpu, nearest
from cdsel_backend.selection.strata import StrataTerm, partitions, quotas_of, target_shares


def site_problem(
    codes: np.ndarray, levels: tuple[str, ...] = ("north", "south"), **fields: object
) -> Problem:
    n = len(codes)
    values: dict[str, object] = {
        "vectors": np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32),
        "columns": [Column("site", "categorical", levels, codes.astype(np.int64))],
        "labels": np.full(n, -1, dtype=np.int64),
        "n_classes": 2,
        "taken": np.zeros(n, dtype=bool),
    }
    return Problem(**(values | fields))


# --- strata ---------------------------------------------------------------------------------------------------


def test_target_shares_between_natural_and_balanced() -> None:
    counts = np.array([900, 100, 0])
    assert target_shares(counts, 1.0).tolist() == [0.9, 0.1, 0.0]
    assert target_shares(counts, 0.0).tolist() == [0.5, 0.5, 0.0]
    assert target_shares(counts, 0.5).tolist() == [0.75, 0.25, 0.0]
    assert target_shares(np.zeros(2, dtype=np.int64), 0.5).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("have", "available", "size", "expected"),
    [
        ([0, 0], [99, 99], 10, [5, 5]),
        ([8, 0], [99, 99], 4, [0, 4]),  # one is above its share already
        ([0, 0], [2, 99], 10, [2, 8]),  # one runs out
        ([0, 0], [3, 4], 10, [3, 4]),  # both run out
        ([5, 4], [99, 99], 2, [1, 1]),  # the odd one by largest remainder, ties to the first
        ([0, 0], [0, 0], 5, [0, 0]),
    ],
)
def test_due(have: list[int], available: list[int], size: int, expected: list[int]) -> None:
    assert quotas_of(np.array([0.5, 0.5]), np.array(have), np.array(available), size).tolist() == expected


def test_due_always_adds_up() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        groups = int(rng.integers(1, 7))
        shares = rng.dirichlet(np.ones(groups))
        have, available = rng.integers(0, 20, groups), rng.integers(0, 15, groups)
        size = int(rng.integers(0, 40))
        got = quotas_of(shares, have, available, size)
        assert got.sum() == min(size, available.sum())
        assert ((got >= 0) & (got <= available)).all()


def test_large_strata_get_no_more_than_their_share_while_labels_are_few() -> None:
    sizes = 600 // np.arange(1, 31)
    problem = site_problem(np.repeat(np.arange(30), sizes), tuple(f"site {i}" for i in range(30)))
    strata, shares = StrataTerm(problem, problem.taken, 1.0), partitions(problem)[0].shares
    for picks in range(1, 201):
        strata.add(int(np.argmax(strata.gains())))
        if picks in (30, 100, 200):
            counts = strata._strata[0][2]
            assert np.abs(counts - picks * shares).max() < 1, picks  # the largest had 3 too many of 100


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, 4), (0.5, 10), (0.0, 20)])
def test_rounds_keep_the_shares(alpha: float, expected: int) -> None:
    codes = (np.arange(1000) % 10 == 0).astype(int)  # a tenth in the south
    for strategy in ("stratified", "confounder_aware"):
        options = SelectionOptions(alpha=alpha, random_share=0.0)
        selection = select(strategy, site_problem(codes, options=options), 40)
        assert abs(codes[selection.indices].sum() - expected) <= 1, strategy


def test_a_declared_pair_is_a_stratum() -> None:
    rng = np.random.default_rng(1)
    site, sex = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    rare = (site == 1) & (sex == 1) & (rng.random(400) < 0.9)
    site = np.where(rare, 0, site)
    columns = [
        Column("site", "categorical", ("north", "south"), site.astype(np.int64)),
        Column("sex", "categorical", ("f", "m"), sex.astype(np.int64)),
    ]
    problem = site_problem(
        site, columns=columns, options=SelectionOptions(alpha=0.0, pairs=(("site", "sex"),))
    )
    names = [name for p in partitions(problem) for name in p.names]
    assert "site south, sex m" in names
    alone = site_problem(site, columns=columns, options=SelectionOptions(alpha=0.0))
    both = (site == 1) & (sex == 1)
    with_pair = both[select("confounder_aware", problem, 16).indices].sum()
    assert with_pair > both[select("confounder_aware", alone, 16).indices].sum()
    with pytest.raises(ValueError, match="pairs names town"):
        site_problem(site, columns=columns, options=SelectionOptions(pairs=(("site", "town"),)))


# --- coverage -------------------------------------------------------------------------------------------------


def kernel_of(problem: Problem, sigma2: float) -> np.ndarray:
    gap = problem.vectors[:, None].astype(np.float64) - problem.vectors[None]
    return np.exp((gap**2).sum(axis=2) / (-2 * sigma2))


def of_strata(counts: np.ndarray) -> np.ndarray:
    """The sum of 1 / (j + 1/2) over j < count."""
    return np.asarray(scipy.special.digamma(counts + 0.5) - scipy.special.digamma(0.5))


def reference_greedy(problem: Problem, kernel: np.ndarray, size: int) -> list[int]:
    """Every gain anew at every step, over the full kernel."""
    covered = kernel[:, problem.taken].max(axis=1) if problem.taken.any() else np.zeros(len(problem))
    strata, chosen = StrataTerm(problem, problem.taken, problem.options.balance), []
    for _ in range(size):
        gain = np.maximum(kernel - covered[:, None], 0).mean(axis=0) + strata.gains()[strata.kind]
        gain[problem.taken] = -np.inf
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)))
        strata.add(strata.kind[chosen[-1]])
        covered = np.maximum(covered, kernel[:, chosen[-1]])
    return chosen


def coverage_of(problem: Problem, size: int) -> Coverage:
    return Coverage(
        problem.vectors,
        usable=problem.usable,
        open_=~problem.taken,
        taken=problem.taken,
        size=size,
        rng=np.random.default_rng(0),
    )


@pytest.mark.parametrize("n_taken", [0, 6])
def test_lazy_greedy_reaches_the_exact_objective(n_taken: int) -> None:
    rng = np.random.default_rng(3)
    problem = site_problem(
        rng.integers(0, 2, 500),
        vectors=rng.normal(size=(500, 8)).astype(np.float32),
        taken=np.arange(500) < n_taken,
        options=SelectionOptions(random_share=0.0),
    )
    kernel = kernel_of(problem, coverage_of(problem, 20)._sigma2)

    def value(chosen: list[int]) -> float:
        all_of = [*range(n_taken), *chosen]
        counts = np.bincount(problem.columns[0].codes[all_of], minlength=2)
        shares = partitions(problem)[0].shares
        return float(kernel[:, all_of].max(axis=1).mean() + shares @ of_strata(counts))

    ours = value(select("confounder_aware", problem, 20).indices.tolist())
    assert ours >= 0.99 * value(reference_greedy(problem, kernel, 20))
    random_ones = [value(rng.permutation(np.arange(n_taken, 500))[:20].tolist()) for _ in range(20)]
    assert ours > max(random_ones)


def test_gains_at_the_start_are_exact_and_only_shrink() -> None:
    problem = site_problem(np.zeros(300))
    coverage = coverage_of(problem, 10)
    before = np.array([coverage.gain(i) for i in range(300)])
    assert np.allclose(before, coverage.gains, atol=1e-9)
    value = coverage.value
    coverage.add(7)
    assert coverage.value == pytest.approx(value + before[7])
    assert (np.array([coverage.gain(i) for i in range(300)]) <= before + 1e-12).all()


def test_coverage_of_a_sampled_pool_is_close_to_that_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    vectors = (
        rng.normal(size=(30, 12))[rng.integers(0, 30, 30_000)] * 2 + rng.normal(size=(30_000, 12))
    ).astype("f4")
    problem = site_problem(np.zeros(30_000), vectors=vectors, options=SelectionOptions(random_share=0.0))
    picked = select("confounder_aware", problem, 100).indices
    chance = rng.permutation(30_000)[:100]
    distance = [np.sqrt(nearest(vectors, vectors[s], 1)[0]).mean() for s in (picked, chance)]
    assert distance[0] < 0.97 * distance[1]


def test_a_rare_level_of_a_large_pool_is_not_lost_in_the_sample() -> None:
    codes = np.zeros(60_000, dtype=np.int64)
    codes[:50] = np.arange(50) // 10 + 1  # five levels of ten
    levels = tuple("abcdef")
    problem = site_problem(codes, levels, options=SelectionOptions(random_share=0.0))
    selection = select("confounder_aware", problem, 200)
    owed = quotas_of(partitions(problem)[0].shares, np.zeros(6, int), np.bincount(codes), 200)
    got = np.bincount(codes[selection.indices], minlength=6)
    assert owed[1:].min() > 1
    assert (got[1:] >= owed[1:] - 2).all()
    assert got[1:].min() > 0


def test_what_an_item_covers_is_told() -> None:
    spots = np.repeat(np.eye(4, dtype=np.float32) * 50, [40, 30, 20, 10], axis=0)
    vectors = spots + np.random.default_rng(0).normal(0, 0.1, spots.shape).astype(np.float32)
    problem = site_problem(np.zeros(100), vectors=vectors)
    first = select("maxherding", problem, 4)
    assert sorted(np.searchsorted([40, 70, 90], first.indices, side="right").tolist()) == [0, 1, 2, 3]
    assert first.reasons[0].covers >= 20


def test_compressed_distances_are_close() -> None:
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(200))
    a, b = ((rng.normal(size=(n, 200)) * scale).astype(np.float32) for n in (50, 3000))
    small_a, small_b = _compress(a, b)
    exact = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    close = ((small_a[:, None] - small_b[None]) ** 2).sum(axis=2)
    assert np.abs(close / exact - 1).mean() < 0.12
    assert abs(close.mean() / exact.mean() - 1) < 0.01


def test_gpu_neighbours_agree() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 16)).astype(np.float32) for n in (5000, 700))
    square, position = _nearest_on_gpu(a, b, 5)
    exact = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    assert np.allclose(square, np.sort(exact, axis=1)[:, :5], rtol=1e-3)
    assert (position[:, 0] == exact.argmin(axis=1)).mean() > 0.99


def test_the_cpu_looks_for_neighbours_where_a_gpu_fails(monkeypatch, caplog) -> None:
    vectors = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)
    expected = nearest(vectors, vectors, 2)
    monkeypatch.setattr("cdsel_backend.selection.neighbours._has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert all(np.array_equal(*pair) for pair in zip(nearest(vectors, vectors, 2), expected, strict=True))
    assert "a GPU fails, so the CPU looks for near images" in caplog.text


def confounded(n: int = 4000, labelled: int = 400, seed: int = 0) -> Problem:
    """Scores that carry the site's prevalence (90 % and 10 %) on top of a weak signal of the class."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 2, n)
    truth = (rng.random(n) < np.where(site == 0, 0.9, 0.1)).astype(np.int64)
    signal = (truth - 0.5) * 1.0 + rng.normal(size=n)
    score = signal + np.where(site == 0, 2.2, -2.2)
    positive = 1 / (1 + np.exp(-score))
    labels = np.where(np.arange(n) < labelled, truth, -1)
    return site_problem(
        site, labels=labels, taken=labels >= 0, probabilities=np.stack([1 - positive, positive], axis=1)
    )


# --- the random share, reasons, options -----------------------------------------------------------------------


def test_the_random_share_is_uniform_marked_and_spread() -> None:
    codes = (np.arange(2000) % 10 == 0).astype(int)
    south, marked = [], []
    for seed in range(30):
        selection = select("confounder_aware", site_problem(codes, seed=seed), 40)
        at_random = np.array([reason.drawn_at_random for reason in selection.reasons])
        marked.append(at_random.sum())
        south += codes[selection.indices[at_random]].tolist()
        assert np.flatnonzero(at_random).max() > 20  # not all at the front
    assert np.mean(marked) == pytest.approx(4, abs=0.6)
    assert np.mean(south) == pytest.approx(0.1, abs=0.08)  # natural, where the strata ask for a quarter
    none = select("confounder_aware", site_problem(codes, options=SelectionOptions(random_share=0.0)), 40)
    assert not any(reason.drawn_at_random for reason in none.reasons)


def test_the_random_share_speaks_for_the_whole_pool_whatever_the_caps() -> None:
    """Under the cap it would show patients with few images too often, and the told prevalence would be theirs."""
    groups = np.concatenate([np.repeat(np.arange(8), 50), 8 + np.arange(400)])
    options = SelectionOptions(group_cap=1, random_share=0.5)
    drawn, rest = [], []
    for seed in range(30):
        problem = site_problem(np.zeros(800, dtype=np.int64), groups=groups, options=options, seed=seed)
        selection = select("confounder_aware", problem, 40)
        at_random = np.array([reason.drawn_at_random for reason in selection.reasons])
        drawn += (groups[selection.indices[at_random]] < 8).tolist()
        rest.append(groups[selection.indices[~at_random]])
        assert len(set(rest[-1].tolist())) == len(rest[-1])
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)
    capped = select("random", site_problem(np.zeros(800, dtype=np.int64), groups=groups, options=options), 40)
    assert len(set(groups[capped.indices].tolist())) == 40
    assert {reason.sentence for reason in capped.reasons} == {"Drawn by chance."}


def test_stratified_tells_the_strata_that_it_keeps() -> None:
    site = np.repeat([0, 0, 0, 1], 100)
    age = np.where(np.arange(400) % 10 < np.where(site == 1, 9, 2), 1, 0)  # goes with the site
    columns = [
        Column("site", "categorical", ("north", "south"), site),
        Column("age", "categorical", ("young", "old"), age),
    ]
    selection = select("stratified", site_problem(site, columns=columns), 60)
    last = {reason.stratum: reason for reason in selection.reasons}
    assert "site south, age old" in last
    assert all(reason.got == reason.quota for reason in last.values())
    assert sum(reason.quota for reason in last.values()) == 60


def test_the_sentence() -> None:
    reason = Reason("site north clinic", 10.0, 7, 43, None, drawn_at_random=False)
    assert reason.sentence == "Site north clinic: image 7 of its quota of 10; represents 43 similar images."
    assert replace(reason, drawn_at_random=True).sentence.startswith("Drawn at random")
    assert "not yet sure" in replace(reason, uncertainty=0.9).sentence
    assert "not yet sure" not in replace(reason, uncertainty=0.1).sentence
    assert replace(reason, covers=0).sentence.endswith("image 7 of its quota of 10, drawn by chance.")
    assert replace(reason, covers=1).sentence.endswith("quota of 10; unlike the images chosen before it.")
    assert (
        replace(reason, got=11, covers=0).sentence == "Site north clinic: beyond its quota, drawn by chance."
    )
    bare = Reason("", 0.0, 0, 0, None, drawn_at_random=False)
    assert bare.sentence == "Chosen for what it adds to the images before it."
    assert replace(bare, covers=9).sentence == "Represents 9 similar images."


def test_the_annotator_does_not_read_the_answer_in_the_reason() -> None:
    classes = ("basal cell carcinoma", "naevus")
    for stratum, told in (
        ("dx Naevus", False),
        ("sex female, dx basal cell carcinoma", False),
        ("site naevus_clinic", True),
        ("scanner A", True),
    ):
        reason = Reason(stratum, 10.0, 7, 43, None, drawn_at_random=False)
        assert (stratum[1:] in sentence_without_label(reason, classes)) == told
        assert sentence_without_label(reason, classes).endswith("epresents 43 similar images.")
        assert stratum[1:] in sentence_without_label(reason, ())
    # Of 600 classes a round took ten seconds.
    start = time.process_time()
    for number in range(200):
        sentence_without_label(replace(reason, stratum=f"site {number}"), [f"class {k}" for k in range(600)])
    assert time.process_time() - start < 3


def test_only_a_strategy_that_goes_by_the_doubt_of_the_model_names_it() -> None:
    problem = confounded(n=300, labelled=60)
    naming = {
        name
        for name in strategies()
        if any("not yet sure" in reason.sentence for reason in select(name, problem, 10).reasons)
    }
    assert naming == {"margin", "uherding"}


def test_places_in_a_stratum_count_up() -> None:
    selection = select("stratified", site_problem((np.arange(200) % 4 == 0).astype(int)), 20)
    for stratum in ("site north", "site south"):
        places = [reason.got for reason in selection.reasons if reason.stratum == stratum]
        assert places == list(range(1, len(places) + 1))


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 2}, {"random_share": -0.1}, {"balance": -1}, {"group_cap": 0}, {"near_duplicate": 1.5}],
)
def test_an_option_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SelectionOptions(**wrong)


def test_a_problem_whose_lengths_disagree_says_which() -> None:
    with pytest.raises(ValueError, match="labels has 3 items, vectors has 10"):
        site_problem(np.zeros(10), labels=np.full(3, -1, dtype=np.int64))


def test_another_round_draws_otherwise() -> None:
    problem = site_problem(np.zeros(500))
    later = replace(problem, taken=np.arange(500) >= 499)
    assert select("random", problem, 20).indices.tolist() != select("random", later, 20).indices.tolist()


def test_after_the_first_model_chance_decides_inside_the_strata() -> None:
    """The labels of a stratum then tell its prevalence without bias, whatever the model believes."""
    shares = []
    for seed in range(20):
        problem = replace(confounded(2000, 200, seed), seed=seed)
        positive = problem.probabilities[:, 1]
        selection = select("confounder_aware", problem, 100)
        site = problem.columns[0].codes
        free = ~problem.taken
        for level in (0, 1):
            mine = selection.indices[site[selection.indices] == level]
            assert 35 <= len(mine) <= 65  # a tenth is drawn at random from all
            shares.append(positive[mine].mean() - positive[free & (site == level)].mean())
    assert abs(np.mean(shares)) < 0.015


def test_where_no_confounder_goes_with_the_label_doubt_decides_inside_the_strata() -> None:
    problem = confounded(2000, 200)
    # The same images, at sites that have nothing to do with the label.
    site = Column("site", "categorical", ("north", "south"), np.arange(2000) % 2)
    calm = replace(problem, columns=[site])
    for one, doubt in ((problem, False), (calm, True)):
        selection = select("confounder_aware", one, 100)
        chosen = np.array([not reason.drawn_at_random for reason in selection.reasons])
        unsure = one.uncertainty[selection.indices[chosen]].mean() - one.uncertainty[~one.taken].mean()
        assert (unsure > 0.1) == doubt
        assert any("not yet sure" in reason.sentence for reason in selection.reasons) == doubt
    south = site.codes[select("confounder_aware", calm, 100).indices].sum()
    assert 40 <= south <= 60


def test_what_reads_no_model_is_the_same_whatever_it_says() -> None:
    problem = confounded(300, 40)
    other = replace(
        problem, probabilities=problem.probabilities[::-1].copy(), vectors=-problem.vectors[::-1].copy()
    )
    for name in strategies():
        if not reads_model(name):
            assert select(name, problem, 20).indices.tolist() == select(name, other, 20).indices.tolist()
    assert reads_model("confounder_aware")
    assert not set(missing_peers()) & set(strategies())


# --- the paper ------------------------------------------------------------------------------------------------


def test_ji2025_finds_the_clusters_and_shares_by_size() -> None:
    spots = np.repeat(np.array([[0, 0], [30, 0], [0, 30]], dtype=np.float32), [120, 60, 20], axis=0)
    plane = spots + np.random.default_rng(0).normal(size=spots.shape)
    found = ji2025.dbscan(plane.astype(np.float64))
    parts = [set(found[a:b].tolist()) for a, b in ((0, 120), (120, 180), (180, 200))]
    assert parts[0].isdisjoint(parts[1] | parts[2])
    assert parts[1].isdisjoint(parts[2])
    assert found.min() == 0


@pytest.mark.parametrize("pick", ["midpoints", "nearest", "farthest"])
@pytest.mark.parametrize("quota", ["proportional", "equal"])
@pytest.mark.parametrize("reduce", ["pca", "tsne"])
def test_ji2025_grid(pick: str, quota: str, reduce: str) -> None:
    from cdsel_backend.selection import Ji2025Options

    options = SelectionOptions(ji2025=Ji2025Options(reduce=reduce, quota=quota, pick=pick))
    problem = confounded(80, 20)
    picked = select("ji2025", replace(problem, options=options), 12).indices
    assert len(set(picked.tolist())) == 12
    with pytest.raises(ValueError, match=r"ji2025\.pick"):
        Ji2025Options(pick="best")


def test_gains_fall_for_greedy_coverage() -> None:
    gains = select("maxherding", site_problem(np.zeros(200)), 30).gains
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gains))


# --- typiclust, and the peers ---------------------------------------------------------------------------------


def test_typiclust_passes_over_tiny_clusters() -> None:
    rng = np.random.default_rng(0)
    large = rng.normal(size=(6, 8))[np.repeat(np.arange(6), 12)] * 20 + rng.normal(size=(72, 8))
    lone = rng.normal(size=(6, 8)) * 300  # each far from all others, a cluster of one
    problem = site_problem(np.zeros(78, dtype=np.int64), vectors=np.vstack([large, lone]).astype(np.float32))
    options = SelectionOptions(random_share=0.0)
    assert select("typiclust", replace(problem, options=options), 12).indices.max() < 72


@pytest.mark.skipif("probcover" not in strategies(), reason="the extra peers is not installed")
def test_probcover_does_not_depend_on_the_length_of_the_vectors() -> None:
    problem = site_problem(np.zeros(300, dtype=np.int64))
    longer = replace(problem, vectors=problem.vectors * np.float32(50))
    assert (
        select("probcover", problem, 30).indices.tolist() == select("probcover", longer, 30).indices.tolist()
    )


def test_a_neutral_reason_names_no_confounder_and_no_doubt():
    for covers, at_random in ((1, False), (12, False), (0, False), (3, True)):
        reason = Reason("riverside", 8, 3, covers, 0.9, at_random)
        neutral = neutral_sentence(reason.to_json())
        assert "riverside" not in neutral
        assert "sure" not in neutral
        assert neutral.endswith(".")
    assert neutral_sentence(Reason("riverside", 8, 3, 12, 0.9, False).to_json()) == (
        "Represents 12 similar images."
    )
    assert neutral_sentence({}) == "Chosen for what it adds to the images before it."


def test_what_a_strategy_does_not_read_is_not_computed():
    """A million vectors are not projected for covering where chance decides inside the strata."""
    vectors = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    site = Column("site", "categorical", ("north", "south"), np.arange(200) % 2)
    labels = np.where(np.arange(200) < 80, np.arange(200) % 2, -1)
    shares = np.full((200, 2), 0.5)
    asked = []

    def later(name, value):
        def give():
            asked.append(name)
            return value

        return give

    def chosen(associated, given):
        return select(
            "confounder_aware",
            problem_for(
                vectors=given("vectors", vectors),
                finite=np.ones(200, dtype=bool),
                probabilities=given("probabilities", shares),
                labels=labels if associated else np.where(labels >= 0, np.arange(200) // 2 % 2, -1),
                n_classes=2,
                columns=[site],
                taken=labels >= 0,
            ),
            20,
        )

    for associated, reads in ((True, ["probabilities"]), (False, ["probabilities", "vectors"])):
        asked.clear()
        lazily, at_once = chosen(associated, later), chosen(associated, lambda _, value: value)
        assert sorted(asked) == reads
        np.testing.assert_array_equal(lazily.indices, at_once.indices)
        assert lazily.reasons == at_once.reasons

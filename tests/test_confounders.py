import csv
import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made import column
from scipy.stats import false_discovery_control

from cdsel_backend.confounders import Finding, Report, Verdict, cramers_v, cross_table, detect
from cdsel_backend.confounders.association import (
    cramers_v_interval,
    independence_p,
    independent,
    permutation_p,
    units,
)
from cdsel_backend.confounders.dependence import partial_dependence
from cdsel_backend.confounders.judge import merge
from cdsel_backend.confounders.probe import fit_probe
from cdsel_backend.labels import Labels
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import Column

HAM = Path(__file__).parents[1].parent / "shared/data/ham10000_site"
needs_ham = pytest.mark.skipif(not HAM.exists(), reason="needs ../shared/data/ham10000_site")


def finding(report, name):
    return next(one for one in report.findings if one.variable == name)


def planted(strength, n=1000, seed=0, encoded=1.5):
    """A binary variable whose Cramér's V with the label is `strength`, written in one of 32 dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    site = np.where(rng.random(n) < (1 + strength) / 2, labels, 1 - labels)
    vectors = rng.standard_normal((n, 32)).astype(np.float32)
    vectors[:, 0] += encoded * site
    vectors[:, 1] += labels
    return vectors, labels, column("site", site, ("here", "there")), rng


@pytest.fixture(scope="module")
def ham():
    with (HAM / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row.pop("malignant")) for row in rows])
    groups = np.unique([row["lesion_id"] for row in rows], return_inverse=True)[1]
    columns = read_columns(
        [{k: v for k, v in row.items() if k != "file"} for row in rows],
        ignore=["dx_type"],
        groups="lesion_id",
    )
    vectors = np.load(HAM / "efficientnet_lite0_embeddings.npy").astype(np.float32)
    return vectors, columns, labels, groups


# measures


def test_cramers_v_agrees_with_its_definition():
    assert cramers_v(np.array([[50, 0], [0, 50]])) == pytest.approx(1.0)
    assert cramers_v(np.array([[25, 25], [25, 25]])) == 0.0
    table = np.array([[10, 20, 30], [30, 20, 10]])  # chi-square 20, n 120
    n, phi2 = 120, 20 / 120 - 2 / 119
    expected = np.sqrt(phi2 / min((2 - 1 / 119) - 1, (3 - 4 / (n - 1)) - 1))
    assert cramers_v(table) == pytest.approx(expected)
    assert cramers_v(np.array([[5, 5]])) == 0.0
    with_empty = np.pad(table, ((0, 1), (1, 0)))  # a class, and a level, of which there is nothing
    assert cramers_v(with_empty) == cramers_v(table)


@pytest.mark.parametrize(
    ("v", "n", "each"),
    [
        (0.0, 60, 1),
        (0.3, 200, 1),
        (0.7, 60, 1),
        (0.3, 60, 5),
        (0.7, 60, 5),
        (0.0, 300, "many"),
        (0.4, 200, "many"),
    ],
)
def test_the_interval_of_cramers_v_covers_the_truth_also_where_images_repeat(v, n, each):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        labels = rng.integers(0, 2, n)
        level = np.where(rng.random(n) < (1 + v) / 2, labels, 1 - labels)
        # "many": some patients have tens of times as many images as others.
        sizes = 1 + rng.pareto(1.2, n).astype(int).clip(max=200) if each == "many" else each
        groups, labels, level = (np.repeat(a, sizes) for a in (np.arange(n), labels, level))
        table = cross_table(level, labels)
        known = independent(units(groups, level, labels).sizes)
        low, high = cramers_v_interval(table, known)
        assert low <= cramers_v(table, known) + 1e-9 <= high + 2e-9
        covered.append(low <= v <= high)
    assert np.mean(covered) >= 0.93


def test_the_interval_of_a_large_table_is_narrow_and_of_one_row_nothing():
    assert cramers_v_interval(np.array([[400_000, 100_000], [100_000, 400_000]]), 1_000_000) == pytest.approx(
        (0.6, 0.6), abs=0.003
    )
    assert cramers_v_interval(np.array([[5, 5]]), 10) == (0.0, 0.0)


def test_the_interval_of_a_table_of_rare_cells_begins_at_0_where_chance_would_reach_it():
    """Thirty levels, one label in thirty of the rare class: it lay above 0 in 15 % of unrelated tables."""
    rng = np.random.default_rng(1)
    shares = np.arange(1, 31) ** -1.5
    shares = np.outer(shares / shares.sum(), [0.97, 0.03])
    above = 0
    for _ in range(60):
        table = rng.multinomial(300, shares.ravel()).reshape(shares.shape)
        table = table[table.any(axis=1)]
        above += cramers_v_interval(table, 300, independence_p(table, rng))[0] > 0
    assert above <= 5  # 1.5 are expected; more than 5 have probability .004


def test_the_p_value_of_unrelated_variables_is_uniform():
    rng = np.random.default_rng(0)
    p = [
        independence_p(cross_table(rng.integers(0, 4, 150), rng.integers(0, 2, 150)), rng) for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_many_tests_draw_many_permutations_only_where_one_may_reach():
    """Of 300 encoded variables each would draw 7,200, of 60,000 pairs with a tag 1,440,000."""
    draws = []

    def reached(share, quiet=2):
        def draw(count):
            draws.append(count)
            return int(share * count) if len(draws) > quiet else 0

        return draw

    assert permutation_p(reached(0), 400, 10, lambda _: True) == 1 / 401
    assert permutation_p(reached(0), 400, 300, lambda count: count == 6800) == 1 / 7201
    assert draws == [400, 100, 300]
    draws.clear()
    assert permutation_p(reached(0), 400, 300, lambda _: True) == 1 / 7201
    assert permutation_p(reached(0.5, quiet=0), 400, 300, lambda _: False) == 51 / 101
    assert draws == [100, 100]
    draws.clear()
    assert permutation_p(reached(0.5, quiet=0), 400, 10, lambda _: False) == 201 / 401
    draws.clear()
    assert permutation_p(reached(0), 400, 300, lambda _: False) == 1 / 7201
    assert sum(draws) == 7200
    draws.clear()
    assert permutation_p(reached(0.01), 400, 300, lambda _: False) == 13 / (1 + 400 * 4)


def test_a_table_of_rare_cells_is_drawn_for_as_long_as_chance_may_reach_it():
    dense, sparse = np.array([[300, 10], [10, 300]]), np.array([[2, 0], [0, 4000]])
    for table in (dense, sparse):
        assert independence_p(table, np.random.default_rng(0)) == 1 / 2000
        assert independence_p(table, np.random.default_rng(0), 200) == 1 / 4801
    assert independence_p(dense, np.random.default_rng(0), 10**9) < 1e-10  # at once: nobody can draw so many


def test_tables_of_many_classes_are_drawn_some_at_a_time():
    """Of 50 levels and 500 classes all at once took 1.2 GB."""
    rng = np.random.default_rng(0)
    table = cross_table(rng.integers(0, 50, 1000), rng.integers(0, 200, 1000))
    tracemalloc.start()
    assert independence_p(table, rng) > 0.001
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 200e6


def test_repeats_of_one_group_count_once():
    groups = np.array([0, 0, 0, 1, -1, -1])
    a, b = np.array([0, 0, 1, 0, 0, 0]), np.zeros(6, int)
    found = units(groups, a, b)
    assert found.of[0] == found.of[1]
    assert len(set(found.of.tolist())) == len(found.first) == 5
    assert sorted(found.sizes.tolist()) == [1, 1, 1, 1, 2]
    assert len(set(units(None, a, b).of.tolist())) == 6
    assert independent(np.array([1, 1, 1])) == 3
    assert independent(np.array([100, 1, 1])) == pytest.approx(1.04, abs=0.01)


def test_a_probe_finds_what_is_written_and_nothing_else():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((600, 50)).astype(np.float32)
    written = (vectors[:, 0] + vectors[:, 1] > 0).astype(np.int64)
    probe = fit_probe(vectors, None, rng)
    area, p = probe.auroc(written, rng)
    assert area > 0.9
    assert p < 0.01
    null = [probe.auroc(rng.integers(0, 3, 600), rng) for _ in range(40)]
    assert abs(np.mean([area for area, _ in null]) - 0.5) < 0.02
    assert np.mean([p <= 0.05 for _, p in null]) <= 0.15
    assert probe.auroc(np.zeros(600, int), rng) is None
    assert probe.intervals([np.zeros(600, int)]) == [None]


@pytest.mark.parametrize(("patients", "each"), [pytest.param(240, 1, marks=pytest.mark.slow), (60, 5)])
def test_the_interval_of_a_probe_covers_what_such_probes_reach_also_where_images_repeat(patients, each):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        level = rng.integers(0, 2, patients)
        looks = rng.standard_normal((patients, 16)) + 1.5 * np.eye(16)[0] * level[:, None]
        vectors = np.repeat(looks, each, axis=0) + 0.1 * rng.standard_normal((patients * each, 16))
        probe = fit_probe(vectors.astype(np.float32), np.repeat(np.arange(patients), each), rng)
        codes = np.repeat(level, each)
        found.append([probe.auroc(codes, rng)[0], *probe.intervals([codes])[0]])
    area, low, high = np.array(found).T
    assert ((low <= area) & (area <= high)).all()
    assert np.mean((low <= area.mean()) & (area.mean() <= high)) >= 0.9
    assert (high - low).mean() < (0.2 if each == 1 else 0.5)


def test_a_probe_is_not_fooled_by_patients():
    """Each patient has a look of their own and one scanner; nothing of the scanner shows in the image."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 15)
    looks = rng.standard_normal((40, 30))[patients]
    vectors = (looks * 3 + rng.standard_normal((600, 30))).astype(np.float32)
    p = []
    for _ in range(20):
        scanner = rng.integers(0, 2, 40)[patients]
        p.append(fit_probe(vectors, patients, rng).auroc(scanner, rng)[1])
    assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_partial_dependence_sees_a_shortcut_and_spares_an_honest_model():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    site = np.where(rng.random(400) < 0.85, labels, 1 - labels)

    def probabilities(score):
        p = 1 / (1 + np.exp(-score))
        return np.stack([1 - p, p], axis=1)

    honest = probabilities(labels * 2.0 - 1 + rng.standard_normal(400))
    shortcut = probabilities(site * 2.0 - 1 + rng.standard_normal(400))
    assert partial_dependence(honest, labels, site, rng)[1] > 0.05
    share, p = partial_dependence(shortcut, labels, site, rng)
    assert share > 0.2
    assert p < 0.01
    assert partial_dependence(honest[:5], labels[:5], site[:5], rng) is None


def test_the_dependence_of_a_model_of_many_classes_takes_little_longer():
    """Each class was summed within each label: of 500 classes it took minutes for each variable."""
    rng = np.random.default_rng(0)
    said, labels = rng.dirichlet(np.ones(100), 200), rng.integers(0, 100, 200)
    start = time.process_time()
    found = partial_dependence(said, labels, rng.integers(0, 9, 200), rng)
    assert time.process_time() - start < 6
    assert found is not None
    assert found[1] > 0.05


@pytest.mark.parametrize("each", [1, 10])
def test_an_honest_model_is_not_blamed_for_patients_with_many_images(each):
    rng = np.random.default_rng(0)
    blamed = 0
    for _ in range(60):
        patients = np.repeat(np.arange(40), each)
        labels, site = (rng.integers(0, 2, 40)[patients] for _ in range(2))
        score = (rng.standard_normal(40)[patients] + rng.standard_normal(len(patients)) * 0.3) + labels
        p = 1 / (1 + np.exp(-score))
        blamed += partial_dependence(np.stack([1 - p, p], axis=1), labels, site, rng, patients)[1] <= 0.05
    assert blamed <= 8


# verdicts


def test_verdicts_in_words():
    vectors, labels, site, rng = planted(0.7)
    columns = [
        site,
        column("copy", site.codes, ("x", "y")),
        column("shown", (vectors[:, 5] > 0)),
        column("linked", np.where(rng.random(1000) < 0.7, labels, rng.integers(0, 2, 1000))),
        column("noise", rng.integers(0, 3, 1000)),
        column("diagnosis", labels * 2 + rng.integers(0, 2, 1000)),
        Column("id", "categorical", ("a",), np.zeros(1000, int), excluded="identifies: all different"),
    ]
    vectors[:, 1] = rng.standard_normal(
        1000
    )  # the label itself does not show, so neither does what goes with it
    vectors[:, 0] = rng.standard_normal(1000) + 1.5 * site.codes
    report = detect(vectors, columns, Labels(labels, ("no", "yes")))
    assert report.confounders[0] in ("site", "copy")
    assert {finding(report, name).verdict for name in ("site", "copy")} == {"confounder", "left out"}
    assert "duplicate" in finding(report, ({"site", "copy"} - set(report.confounders)).pop()).sentence
    assert finding(report, "shown").verdict == "encoded only"
    assert finding(report, "noise").verdict == "neither"
    assert finding(report, "diagnosis").verdict == "left out"
    assert "consequence of the label" in finding(report, "diagnosis").sentence
    assert finding(report, "id").sentence == "id identifies: all different."


@pytest.mark.parametrize(
    ("weaker", "left_out"),
    [
        ("scanner", False),  # it divides the hospitals
        ("copy", True),
        ("image: size", True),  # what a file says of itself goes after the metadata
    ],
)
def test_what_divides_the_levels_of_a_stronger_variable_is_no_duplicate(weaker, left_out):
    rng = np.random.default_rng(0)
    hospital = rng.integers(0, 2, 500)
    scanner = 2 * hospital + rng.integers(0, 2, 500)
    codes = {"hospital": hospital, "scanner": scanner, "image: size": scanner}
    codes["copy"] = np.where(rng.random(500) < 0.03, 1 - hospital, hospital)
    columns = {name: column(name, own) for name, own in codes.items()}

    def merged(*names):
        found = [Finding(name, Verdict.CONFOUNDER, f"{name} can mislead.", 2) for name in names]
        return {one.variable: one.verdict for one in merge(found, columns)}

    assert merged("hospital", weaker)["hospital"] is Verdict.CONFOUNDER
    assert (merged("hospital", weaker)[weaker] is Verdict.LEFT_OUT) == left_out
    assert merged("scanner", "hospital")["hospital"] is Verdict.LEFT_OUT, "the scanner tells the hospital"


def test_a_few_images_from_elsewhere_do_not_make_duplicates_of_two_variables():
    """Two hospitals share their models; of ten others there are two images each, with a model of its own."""
    rng, elsewhere = np.random.default_rng(0), np.repeat(np.arange(2, 12), 2)
    columns = {
        name: column(name, np.concatenate([rng.integers(0, 2, 500), elsewhere]))
        for name in ("hospital", "model")
    }
    found = [Finding(name, Verdict.CONFOUNDER, f"{name} can mislead.", 12) for name in columns]
    assert cramers_v(cross_table(columns["hospital"].codes, columns["model"].codes)) > 0.9
    assert [one.verdict for one in merge(found, columns)] == [Verdict.CONFOUNDER] * 2


def test_a_few_patients_with_many_images_make_no_consequence():
    """A confounder must not be dropped because six patients happen to agree with it in all of their images."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(6), 15)
    labels = np.array([0, 0, 0, 1, 1, 1])[patients]
    vectors = rng.standard_normal((90, 16)).astype(np.float32)
    report = detect(vectors, [column("site", labels.copy())], Labels(labels, (), groups=patients))
    assert "consequence" not in finding(report, "site").sentence
    alone = detect(vectors, [column("site", labels.copy())], Labels(labels, ()))
    assert "consequence" in finding(alone, "site").sentence


@pytest.mark.slow
def test_one_confounder_is_found_among_many_columns():
    """With 399 permutations no p-value could survive the adjustment for more than twenty variables."""
    vectors, labels, site, rng = planted(0.7)
    others = [column(f"note{i}", rng.integers(0, 3, len(labels))) for i in range(24)]
    report = detect(vectors, [*others, site], Labels(labels, ()))
    assert report.confounders == ("site",)


def test_what_goes_with_the_label_but_does_not_show():
    vectors, labels, _, rng = planted(0.0)
    vectors[:, 1] = rng.standard_normal(1000)
    linked = column("linked", np.where(rng.random(1000) < 0.7, labels, 1 - labels))
    assert finding(detect(vectors, [linked], Labels(labels, ())), "linked").verdict == "associated only"


def test_the_admin_has_the_last_word():
    vectors, labels, site, rng = planted(0.7)
    noise = column("noise", rng.integers(0, 2, 1000))
    excluded = Column("device", "categorical", ("a", "b"), rng.integers(0, 2, 1000), excluded="identifies")
    report = detect(
        vectors,
        [site, noise, excluded],
        Labels(labels, ()),
        forced_in=("noise", "device"),
        forced_out=("site",),
    )
    assert set(report.confounders) == {"noise", "device"}
    assert finding(report, "site").verdict == "forced out"
    assert finding(report, "noise").verdict == "forced in"


def test_before_any_label_clusters_stand_in():
    vectors, _, site, rng = planted(0.7, encoded=6)
    report = detect(vectors, [site, column("noise", rng.integers(0, 2, 1000))], Labels(np.full(1000, -1), ()))
    assert report.confounders == ("site",)
    assert finding(report, "site").associated_with == "clusters"
    assert "clusters of the images" in finding(report, "site").sentence


def test_the_report_survives_json_and_repeats():
    vectors, labels, site, _ = planted(0.7)
    report = detect(vectors, [site], Labels(labels, ()), seed=3)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert detect(vectors, [site], Labels(labels, ()), seed=3) == report
    assert Report.from_json(None) == Report()


def test_a_model_that_leans_on_the_site_is_told():
    vectors, labels, site, rng = planted(0.7)
    score = 2.0 * site.codes - 1 + rng.standard_normal(1000)
    p = 1 / (1 + np.exp(-score))
    report = detect(vectors, [site], Labels(labels, ()), predictions=np.stack([1 - p, p], axis=1))
    assert finding(report, "site").dependence > 0.2
    assert "of the model's score" in finding(report, "site").sentence


def test_a_cluster_no_variable_explains_is_a_latent_group():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((800, 16)).astype(np.float32)
    vectors[:160, :8] += 6
    report = detect(vectors, [column("noise", rng.integers(0, 2, 800))], Labels(np.full(800, -1), ()))
    assert any(120 <= group.size <= 200 for group in report.latent)
    explained = detect(vectors, [column("device", np.arange(800) < 160)], Labels(np.full(800, -1), ()))
    assert not any(120 <= group.size <= 200 for group in explained.latent)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 19])
def test_tiny_pools_get_a_report(n):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, 8)).astype(np.float32)
    site = Column("site", "categorical", ("a", "b"), rng.integers(0, 2, n))
    assert len(detect(vectors, [site], Labels(rng.integers(-1, 2, n), (), groups=np.arange(n))).findings) == 1


def test_broken_vectors_are_left_out_and_equal_ones_say_nothing():
    vectors, labels, site, _ = planted(0.7)
    vectors[::7] = np.nan
    assert detect(vectors, [site], Labels(labels, ())).confounders == ("site",)
    assert (
        finding(
            detect(np.ones((100, 4)), [site.take(np.arange(100))], Labels(labels[:100], ())), "site"
        ).encoded
        < 0.7
    )


# how often it is right


@pytest.mark.slow
def test_power_over_strengths():
    """Planted strengths .2 to .9 with 200 labels of 1,000 images; .2 is near what 200 labels can show."""
    power = {}
    for strength in (0.2, 0.4, 0.9):
        found = 0
        for seed in range(8):
            vectors, labels, site, rng = planted(strength, seed=seed)
            noise = [column(f"noise {i}", rng.integers(0, 3, 1000)) for i in range(3)]
            labels[rng.permutation(1000)[200:]] = -1
            found += detect(vectors, [site, *noise], Labels(labels, ())).confounders == ("site",)
        power[strength] = found / 8
    print("power", power)
    assert power[0.2] >= 0.4
    assert min(power[0.4], power[0.9]) >= 0.9


@needs_ham
def test_ham10000(ham):
    vectors, columns, labels, groups = ham
    report = detect(vectors, columns, Labels(labels, ("benign", "malignant"), groups=groups))
    assert report.findings[0].variable == report.confounders[0] == "site"
    order = [one.variable for one in report.findings]
    assert order.index("sex") > order.index("site")
    assert "sex" not in report.confounders
    assert finding(report, "dx").verdict == "left out"
    assert "consequence of the label" in finding(report, "dx").sentence
    assert "identifies" in finding(report, "image_id").sentence
    assert "identifies" in finding(report, "lesion_id").sentence
    assert "ignored" in finding(report, "dx_type").sentence
    assert finding(report, "site").associated == pytest.approx(0.414, abs=0.005)


@needs_ham
def test_permuted_labels_go_with_nothing(ham):
    """Benjamini-Hochberg at .05: of 200 permutations, about 5 % may name something, and effect sizes forbid more."""
    _, columns, labels, groups = ham
    rng = np.random.default_rng(0)
    candidates = [one for one in columns if one.excluded is None]
    named = 0
    for _ in range(200):
        rows = rng.permutation(len(labels))[:400]
        permuted = rng.permutation(labels[rows])
        p, v = [], []
        for one in candidates:
            codes = one.codes[rows]
            once = units(groups[rows], codes, permuted).first
            p.append(independence_p(cross_table(codes[once], permuted[once]), rng))
            v.append(cramers_v(cross_table(codes, permuted)))
        named += ((false_discovery_control(np.array(p)) <= 0.05) & (np.array(v) >= 0.1)).any()
    print("permutations that name something", named / 200)
    assert named / 200 <= 0.08

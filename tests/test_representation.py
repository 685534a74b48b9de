import numpy as np
import pytest
from made import column

from cdsel_backend.confounders.representation import fit_representation, level_shift
from cdsel_backend.pool.columns import Column
from cdsel_backend.round import RoundPool


@pytest.fixture
def pool():
    rng = np.random.default_rng(0)
    site, sex = rng.integers(0, 3, 900), rng.integers(0, 2, 900)
    vectors = rng.standard_normal((900, 40)).astype(np.float32)
    vectors[:, 0] += 3 * site
    vectors[:, 1] += 2 * sex
    return vectors, [column("site", site), column("sex", sex)]


def means(z, column):
    return np.stack([z[column.codes == code].mean(axis=0) for code in range(len(column.levels))])


def spread(z, column):
    return float(np.abs(means(z, column) - z.mean(axis=0)).max())


def test_centring_takes_the_mean_effect_of_every_variable(pool):
    bare, half, full = (RoundPool(*pool, ()).centred(strength) for strength in (0, 0.5, 1))
    for one in pool[1]:
        before = spread(bare, one)
        assert spread(full, one) < 0.1 * before
        assert spread(half, one) == pytest.approx(before / 2, rel=0.1)


def test_vectors_have_length_four_before_centring_and_float32(pool):
    z = fit_representation(pool[0]).project(pool[0])
    assert z.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 4, rtol=1e-5)


def test_a_rare_level_keeps_most_of_its_own_mean():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 20)).astype(np.float32)
    pool = RoundPool(vectors, [column("site", np.r_[np.zeros(498, int), 1, 1])], ())
    plain = pool.projected
    moved = pool.centred(1) - plain
    own = plain[-2:].mean(axis=0) - plain.mean(axis=0)
    assert np.linalg.norm(moved[-1]) < 0.25 * np.linalg.norm(own)


def test_levels_are_matched_by_name_and_what_is_unknown_is_left_alone(pool):
    columns = pool[1]
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    levels = {one.name: one.levels for one in columns}
    site, sex = (one.codes[:9] for one in columns)
    few = [one.take(np.arange(9)) for one in columns]
    np.testing.assert_array_equal(level_shift(table, levels, few, 9), table[site] + table[3:][sex])
    np.testing.assert_array_equal(level_shift(table, levels, [], 9), np.zeros((9, 2)))
    renamed = Column("site", "categorical", ("c", "elsewhere", "a"), np.array([0, 1, 2]))
    np.testing.assert_array_equal(level_shift(table, levels, [renamed], 3), [table[2], [0, 0], table[0]])


@pytest.mark.parametrize(("n", "d"), [(1, 5), (2, 5), (30, 500), (500, 3)])
def test_any_shape_works(n, d):
    vectors = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    assert np.isfinite(fit_representation(vectors).project(vectors)).all()


def test_wide_and_tall_pools_agree_on_the_components():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 60)) * np.linspace(9, 1, 60)).astype(np.float32)
    tall = fit_representation(np.vstack([vectors, vectors]), components=3).project(vectors)
    wide = fit_representation(np.hstack([vectors, vectors]), components=3)
    np.testing.assert_allclose(
        tall @ tall.T, (w := wide.project(np.hstack([vectors, vectors]))) @ w.T, atol=0.05
    )


def test_equal_and_broken_vectors():
    equal = np.ones((10, 4), dtype=np.float32)
    assert np.isfinite(fit_representation(equal).project(equal)).all()
    broken = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    broken[3, 1] = np.nan
    z = fit_representation(broken).project(broken)
    assert np.flatnonzero(~np.isfinite(z).all(axis=1)).tolist() == [3]
    with pytest.raises(ValueError, match="embed it again"):
        fit_representation(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="was fitted on 4 wide"):
        fit_representation(equal).project(np.ones((1, 5)))

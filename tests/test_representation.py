import numpy as np
import pytest

from cdsel_backend.confounders import Representation, fit_representation
from cdsel_backend.pool.columns import Column


def column(name, codes, levels="abcdefgh"):
    codes = np.asarray(codes, dtype=np.int64)
    return Column(name, "categorical", tuple(levels[: codes.max() + 1]), codes)


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
    vectors, columns = pool
    bare = fit_representation(vectors, columns, strength=0)
    full = fit_representation(vectors, columns, strength=1).transform(vectors, columns)
    half = bare.with_strength(0.5).transform(vectors, columns)
    for one in columns:
        before = spread(bare.transform(vectors, columns), one)
        assert spread(full, one) < 0.1 * before
        assert spread(half, one) == pytest.approx(before / 2, rel=0.1)


def test_vectors_have_length_four_before_centring_and_float32(pool):
    vectors, columns = pool
    z = fit_representation(vectors, columns, strength=0).transform(vectors, columns)
    assert z.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 4, rtol=1e-5)


def test_a_rare_level_keeps_most_of_its_own_mean():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 20)).astype(np.float32)
    site = column("site", np.r_[np.zeros(498, int), 1, 1])
    representation = fit_representation(vectors, [site], strength=1)
    plain = representation.with_strength(0).transform(vectors, [site])
    moved = representation.transform(vectors, [site]) - plain
    own = plain[-2:].mean(axis=0) - plain.mean(axis=0)
    assert np.linalg.norm(moved[-1]) < 0.25 * np.linalg.norm(own)


def test_unseen_levels_and_absent_variables_are_left_alone(pool):
    vectors, columns = pool
    representation = fit_representation(vectors, columns, strength=1)
    plain = representation.project(vectors[:2])
    np.testing.assert_array_equal(representation.transform(vectors[:2], []), plain)
    strange = Column("site", "categorical", ("a", "elsewhere"), np.array([0, 1]))
    result = representation.transform(vectors[:2], [strange])
    np.testing.assert_array_equal(result[1], plain[1])
    assert np.abs(result[0] - plain[0]).max() > 0.1


def test_levels_are_matched_by_name_not_by_code(pool):
    vectors, columns = pool
    representation = fit_representation(vectors, columns, strength=1)
    order = np.array([2, 0, 1])
    renamed = Column(
        "site", "categorical", tuple(np.array(columns[0].levels)[order]), np.argsort(order)[columns[0].codes]
    )
    np.testing.assert_array_equal(
        representation.transform(vectors, [renamed, columns[1]]), representation.transform(vectors, columns)
    )


def test_it_comes_back_from_its_arrays(pool):
    vectors, columns = pool
    representation = fit_representation(vectors, columns, strength=0.3)
    again = Representation.from_arrays(representation.arrays(), representation.meta())
    np.testing.assert_array_equal(
        again.transform(vectors, columns), representation.transform(vectors, columns)
    )
    with pytest.raises(ValueError, match="does not fit its levels"):
        Representation.from_arrays(representation.arrays(), {"levels": [["site", ["a"]]], "strength": 0.3})


@pytest.mark.parametrize(("n", "d"), [(1, 5), (2, 5), (30, 500), (500, 3)])
def test_any_shape_works(n, d):
    vectors = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    assert np.isfinite(fit_representation(vectors, [], strength=0).transform(vectors, [])).all()


def test_wide_and_tall_pools_agree_on_the_components():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 60)) * np.linspace(9, 1, 60)).astype(np.float32)
    tall = fit_representation(np.vstack([vectors, vectors]), [], strength=0, components=3).project(vectors)
    wide = fit_representation(np.hstack([vectors, vectors]), [], strength=0, components=3)
    np.testing.assert_allclose(
        tall @ tall.T, (w := wide.project(np.hstack([vectors, vectors]))) @ w.T, atol=0.05
    )


def test_equal_and_broken_vectors():
    equal = np.ones((10, 4), dtype=np.float32)
    assert np.isfinite(fit_representation(equal, [], strength=0).transform(equal, [])).all()
    broken = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    broken[3, 1] = np.nan
    z = fit_representation(broken, [], strength=0).transform(broken, [])
    assert np.flatnonzero(~np.isfinite(z).all(axis=1)).tolist() == [3]
    with pytest.raises(ValueError, match="embed it again"):
        fit_representation(np.full((3, 2), np.nan), [], strength=0)
    with pytest.raises(ValueError, match="lies between 0"):
        fit_representation(equal, [], strength=2)
    with pytest.raises(ValueError, match="was fitted on 4 wide"):
        fit_representation(equal, [], strength=0).transform(np.ones((1, 5)), [])

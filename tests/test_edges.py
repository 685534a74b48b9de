"""Pools and labels at the edges: a round and a training answer, or say what is missing, and nothing else happens."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
import pytest

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.round import RoundPool, next_round, strength_of
from cdsel_backend.selection import SelectionOptions
from cdsel_backend.training import NotEnoughLabels, TrainingLabels, evaluate, train_model

N = 40
FIRST = np.arange(N)


def _column(levels: int, codes: np.ndarray, name: str = "site") -> Column:
    return Column(name, "categorical", tuple(f"l{i}" for i in range(levels)), codes.astype(np.int64))


def _vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((N, 6))
    return {
        "normal": normal,
        "constant": np.ones((N, 6)),
        "zero": np.zeros((N, 6)),
        "two different ones": np.repeat(normal[:2], N // 2, axis=0),
        "one dimension": normal[:, :1],
        "some not finite": np.where(rng.random((N, 1)) < 0.2, np.nan, normal),
    }


def _columns() -> dict[str, list[Column]]:
    rng = np.random.default_rng(1)
    return {
        "none": [],
        "one level": [_column(1, np.zeros(N))],
        "levels that do not occur": [_column(5, rng.integers(0, 2, N) * 3)],
        "a level of one item": [_column(2, FIRST == 0)],
        "each item a level": [_column(N, FIRST)],
        "the same twice": [_column(2, FIRST % 2), _column(2, FIRST % 2, "scanner")],
    }


def _labels() -> dict[str, tuple[int, np.ndarray]]:
    rng = np.random.default_rng(2)
    half = FIRST < N // 2
    return {
        "none": (2, np.full(N, -1)),
        "one class": (2, np.where(half, 0, -1)),
        "one of each": (2, np.where(FIRST < 2, FIRST, -1)),
        "one of the second": (2, np.where(half, FIRST == 7, -1)),
        "all": (2, rng.integers(0, 2, N)),
        "the label is the level": (2, np.where(half, FIRST % 2, -1)),
        "two of five classes": (5, np.where(half, rng.integers(0, 2, N) * 4, -1)),
        "a third class once": (3, np.where(half, np.where(FIRST == 6, 2, rng.integers(0, 2, N)), -1)),
    }


GROUPS = {"alone": None, "all of one": np.zeros(N, dtype=np.int64), "in pairs": FIRST // 2}


@pytest.mark.parametrize("labelled", _labels())
@pytest.mark.parametrize("shape", _vectors())
def test_a_round_and_a_training_answer_or_say_what_is_missing(shape: str, labelled: str) -> None:
    vectors = _vectors()[shape].astype(np.float32)
    count, labels = _labels()[labelled]
    finite, taken = np.isfinite(vectors).all(axis=1), labels >= 0
    # Every pair of vectors and labels meets a few of the columns and groups.
    turn = list(_vectors()).index(shape) + list(_labels()).index(labelled)
    for step, (name, columns) in enumerate(_columns().items()):
        if (step + turn) % 3:
            continue
        groups = list(GROUPS.values())[(step + turn) // 3 % 3]
        pool = RoundPool(vectors, columns, tuple(f"c{i}" for i in range(count)), groups=groups)
        model = probabilities = None
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            with suppress(NotEnoughLabels):
                model = train_model(
                    pool, TrainingLabels(labels.astype(np.int64), pool.classes, groups=groups)
                )
            assert (model is None) == (len(np.unique(labels[taken & finite])) < 2), name
            if model is not None:
                probabilities = model.predict(vectors, columns)
                np.testing.assert_allclose(probabilities[finite].sum(axis=1), 1, err_msg=name)
                rows = np.flatnonzero(taken & finite)
                own = [column.take(rows) for column in columns]
                measured = evaluate(probabilities[rows], Labels(labels[rows], pool.classes), own, minimum=3)
                assert measured["n"] == len(rows)
            for strategy in ("confounder_aware", "stratified", "uherding"):
                found = next_round(
                    pool,
                    labels,
                    taken.copy(),
                    7,
                    strategy=strategy,
                    strength=strength_of(None, model),
                    probabilities=probabilities,
                    seed=1,
                    options=SelectionOptions(),
                )
                assert len(set(found.indices.tolist())) == min(7, int((finite & ~taken).sum())), name
                assert not taken[found.indices].any()

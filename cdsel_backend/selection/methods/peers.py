"""Other people's selectors, for comparison (extra `peers`): lightly-mundig and scikit-activeml.

Each is asked for one batch given what is taken. scikit-activeml builds n x n matrices: some thousand items at most.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import joint_codes
from cdsel_backend.selection.draft import Draft
from cdsel_backend.selection.methods import random
from cdsel_backend.selection.problem import Problem

HAS_LIGHTLY = find_spec("lightly_mundig") is not None
HAS_SKACTIVEML = find_spec("skactiveml") is not None


def fill_lightly(problem: Problem, draft: Draft) -> None:
    """Lightly's diversity (farthest first) with its balance over the strata, both at strength 1."""
    import lightly_mundig

    codes = joint_codes(problem.columns, len(problem))
    n_strata = int(codes.max(initial=0)) + 1
    one_hot = np.eye(n_strata)[codes]

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        before = _before(problem, draft)
        pool = np.concatenate([before, candidates])
        chooser = lightly_mundig.Selection()
        chooser.add_diversifying_strategy(problem.vectors[pool].astype(np.float32), 1.0)
        if n_strata > 1:
            chooser.add_balancing_strategy(one_hot[pool].tolist(), [1 / n_strata] * n_strata, 1.0)
        chosen = chooser.run_selection(list(range(len(before))), len(pool), len(before) + count)
        fresh = np.array([i for i in chosen if i >= len(before)], dtype=np.int64)
        return fresh - len(before)

    draft.add_batches(propose)


def fill_coreset(problem: Problem, draft: Draft) -> None:
    """scikit-activeml's CoreSet."""
    from skactiveml.pool import CoreSet

    _ask(problem, draft, lambda seed: CoreSet(missing_label=-1, random_state=seed))


def fill_probcover(problem: Problem, draft: Draft) -> None:
    """scikit-activeml's ProbCover, for as many classes as the problem has, and at least two."""
    from skactiveml.pool import ProbCover

    n_classes = max(problem.n_classes, 2)
    vectors = np.where(problem.usable[:, None], problem.vectors, 0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    _ask(
        problem,
        draft,
        lambda seed: ProbCover(n_classes=n_classes, missing_label=-1, random_state=seed),
        # The radii it chooses from, .2 to 2, are made for vectors of length 1.
        vectors=vectors / np.where(length > 0, length, 1),
    )


def fill_dropquery(problem: Problem, draft: Draft) -> None:
    """scikit-activeml's DropQuery with a logistic regression on the labels so far."""
    from skactiveml.pool import DropQuery

    _ask(
        problem,
        draft,
        lambda seed: DropQuery(missing_label=-1, random_state=seed, cluster_algo_dict={"random_state": seed}),
        with_model=True,
    )


def fill_badge(problem: Problem, draft: Draft) -> None:
    """scikit-activeml's BADGE with a logistic regression on the labels so far."""
    from skactiveml.pool import Badge

    _ask(problem, draft, lambda seed: Badge(missing_label=-1, random_state=seed), with_model=True)


def _before(problem: Problem, draft: Draft) -> NDArray[np.int64]:
    """Return what is taken and usable, then what the draft holds."""
    return np.concatenate([np.flatnonzero(problem.taken & problem.usable), draft.indices])


def _ask(
    problem: Problem,
    draft: Draft,
    build: Callable[[int], Any],
    *,
    with_model: bool = False,
    vectors: NDArray[np.float32] | None = None,
) -> None:
    """Query a scikit-activeml strategy for one batch; at random where its model lacks two classes to learn.

    `vectors` (n, d) stand in for the problem's.
    """
    from skactiveml.classifier import SklearnClassifier

    vectors = problem.vectors if vectors is None else vectors
    known = problem.labels[problem.usable & (problem.labels >= 0)]
    if with_model and len(np.unique(known)) < 2:
        random.fill(problem, draft)
        return
    seed = int(problem.random().integers(2**31))

    def propose(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        if count == len(candidates):
            return np.arange(count)
        before = _before(problem, draft)
        pool = np.concatenate([before, candidates])
        # Without a model a label says only "covered"; with one, what is queued but unlabelled has none yet.
        y = problem.labels[pool] if with_model else np.where(np.arange(len(pool)) < len(before), 0, -1)
        asked: dict[str, Any] = {"candidates": np.arange(len(before), len(pool)), "batch_size": count}
        if with_model:
            from sklearn.linear_model import LogisticRegression  # slow to load

            model = LogisticRegression(C=0.1, max_iter=500)
            asked["clf"] = SklearnClassifier(model, classes=list(range(problem.n_classes)), missing_label=-1)
        chosen = build(seed).query(vectors[pool].astype(np.float64), y, **asked)
        return np.asarray(chosen, dtype=np.int64) - len(before)

    draft.add_batches(propose)

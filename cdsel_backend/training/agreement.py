"""How far two annotators of the same images agree: Cohen's kappa, with an interval, or that it is not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form

FEWEST = 20  # images that two people labelled, below which no kappa is given
DRAWS = 400


class Agreement(TypedDict, total=False):
    """How far readings agree; `agreement` says what each field holds."""

    annotators: list[str]
    images: int
    agree: int
    kappa: float | None
    interval: list[float] | None
    sentence: str
    pairs: list[Agreement]


def agreement(
    first: NDArray[np.int64], second: NDArray[np.int64], raters: Sequence[tuple[str, str]], *, seed: int = 0
) -> Agreement:
    """Compare two readings of each image.

    Over all pairs of annotators it is not given who is first and who second, so each reading counts once as either
    (which makes the kappa of all Scott's pi); of one pair it is Cohen's kappa (1960, Educ. Psychol. Meas. 20:37).

    Args:
        first: (n, k) the codes that the first annotator gave, k = 1 for one class an image, one column a class (0, 1)
            where an image may show several. Kappa is then the mean over the columns that vary.
        second: (n, k) likewise of the second.
        raters: who they are, for each image.
        seed: of the bootstrap.

    Returns:
        `images`, `agree` (how many have equal readings), `kappa` and `interval` (95 %, bootstrap over images; none
        with fewer than `FEWEST` images, or where all readings are the same class), `sentence`, and `pairs`: the same
        for every two annotators, with `annotators`.
    """
    found = _compare(np.concatenate([first, second]), np.concatenate([second, first]), len(first), seed)
    pairs: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for index, pair in enumerate(raters):
        low, high = sorted(pair)
        pairs.setdefault((low, high), []).append((index, pair != (low, high)))
    found["pairs"] = []
    for names, readings in sorted(pairs.items()):
        rows = np.array([index for index, _ in readings])
        turned = np.array([swap for _, swap in readings])[:, None]
        left = np.where(turned, second[rows], first[rows])
        other = np.where(turned, first[rows], second[rows])
        pair_found: Agreement = {"annotators": list(names), **_compare(left, other, len(rows), seed)}
        found["pairs"].append(pair_found)
    return found


def _compare(first: NDArray[np.int64], second: NDArray[np.int64], images: int, seed: int) -> Agreement:
    agree = int((first[:images] == second[:images]).all(axis=1).sum())
    found: Agreement = {"images": images, "agree": agree, "kappa": None, "interval": None}
    if images < FEWEST:
        were = form(images, "was", "were")
        found["sentence"] = f"not known yet: {images} of {FEWEST} images needed {were} labelled by two people"
        return found
    varying = [
        column
        for column in range(first.shape[1])
        if len(np.unique([first[:, column], second[:, column]])) > 1
    ]
    if not varying:
        found["sentence"] = f"cannot tell: all readings of {images} images are the same class"
        return found
    from sklearn.metrics import cohen_kappa_score  # slow to load

    kappa = float(np.mean([cohen_kappa_score(first[:, column], second[:, column]) for column in varying]))
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=DRAWS)
    weights = np.tile(weights, (1, len(first) // images))  # both turns of an image are drawn together
    kappas = np.array([_kappas(first[:, column], second[:, column], weights) for column in varying])
    drawn = np.isfinite(kappas).any(axis=0)  # of few readings that vary, a draw may hold none
    low, high = np.percentile(np.nanmean(kappas[:, drawn], axis=0), [2.5, 97.5]).tolist()
    found |= {"kappa": kappa, "interval": [low, high]}
    found["sentence"] = (
        f"kappa {kappa:.2f} (95 % {low:.2f} to {high:.2f}): {agree} of {images} images that two people labelled have "
        "the same label"
    )
    return found


def _kappas(
    first: NDArray[np.int64], second: NDArray[np.int64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Kappa under each row of weights (draws, n); NaN where it is not defined."""
    classes, codes = np.unique(np.stack([first, second]), return_inverse=True)
    left, other = codes.reshape(2, -1)
    size = len(classes)
    table = np.zeros((len(first), size * size))
    table[np.arange(len(first)), left * size + other] = 1
    counts = (weights @ table).reshape(-1, size, size) / weights.sum(axis=1)[:, None, None]
    observed = np.trace(counts, axis1=1, axis2=2)
    expected = (counts.sum(axis=1) * counts.sum(axis=2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected < 1, (observed - expected) / (1 - expected), np.nan))

"""The learning curve, and whether another round of labels is worth it.

The curve is read off `cross_fit`: accuracy on unseen labels at several numbers of labels. An inverse power law
a - b n^-c (Figueroa et al. 2012, BMC Med. Inform. Decis. Mak. 12:8; Viering & Loog 2022, TPAMI 45:7799) is laid
through it, once for each bootstrap draw of the tested labels and of the training draws, and what it adds from today's
labels to those after the next round is the expected gain. Where the interval is too wide, the answer is that it
is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.accuracies import RESAMPLES, accuracies, judged_cells, resampled, rights, summary
from cdsel_backend.training.cells import Cells
from cdsel_backend.training.cross_fit import Unseen

FEWEST = 40  # labels trained on, below which no curve is drawn
WIDEST = 0.08  # of the gain's interval: a wider one tells nothing that an admin could go by
LITTLE = 0.01  # a gain that is hardly worth a round
EXPONENTS = (0.1, 0.25, 0.5, 1.0)  # .1 is nearly logarithmic, which is what few labels look like
WORDS = {
    "worst_group_accuracy": "of accuracy in the worst group",
    "balanced_accuracy": "of accuracy balanced over the classes",
}

Array = NDArray[np.float64]


class Gain(TypedDict, total=False):
    """What more labels would bring: the expected gain in accuracy, with its 95 % interval."""

    gain: float
    interval: list[float]


class Curve(Gain, total=False):
    """A measure's curve over the sizes (s,), the law's way ahead (4,), and the gain of a round and of twice as many."""

    values: list[float]
    low: list[float]
    high: list[float]
    expected: list[float]
    twice: Gain
    group: str


class Outlook(TypedDict, total=False):
    """The learning curve and its answer; `learning_curve` says what each field holds."""

    asked: int
    sizes: list[int]
    tested: int
    ahead: list[int]
    curves: dict[str, Curve]
    worth: str
    sentence: str
    twice: str


def learning_curve(
    unseen: Unseen,
    labels: Labels,
    columns: Sequence[Column],
    *,
    labels_now: int,
    labels_more: int,
    asked: int,
    seed: int = 0,
) -> Outlook:
    """Measure the curve on the labels of the m rows of `unseen`, with their columns, and look ahead.

    Trained on are `labels_now` labels today and `labels_more` more after a round of `asked` images (some of a round
    are held out).

    Returns:
        `sentence`: the answer; `worth`: "yes", "perhaps", "slowly", "hardly" or "cannot tell"; `twice`: what twice the
        labels would bring, as a sentence, where it can be estimated; `asked`; `sizes` (s,); `tested` labels; `ahead`
        (4,): the largest size, `labels_now`, after the round, and twice `labels_now`; and under `curves`, for
        `worst_group_accuracy` and `balanced_accuracy` where enough labels tell them: `values`, `low` and `high` (s,),
        what the law `expected` (4,) ahead, the `gain` of the round with its `interval` (95 %), the same for `twice` the
        labels, and which `group` is worst.
    """
    answer: Outlook = {
        "asked": asked,
        "sizes": unseen.sizes.tolist(),
        "tested": len(labels),
        "ahead": [],
        "curves": {},
    }
    if labels_now < FEWEST or len(unseen.sizes) < 3:
        return answer | _cannot(f"{labels_now} of the {FEWEST} labels needed can be trained on")
    right = rights(unseen.probabilities, labels)
    complete = np.isfinite(right).any(axis=(2, 3)).all(axis=0)  # sizes at which every draw had a head
    if complete.sum() < 3:
        return answer | _cannot("some class is too rare to train on fewer labels than there are")
    sizes, right = unseen.sizes[complete], right[:, complete]
    ahead = [int(sizes[-1]), labels_now, labels_now + labels_more, 2 * labels_now]
    answer |= {"sizes": sizes.tolist(), "ahead": ahead}
    rng = np.random.default_rng(seed)
    judged = judged_cells(labels, columns)
    items = resampled(list(judged.values()), len(labels), rng)
    draws = rng.multinomial(len(right), np.full(len(right), 1 / len(right)), size=RESAMPLES)
    for name, cells in judged.items():
        once = accuracies(right, cells, np.ones((1, len(labels))), np.ones((1, len(right))))
        many = accuracies(right, cells, items, draws.astype(np.float64))
        answer["curves"][name] = _curve(name, cells, once, many, sizes, ahead)
    return answer | _answer(answer["curves"], asked)


def power_law(sizes: NDArray[np.integer], values: Array, at: Sequence[float] | Sequence[int]) -> Array:
    """Return (b, len(at)): the least-squares a - b n^-c through each curve of values (b, s), read off at `at`.

    a and b are exact for each c in `EXPONENTS`, the best of which is taken (variable projection, Golub & Pereyra
    1973); a curve of a few noisy points cannot tell more of c.
    """
    best, fitted = np.full(len(values), np.inf), np.zeros((len(values), len(at)))
    for c in EXPONENTS:
        design = np.stack([np.ones(len(sizes)), -np.power(sizes.astype(np.float64), -c)], axis=1)
        solved = values @ np.linalg.pinv(design).T
        error = ((solved @ design.T - values) ** 2).sum(axis=1)
        ahead = np.stack([np.ones(len(at)), -np.power(np.asarray(at, dtype=np.float64), -c)], axis=1)
        better = error < best
        best[better], fitted[better] = error[better], (solved @ ahead.T)[better]
    return fitted


def _curve(
    name: str, cells: Cells, once: Array, many: Array, sizes: NDArray[np.int64], at: Sequence[int]
) -> Curve:
    """Return one curve with its outlook, from accuracies as they are (1, s, g) and under the bootstrap (b, s, g)."""
    values, drawn = summary(name, once), summary(name, many)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    ahead, drawn_ahead = power_law(sizes, values, at)[0], power_law(sizes, drawn, at)
    gains = np.quantile(drawn_ahead[:, 2:] - drawn_ahead[:, 1:2], [0.025, 0.975], axis=0).T.tolist()
    found: Curve = {
        "values": values[0].tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "expected": ahead.tolist(),
        "gain": float(ahead[2] - ahead[1]),
        "interval": gains[0],
        "twice": {"gain": float(ahead[3] - ahead[1]), "interval": gains[1]},
    }
    if name == "worst_group_accuracy":
        found["group"] = cells.names[int(once[0, -1].argmin())]
    return found


def _answer(curves: dict[str, Curve], asked: int) -> Outlook:
    """Return `worth` and `sentence`, by the worst group where it can be estimated."""
    if not curves:
        return _cannot("too few labels are tested in every group and class")
    name = next(iter(curves))
    low, high = curves[name]["interval"]
    if high - low > WIDEST:
        return _cannot(
            f"the interval of the expected gain is wide, {points(low)} to {points(high)} percentage points"
        )
    gains = " and ".join(f"{gain_text(curve)} {WORDS[metric]}" for metric, curve in curves.items())
    outlook = f"Another round of {asked} would likely bring {gains}"
    twice = curves[name]["twice"]
    answer: Outlook = {"twice": f"Twice the labels: {gain_text(twice)} {WORDS[name]}."}
    if high < LITTLE and twice["interval"][0] > 0 and twice["gain"] >= LITTLE:
        outlook += ": hardly to be seen by itself, but the curve still rises."
        return answer | {"worth": "slowly", "sentence": outlook}
    if high < LITTLE:
        return answer | {
            "worth": "hardly",
            "sentence": f"{outlook}: hardly one more image right in a hundred.",
        }
    if low > 0:
        return answer | {"worth": "yes", "sentence": f"{outlook}."}
    return answer | {"worth": "perhaps", "sentence": f"{outlook}; it may bring nothing."}


def gain_text(found: Gain) -> str:
    """A `gain` with its `interval`."""
    low, high = found["interval"]
    return f"{points(found['gain'])} percentage points ({points(low)} to {points(high)})"


def _cannot(why: str) -> Outlook:
    return {"worth": "cannot tell", "sentence": f"Not known yet: {why}."}


def points(value: float) -> str:
    """`+0.8`: a difference of accuracies in percentage points."""
    return f"{'−' if round(value, 3) < 0 else '+'}{abs(100 * value):.1f}"

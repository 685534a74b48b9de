"""Is a variable encoded in the images? A linear probe from embeddings, cross-validated over groups.

It is asked twice: over all images, and among images of one label. What is visible only through the label (the images
show the disease, and the disease predicts the variable) is readable over all and not given the label. Published audits
condition on the label, too: Data AUDIT (Pavlak et al., MICCAI 2023), G-AUDIT (npj Digital Medicine 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.confounders.areas import Inside, macro_auroc
from cdsel_backend.confounders.association import conditional_information, permutation_p
from cdsel_backend.confounders.ridge import out_of_fold, penalised_inverse, without
from cdsel_backend.confounders.sample import permuted, same_labels, sample
from cdsel_backend.pool.vectors import VectorRows

_FOLDS = 5
_PERMUTATIONS = 399
_BLOCKS = 20  # of groups, left out one after the other for the intervals
_LEAST = 8  # items of a level; rarer ones are not probed
_ROWS_AT_ONCE = 2048
_FOR_CHANCE = 20  # permutations whose mean information is taken off
_FAR = 8.0  # deviations of permuted variables' AUROC above their mean that none of thousands more would reach


class GivenLabel(NamedTuple):
    """An AUROC among items of one label, its permutation p-value, and the deviation of permuted variables' AUROC."""

    auroc: float
    p: float
    spread: float


@dataclass(frozen=True, eq=False)
class Probe:
    """Ridge regression on whole vectors, cross-validated, as one matrix.

    No principal components are taken: what a single value of the vectors shows is no direction of great variance.

    `rows` (g, k): positions of k items from each of g groups, in random order; `inverse` (gk, gk) that of the penalised
    inner products of their vectors, float64; `folds` (g,) the fold that each group is predicted in; `hat` (gk, gk)
    float32 turns any target over those items into its out-of-fold predictions, so that a permutation costs one product.
    """

    rows: NDArray[np.int64]
    inverse: NDArray[np.float64]
    folds: NDArray[np.int64]
    hat: NDArray[np.float32]

    def auroc(
        self, codes: NDArray[np.int64], rng: np.random.Generator, tests: int = 1
    ) -> tuple[float, float] | None:
        """Return (macro one-vs-rest AUROC, permutation p-value) of a variable (n,) over the whole pool.

        The null permutes the variable between groups, never inside one. `tests` is how many p-values will be adjusted
        together. None where fewer than two levels have enough items.
        """
        sampled = codes[self.rows]
        probed = _probed(sampled)
        if not len(probed):
            return None
        observed = macro_auroc(self.hat, sampled.reshape(1, -1), probed)[0]
        step = max(1, _ROWS_AT_ONCE // len(probed))
        chance: list[float] = []

        def reached(count: int) -> int:
            first = len(chance)
            for start in range(0, count, step):
                orders = [rng.permutation(len(self.rows)) for _ in range(min(step, count - start))]
                shuffled = np.stack([sampled[order].ravel() for order in orders])
                chance.extend(macro_auroc(self.hat, shuffled, probed).tolist())
            return int((np.array(chance[first:]) >= observed).sum())

        return float(observed), permutation_p(reached, _PERMUTATIONS, tests, lambda _: _far(observed, chance))

    def intervals(
        self,
        variables: Sequence[NDArray[np.int64]],
        given_label: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], GivenLabel]] = (),
    ) -> list[tuple[float, float] | None]:
        """Return a 95 % interval of the AUROC of each variable (n,), then of each given the label.

        The latter are asked for by (variable (n,), labels (n,), what `given_label` found of them); all together,
        because fitting the probe without each block costs more than measuring it. None where there is no AUROC. Where
        there is nothing to read given the label, the direction that is fitted anew in each part of the jackknife is
        chance, and the jackknife too wide by half: no such interval is wider than that of permuted variables.
        """
        sampled = [codes[self.rows] for codes in (*variables, *(codes for codes, _, _ in given_label))]
        inside = [labels[self.rows] for _, labels, _ in given_label]
        probed = [_probed(codes) for codes in sampled]

        def area(i: int, hat: NDArray[np.float32], kept: NDArray[np.bool_]) -> float | None:
            codes = sampled[i][kept].reshape(1, -1)
            if i >= len(variables):
                found = Inside.of(inside[i - len(variables)][kept]).auroc(hat, codes, probed[i])
                return None if found is None else float(found[0])
            return float(macro_auroc(hat, codes, probed[i])[0]) if len(probed[i]) else None

        found = self._jackknife(len(sampled), area)
        for i, (_, _, measured) in enumerate(given_label, start=len(variables)):
            interval, reach = found[i], 1.96 * measured.spread
            if interval is not None:
                found[i] = max(interval[0], measured.auroc - reach), min(interval[1], measured.auroc + reach)
        return found

    def given_label(
        self, codes: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator, tests: int = 1
    ) -> GivenLabel | None:
        """Return how well a variable (n,) is read among items of one label (n,), -1 being unlabelled.

        The probe is the one fitted on all items; what it says of labelled ones is compared inside each label only, and
        pooled over labels and levels by the pairs compared. If the variable says nothing more of the images once the
        label is known, that is .5 in the mean, whatever the probe has learnt. The null permutes the variable between
        groups of the same labels; what is unlabelled stays. None where there are too few pairs.
        """
        sampled, inside = codes[self.rows], Inside.of(labels[self.rows])
        probed = _probed(sampled)
        observed = inside.auroc(self.hat, sampled.reshape(1, -1), probed)
        if observed is None:
            return None
        alike = same_labels(labels[self.rows])
        step = max(1, _ROWS_AT_ONCE // len(probed))
        chance: list[float] = []

        def reached(count: int) -> int:
            first = len(chance)
            for start in range(0, count, step):
                shuffled = np.stack(
                    [permuted(sampled, alike, rng).ravel() for _ in range(min(step, count - start))]
                )
                areas = inside.auroc(self.hat, shuffled, probed)
                chance.extend(() if areas is None else areas.tolist())
            return int((np.array(chance[first:]) >= observed[0]).sum())

        p = permutation_p(reached, _PERMUTATIONS, tests, lambda _: _far(observed[0], chance))
        return GivenLabel(float(observed[0]), p, float(np.std(chance)))

    def detectability(
        self, codes: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator
    ) -> float:
        """Return I(A; A^ | Y) in bits: what the level read from an image says of its level once the label is known.

        A^ is the level whose out-of-fold score lies highest above the score from which as many of the label's items are
        read as that level as are of it, in standard deviations. What permuted variables give is taken off.
        """
        sampled, by_label = codes[self.rows], labels[self.rows]
        used = by_label.ravel() >= 0
        probed = _levels(sampled)
        if not used.any() or len(probed) < 2:
            return 0.0
        targets = (sampled.reshape(1, -1) == probed[:, None]).astype(np.float32)
        scores = ((targets - targets.mean(axis=1, keepdims=True)) @ self.hat.T)[:, used]
        strata = by_label.ravel()[used]
        read = np.zeros(len(strata), dtype=np.int64)
        for label in np.unique(strata):
            inside = strata == label
            part, shares = scores[:, inside], targets[:, used][:, inside].mean(axis=1)
            cuts = [np.quantile(row, 1 - share) for row, share in zip(part, shares, strict=True)]
            above = (part - np.array(cuts)[:, None]) / np.maximum(part.std(axis=1, keepdims=True), 1e-12)
            read[inside] = above.argmax(axis=0)
        alike = same_labels(by_label)
        found = conditional_information(sampled.ravel()[used], read, strata)
        chance = [
            conditional_information(permuted(sampled, alike, rng).ravel()[used], read, strata)
            for _ in range(_FOR_CHANCE)
        ]
        return max(0.0, found - float(np.mean(chance)))

    def _jackknife(
        self, count: int, area: Callable[[int, NDArray[np.float32], NDArray[np.bool_]], float | None]
    ) -> list[tuple[float, float] | None]:
        """Return 95 % intervals of `count` areas; `area(i, hat, kept)` measures one without some groups.

        A jackknife over blocks of groups, the probe fitted anew without each (Efron and Tibshirani 1993, ch. 11):
        predictions that stay would leave out how much the probe itself owes to chance.
        """
        every = np.ones(len(self.rows), dtype=bool)
        whole = [area(i, self.hat, every) for i in range(count)]
        blocks = np.arange(len(self.rows)) % min(_BLOCKS, len(self.rows))
        areas = np.zeros((blocks.max() + 1, count))
        for block in range(len(areas)):
            kept = blocks != block
            hat = self._without(~kept)
            for i, value in enumerate(whole):
                if value is not None:
                    rest = area(i, hat, kept)
                    areas[block, i] = value if rest is None else rest
        deviation = np.sqrt((len(areas) - 1) * areas.var(axis=0))
        reach = float(scipy.stats.t.ppf(0.975, len(areas) - 1)) * deviation
        return [
            None if value is None else (float(max(0.0, value - width)), float(min(1.0, value + width)))
            for value, width in zip(whole, reach, strict=True)
        ]

    def _without(self, left_out: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return `hat` of a probe that never saw the groups `left_out` (g,), over the items of the others."""
        each = self.rows.shape[1]
        inverse = without(self.inverse, np.repeat(left_out, each))
        return out_of_fold(inverse, np.repeat(self.folds[~left_out], each))


def fit_probe(
    vectors: VectorRows,
    groups: NDArray[np.int64] | None,
    rng: np.random.Generator,
    labelled: NDArray[np.bool_] | None = None,
) -> Probe | None:
    """Prepare a probe on at most 1,500 items, spread over as many groups as there are.

    vectors (n, d), finite; groups (n,) or none, a negative one is an item on its own; up to 1,000 of the items are
    chosen from the `labelled` (n,), so that there is something to say given the label. None with fewer than 20 items or
    fewer than two groups.
    """
    first = np.zeros(len(vectors), dtype=bool) if labelled is None else labelled
    rows = sample(first, groups, rng)
    if rows.size < 20 or len(rows) < 2:
        return None
    folds = rng.permutation(len(rows)) % min(_FOLDS, len(rows))
    inverse = penalised_inverse(vectors[rows.ravel()])
    return Probe(rows, inverse, folds, out_of_fold(inverse, np.repeat(folds, rows.shape[1])))


def _far(observed: float, chance: Sequence[float]) -> bool:
    """Whether an AUROC lies so far above those of permuted variables that no permutation will reach it."""
    return bool(observed > np.mean(chance) + _FAR * np.std(chance)) if chance else False


def _levels(sampled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the levels with enough items to be distinguished from the rest; none where there is but one level."""
    levels, counts = np.unique(sampled, return_counts=True)
    return levels[counts >= _LEAST] if len(levels) > 1 else levels[:0]


def _probed(sampled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the levels to ask for: of two, the other one's AUROC is the same."""
    levels = _levels(sampled)
    return levels[:1] if len(np.unique(sampled)) == 2 else levels

"""The confounder report's first sentence, as a clinician would say it: who has which label, and how plain it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders.association import ASSOCIATED, SIGNIFICANT, SMOOTHING
from cdsel_backend.confounders.judge import ENCODED, encoded_given_label
from cdsel_backend.confounders.report import Finding
from cdsel_backend.phrases import isolated, named_level
from cdsel_backend.pool.columns import FILE_PREFIX

LEAST = 5  # labels of a level from which its share is given
READABLE = ((0.95, "almost always"), (0.8, "often"), (ENCODED, "sometimes"), (0.0, "hardly ever"))
"""AUROC among images of one label (over all images until labels tell) -> how often, read with .5 as guessing."""


def first_sentence(
    finding: Finding,
    levels: Sequence[str],
    classes: Sequence[str],
    labelled: Sequence[tuple[Sequence[int], int]],
) -> str:
    """What a variable and the label have to do with each other, and how well the images show the variable.

    Args:
        finding: what was found of the variable.
        levels: its levels (l,).
        classes: the classes (c,).
        labelled: of each labelled image the classes that it shows and its level, as indices.
    """
    name = isolated(finding.variable.removeprefix(FILE_PREFIX).strip().replace("_", " "))
    the_name = name if name[:1].isupper() else f"the {name}"  # `PatientSex`, `KVP` and their like are names
    unknown = finding.given_label is None or encoded_given_label(finding) is None
    encoded = finding.encoded if unknown else finding.given_label
    plain = (
        ""
        if encoded is None
        else f"{the_name} can be read off the images {next(word for least, word in READABLE if encoded >= least)}"
    )
    images, showing = np.zeros(len(levels), dtype=np.int64), np.zeros((len(classes), len(levels)))
    for codes, level in labelled:
        images[level] += 1
        showing[list(codes), level] += 1
    several = finding.associated_class in classes  # of which an image may show any
    asked = [classes.index(finding.associated_class)] if several else list(range(len(classes)))
    # Of many levels chance alone sets some far apart.
    known = finding.associated_with == "clusters" or (finding.associated_p or 0) <= SIGNIFICANT
    shares = _shares_apart(showing[asked], images) if known else None
    if shares is None:
        hardly = finding.associated_interval is not None and finding.associated_interval[1] < ASSOCIATED
        few = (
            f"{the_name} and the label are hardly associated"
            if hardly
            else f"too few labels say yet whether {the_name} and the label are associated"
        )
        return f"{few[0].upper()}{few[1:]}{f'; {plain}' if plain else ''}."
    code, high, low, more, less = shares
    label, highest, lowest = (isolated(text) for text in (classes[asked[code]], levels[high], levels[low]))
    verb = "show" if several else "are"
    found = f"{_percent(more)} of the labelled images of {named_level(name, highest)} {verb} {label}"
    found = f"{found}, {_percent(less)} of those of {lowest}"
    return f"{found}{f'; {plain}' if plain else ''}."


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", "\u00a0%")


def _shares_apart(
    showing: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[int, int, int, float, float] | None:
    """The class whose share differs most between two levels: class, the levels with most and least, both shares.

    showing (c, l): of the `images` (l,) of each level those that show each class. They differ most when each is drawn
    towards the share in all levels. None where fewer than two levels have `LEAST` images.
    """
    levels = np.flatnonzero(images >= LEAST)
    if len(levels) < 2:
        return None
    shares = showing[:, levels] / images[levels]
    # Five labels that agree are no news beside fifty that nearly do.
    overall = showing.sum(axis=1, keepdims=True) / images.sum()
    drawn = (showing[:, levels] + SMOOTHING * overall) / (images[levels] + SMOOTHING)
    spread = np.ptp(drawn, axis=1)
    # Two classes differ alike: the one listed last, as labeling configs list what is sought after what is normal.
    code = int(np.flatnonzero(np.isclose(spread, spread.max()))[-1])
    high, low = int(np.argmax(drawn[code])), int(np.argmin(drawn[code]))
    return code, int(levels[high]), int(levels[low]), float(shares[code, high]), float(shares[code, low])


def labels_by_level(
    labelled: Iterable[tuple[Sequence[int], int]],
    classes: int,
    levels: int,
    weights: Iterable[float] = repeat(1.0),
) -> NDArray[np.float64]:
    """Labels counted by class and level (classes, levels).

    labelled: of each image the classes that it shows and its level, as indices; weights: for how many images each
    counts. An image that shows several classes counts in equal parts.
    """
    cells: list[int] = []
    amounts: list[float] = []
    for (codes, level), weight in zip(labelled, weights, strict=False):
        for code in codes:
            cells.append(code * levels + level)
            amounts.append(weight / len(codes))
    counts = np.zeros(classes * levels)
    np.add.at(counts, np.array(cells, dtype=np.int64), amounts)
    return counts.reshape(classes, levels)

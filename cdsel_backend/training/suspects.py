"""Labels that may be wrong: confident learning on what de-confounded heads say of labels that they have not seen.

Northcutt, Jiang & Chuang 2021 (JAIR 70:1373): a label is suspected when another class is likelier than it is on average
where it is the label. The probabilities must be de-confounded: a head that leans on the site finds every benign image
of the site of malignant ones suspicious, merely because it is rare there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import Labels

LISTED = 0.05  # of the labels: further down the list most are right
MOST = 50


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong: `row` of those given, its outcome `label` and the likelier one, `other`.

    `own` and `likelihood` are their probabilities; `column` is the number of the decision in question.
    """

    row: int
    label: int
    other: int
    own: float
    likelihood: float
    column: int


def label_issues(probabilities: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return (m,): the labels off the diagonal of the confident joint.

    probabilities (m, c) of heads that have not seen the label, NaN where there was none; labels (m,), -1 where there
    is none. The threshold of a class is its mean probability among the labels that say so; the same as cleanlab's
    `find_label_issues(filter_by="confident_learning")`.
    """
    known = np.isfinite(probabilities).all(axis=1) & (labels >= 0)
    found = np.zeros(len(labels), dtype=bool)
    p, y = probabilities[known], labels[known]
    thresholds = np.array(
        [p[y == code, code].mean() if (y == code).any() else np.inf for code in range(p.shape[1])]
    )
    confident = p >= thresholds
    found[known] = confident.any(axis=1) & (np.where(confident, p, -1).argmax(axis=1) != y)
    return found


def find_suspects(probabilities: NDArray[np.float64], labels: Labels) -> list[Suspect]:
    """List the least likely of the suspected labels, at most `LISTED` of all and `MOST`, the worst first.

    probabilities (m, c) of the m labels as for `label_issues`. They are ranked by the probability of the label less
    that of the likeliest other outcome.
    """
    decisions = zip(labels.kind.by_decision(probabilities), labels.codes.T, strict=True)
    found = [suspect for column, (p, codes) in enumerate(decisions) for suspect in _ranked(p, codes, column)]
    found.sort(key=lambda suspect: suspect.own - suspect.likelihood)
    return found[: min(round(LISTED * len(labels)), MOST)]


def _ranked(probabilities: NDArray[np.float64], labels: NDArray[np.integer], column: int) -> list[Suspect]:
    listed = []
    for row in np.flatnonzero(label_issues(probabilities, labels)):
        label = int(labels[row])
        rest = probabilities[row].copy()
        rest[label] = -1
        other = int(rest.argmax())
        listed.append(
            Suspect(int(row), label, other, float(probabilities[row, label]), float(rest[other]), column)
        )
    return listed

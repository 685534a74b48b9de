"""The port `LabelKind`: what an annotator decides about an image, and how labels read as text and as arrays.

A kind says which decisions a label makes. Everything above works decision by decision: training fits a head for each,
evaluation measures each by group, suspects and learning curves look at each. So a kind holds no training and no
evaluation of its own, and to add one is to write one file with a class like `Single` or `Presence` and to name it in
`KINDS`; `tests/test_label_kinds.py` puts every kind through one contract, and a toy kind, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LIKELY = 0.5  # the probability from which a class counts as shown


class SeveralLabels(ValueError):
    """Several classes were chosen where one is due."""


@dataclass(frozen=True)
class Decision:
    """One thing that a label decides: which of `outcomes` holds.

    `name` is the class in question; None where the outcomes are the classes themselves.
    """

    name: str | None
    outcomes: tuple[str, ...]

    def group(self, outcome: int) -> str:
        """Return what images with this outcome are called: `malignant`, or `effusion present`."""
        return self.outcomes[outcome] if self.name is None else f"{self.name} {self.outcomes[outcome]}"


@dataclass(frozen=True, eq=False)
class OneClass:
    """Labels as strategies need them, one class an image.

    `labels` (n,) int64 in 0..n_classes, -1 without a label; `probabilities` (n, n_classes) or None; `doubt` (n,) in
    [0, 1], or None where the margin between the two likeliest classes is the doubt.
    """

    labels: NDArray[np.int64]
    n_classes: int
    probabilities: NDArray[np.float64] | None
    doubt: NDArray[np.float64] | None


class LabelKind(Protocol):
    """What every kind of label offers. Kinds hold no state: there is one object of each.

    A label is text in the books and in Label Studio; `values` are the labels of n images as an array, (n,) or (n, c),
    in which -1 means that nobody decided; `probabilities` (n, c) are a model's, in the order of the c `classes`.
    """

    @property
    def name(self) -> str:
        """Its name, by which settings, files and pages call it."""

    @property
    def several(self) -> bool:
        """Whether each class is a decision of its own, so that an image may show several classes or none."""

    @property
    def asks(self) -> str:
        """What the labeling config asks for an image, to finish "the labeling config asks for ..."."""

    @property
    def fewest_classes(self) -> int:
        """The classes that a model must share with a labeling config to serve it."""

    # Labels as text

    def names(self, text: str) -> tuple[str, ...] | None:
        """Return the classes that a label names; None where the text is no label of this kind."""

    def text(self, names: Collection[str], *, empty_counts: bool = False) -> str | None:
        """Return the label that names these classes; None where it is none.

        `empty_counts`: to name no class is a label, too. Raises SeveralLabels for more classes than a label may name.
        """

    def display(self, text: str) -> str:
        """Return a label as people read it."""

    def majority(self, newest_first: Sequence[str]) -> str:
        """Return the label that counts of several readings of one image, at least one."""

    def listed(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Return under what images are listed: the classes, and where an image may show none of them, that."""

    def listed_codes(self, text: str, classes: Sequence[str]) -> list[int]:
        """Return under which of `listed(classes)` a label puts its image, as indices."""

    # Labels as arrays

    def encode(
        self,
        texts: Sequence[str | None],
        classes: Sequence[str],
        offered: Callable[[int], Collection[str]] | None = None,
    ) -> NDArray[np.integer[Any]]:
        """Return the values of n texts, None where there is no label.

        `offered(i)` names the classes that could be chosen when text i was given; all of them where it is None.
        """

    def labelled(self, values: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return (n,): whether an image has a label, or a label for some class."""

    def decisions(self, classes: Sequence[str]) -> tuple[Decision, ...]:
        """Return the q decisions that a label makes."""

    def codes(self, values: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return (n, q): the outcome of each decision, -1 where nobody decided."""

    def decided(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return (..., q): what probabilities (..., c) decide, -1 where they are not finite."""

    def by_decision(self, probabilities: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the probabilities (n, o) of the outcomes of each decision."""

    def shows(self, values: NDArray[np.integer[Any]], n_classes: int) -> NDArray[np.int8]:
        """Return (n, c): 1 where an image shows a class, 0 where not, -1 where nobody decided."""

    def complete(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (n, c) with those of classes that a model does not know, which came as 0, put right."""

    def as_problem(
        self,
        values: NDArray[np.integer[Any]],
        n_classes: int,
        probabilities: NDArray[np.float64] | None,
    ) -> OneClass:
        """Return the labels as strategies need them."""

    def prediction(self, probabilities: Sequence[float], classes: Sequence[str]) -> tuple[str, float]:
        """Return the label that probabilities (c,) of one image make, and a score in [0, 1]: how sure that is."""

"""One class an image: `<Choices choice="single">`. As text a label is the class, as array (n,) int64 its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels.kind import Decision, OneClass, SeveralLabels


class Single:
    """One class an image; see `LabelKind`."""

    name = "single"
    several = False
    asks = "one class an image"
    fewest_classes = 2

    def names(self, text: str) -> tuple[str, ...] | None:
        """Any text is a class."""
        return (text,)

    def text(self, names: Collection[str], *, empty_counts: bool = False) -> str | None:
        """The one class; without one there is no label."""
        if len(names) > 1:
            raise SeveralLabels(
                f"several labels where one is asked for: {', '.join(repr(name) for name in sorted(names))}"
            )
        return next(iter(names), None)

    def display(self, text: str) -> str:
        """The class."""
        return text

    def majority(self, newest_first: Sequence[str]) -> str:
        """The commonest class, the newest among equals."""
        counts = Counter(newest_first)
        return max(newest_first, key=lambda text: counts[text])

    def listed(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes."""
        return tuple(classes)

    def listed_codes(self, text: str, classes: Sequence[str]) -> list[int]:
        """The class; none where the labeling config does not know it any more."""
        return [classes.index(text)] if text in classes else []

    def encode(
        self,
        texts: Sequence[str | None],
        classes: Sequence[str],
        offered: Callable[[int], Collection[str]] | None = None,
    ) -> NDArray[np.integer[Any]]:
        """(n,) int64: the index of the class; -1 without a label, and for a class that is not there any more."""
        index: dict[str | None, int] = {name: code for code, name in enumerate(classes)}
        return np.array([index.get(text, -1) for text in texts], dtype=np.int64)

    def labelled(self, values: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Where there is a class."""
        return np.asarray(values >= 0)

    def decisions(self, classes: Sequence[str]) -> tuple[Decision, ...]:
        """Which class it is."""
        return (Decision(None, tuple(classes)),)

    def codes(self, values: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """(n, 1): the class."""
        if values.ndim != 1:
            raise ValueError(f"labels of one class an image are (n,), not {values.shape}")
        return values.astype(np.int64)[:, None]

    def decided(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """The likeliest class."""
        finite = np.isfinite(probabilities)
        likeliest = np.where(finite, probabilities, -1).argmax(axis=-1)
        return np.where(finite.all(axis=-1), likeliest, -1)[..., None].astype(np.int64)

    def by_decision(self, probabilities: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """As they are."""
        return [probabilities]

    def shows(self, values: NDArray[np.integer[Any]], n_classes: int) -> NDArray[np.int8]:
        """Its own class and none of the others."""
        shown: NDArray[np.int8] = (values[:, None] == np.arange(n_classes)).astype(np.int8)
        shown[values < 0] = -1
        return shown

    def complete(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share out what is missing to 1 in proportion; evenly where nothing is left."""
        total = probabilities.sum(axis=1, keepdims=True)
        even = np.full_like(probabilities, 1 / probabilities.shape[1])
        return np.where(total > 0, probabilities / np.where(total > 0, total, 1), even)

    def as_problem(
        self,
        values: NDArray[np.integer[Any]],
        n_classes: int,
        probabilities: NDArray[np.float64] | None,
    ) -> OneClass:
        """As they are."""
        return OneClass(self.codes(values)[:, 0], n_classes, probabilities, None)

    def prediction(self, probabilities: Sequence[float], classes: Sequence[str]) -> tuple[str, float]:
        """The likeliest class and its probability."""
        best = max(range(len(probabilities)), key=lambda code: probabilities[code])
        return classes[best], float(probabilities[best])


SINGLE = Single()

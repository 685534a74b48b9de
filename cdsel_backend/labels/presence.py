"""Any of several classes an image: several choices, or regions, of which only the presence of each label counts.

As text a label is the canonical JSON of the names, `["a","b"]`, `[]` for none of them; as array (n, c) int8: 1 where
the image shows the class, 0 where not, and -1 where nobody was asked: in the whole row without a label, and for a
class that came into the labeling config after the image was labelled.

Strategies want one class an image, to spread a round over the classes (`ji2025`), to learn on the labels (`dropquery`,
`badge`), and to be unsure. For the first two an image counts as the class it shows that is rarest among the labels so
far, "none" where it shows none of them: rare findings then get rounds of their own. It is as unsure as the class that
the model is least sure of.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels.kind import LIKELY, Decision, OneClass

OUTCOMES = ("absent", "present")
NONE = "none of them"


class Presence:
    """Any of several classes an image; see `LabelKind`."""

    name = "presence"
    several = True
    asks = "any of several classes an image"
    fewest_classes = 1

    def names(self, text: str) -> tuple[str, ...] | None:
        """The names in the JSON; None where the text is none."""
        if not text.startswith("["):
            return None
        try:
            names = json.loads(text)
        except ValueError:
            return None
        return (
            tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
        )

    def text(self, names: Collection[str], *, empty_counts: bool = False) -> str | None:
        """The canonical JSON; of no names only where that counts."""
        return presence_text(names) if names or empty_counts else None

    def display(self, text: str) -> str:
        """The names, or that there are none."""
        return ", ".join(self.names(text) or ()) or NONE

    def majority(self, newest_first: Sequence[str]) -> str:
        """Each class for itself.

        It counts as shown when more than half of the readings say so; where they are equally divided the newest of
        them decides.
        """
        named = [set(self.names(text) or ()) for text in newest_first]
        votes = Counter(name for names in named for name in names)
        return presence_text(
            name
            for name, count in votes.items()
            if 2 * count > len(named) or (2 * count == len(named) and name in named[0])
        )

    def listed(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes, and that it shows none of them."""
        return (*classes, NONE)

    def listed_codes(self, text: str, classes: Sequence[str]) -> list[int]:
        """The classes that it shows, as far as the labeling config knows them, or none of them."""
        names = self.names(text)
        return (
            [len(classes)]
            if names == ()
            else [classes.index(name) for name in names or () if name in classes]
        )

    def encode(
        self,
        texts: Sequence[str | None],
        classes: Sequence[str],
        offered: Callable[[int], Collection[str]] | None = None,
    ) -> NDArray[np.integer[Any]]:
        """(n, c) int8: 1 shown, 0 not shown, -1 not asked for."""
        values = np.full((len(texts), len(classes)), -1, dtype=np.int8)
        for row, text in enumerate(texts):
            names = None if text is None else self.names(text)
            if names is not None:
                asked = classes if offered is None else offered(row)
                values[row] = [1 if name in names else 0 if name in asked else -1 for name in classes]
        return values

    def labelled(self, values: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Where some class has a label."""
        return np.asarray((values >= 0).any(axis=1))

    def decisions(self, classes: Sequence[str]) -> tuple[Decision, ...]:
        """Of each class, whether the image shows it."""
        return tuple(Decision(name, OUTCOMES) for name in classes)

    def codes(self, values: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """(n, c): absent or present."""
        if values.ndim != 2:
            raise ValueError(f"labels of several classes an image are (n, classes), not {values.shape}")
        return values.astype(np.int64)

    def decided(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Present where that is likely."""
        return np.where(np.isfinite(probabilities), probabilities >= LIKELY, -1).astype(np.int64)

    def by_decision(self, probabilities: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Absent and present, of each class."""
        return [np.stack([1 - p, p], axis=1) for p in probabilities.T]

    def shows(self, values: NDArray[np.integer[Any]], n_classes: int) -> NDArray[np.int8]:
        """As they are."""
        return values.astype(np.int8)

    def complete(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """As they are: each class is a decision of its own."""
        return probabilities

    def as_problem(
        self,
        values: NDArray[np.integer[Any]],
        n_classes: int,
        probabilities: NDArray[np.float64] | None,
    ) -> OneClass:
        """The rarest class that an image shows, or none of them, as one class more."""
        return OneClass(
            rarest_shown(values),
            n_classes + 1,
            None if probabilities is None else rarest_probabilities(values, probabilities),
            None if probabilities is None else largest_doubt(probabilities),
        )

    def prediction(self, probabilities: Sequence[float], classes: Sequence[str]) -> tuple[str, float]:
        """Every class from `LIKELY` on, and how sure the model is of the class that it is least sure of."""
        shown = [name for name, p in zip(classes, probabilities, strict=True) if p >= LIKELY]
        return presence_text(shown), float(min(max(p, 1 - p) for p in probabilities))


PRESENCE = Presence()


def presence_text(names: Iterable[str]) -> str:
    """Return the label that says which classes an image shows: `["a","b"]`, `[]` for none of them."""
    return json.dumps(sorted(set(names)), ensure_ascii=False, separators=(",", ":"))


def rarest_shown(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return (n,): the rarest class that each image shows, c where it shows none, -1 where nobody said.

    labels (n, c): 1 shown, 0 not, -1 not said. Ties go to the earlier class.
    """
    classes = labels.shape[1]
    found = np.where((labels >= 0).any(axis=1), classes, -1).astype(np.int64)
    for code in _commonest_first(labels):
        found[labels[:, code] == 1] = code
    return found


def rarest_probabilities(
    labels: NDArray[np.integer[Any]], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (n, c + 1): how likely each class is the rarest that an image shows, and that it shows none.

    From probabilities (n, c) of each class, taken as independent.
    """
    n, classes = probabilities.shape
    result = np.zeros((n, classes + 1))
    left: NDArray[np.float64] = np.ones(n)
    for code in _commonest_first(labels)[::-1]:
        result[:, code] = left * probabilities[:, code]
        left = left * (1 - probabilities[:, code])
    result[:, classes] = left
    return result


def largest_doubt(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) in [0, 1]: 1 - |2p - 1| of the class the model is least sure of; 0 where p is not finite."""
    doubt = 1 - np.abs(2 * probabilities - 1)
    return np.where(np.isfinite(doubt).all(axis=1), np.nan_to_num(doubt).max(axis=1, initial=0.0), 0.0)


def _commonest_first(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the classes by how many images show them, most first; of equals the later one first."""
    shown = (labels == 1).sum(axis=0)
    codes = np.arange(labels.shape[1])
    return np.asarray(np.lexsort((-codes, -shown)), dtype=np.int64)

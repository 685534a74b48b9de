"""The model for images that show any of several classes: one de-confounded head for each class, present or absent.

Each head is `train_head` with two outcomes, so it learns within levels, decides fairly in each and is calibrated by
itself. A class of which only one outcome is labelled so far has no head: the model says that outcome and names the
class under `left_out`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import SINGLE
from cdsel_backend.labels.presence import OUTCOMES
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.training.head import HeadModel, NotEnoughLabels, train_head
from cdsel_backend.training.inputs import DEFAULTS, Pool, TrainingLabels, TrainingOptions

_SHARED = "representation."


@dataclass(frozen=True, eq=False)
class PresenceModel:
    """`heads` by class; `left_out`: class -> the one outcome seen so far (0 or 1, -1 for none), in how many labels.

    All heads share one representation.
    """

    classes: tuple[str, ...]
    heads: Mapping[str, HeadModel]
    left_out: Mapping[str, tuple[int, int]]
    n: int

    @property
    def variables(self) -> tuple[Column, ...]:
        """The confounders as they were in training, without items: the same for every head."""
        return next(iter(self.heads.values())).variables

    def predict(self, vectors: NDArray[np.floating], columns: Sequence[Column]) -> NDArray[np.float64]:
        """Return calibrated probabilities (m, c) that vectors (m, d) with their metadata show each class.

        As with `HeadModel` they hold for classes that half of the images show, so .5 is the fair line. A class that
        was left out has its only outcome, 0 or 1. A row that is not finite comes back as NaN.
        """
        result = np.zeros((len(vectors), len(self.classes)))
        for code, name in enumerate(self.classes):
            if name in self.heads:
                result[:, code] = self.heads[name].predict(vectors, columns)[:, 1]
            else:
                result[:, code] = max(self.left_out[name][0], 0)
        result[~np.isfinite(vectors).all(axis=1)] = np.nan
        return result

    def describe(self) -> dict[str, Any]:
        """Return how it was trained, as JSON: what a head says, `by_class`, and `left_out` as sentences."""
        by_class = {name: head.describe() for name, head in self.heads.items()}
        first = next(iter(by_class.values()))
        return {
            **{name: first[name] for name in ("recipe", "weighting", "confounders")},
            "strength": max(summary["strength"] for summary in by_class.values()),
            "n": self.n,
            "counts": {name: summary["counts"]["present"] for name, summary in by_class.items()},
            "accuracy": float(np.mean([summary["accuracy"] for summary in by_class.values()])),
            "by_class": by_class,
            "left_out": {name: _outcome_text(*seen) for name, seen in self.left_out.items()},
        }

    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays, and what JSON can hold, to be kept; what all heads share, or have of the first, once."""
        arrays: dict[str, NDArray[Any]] = {}
        described = {}
        first: dict[str, NDArray[Any]] = {}
        for number, (name, head) in enumerate(self.heads.items()):
            own, described[name] = head.parts()
            arrays |= {
                key if key.startswith(_SHARED) else f"{number}.{key}": array
                for key, array in own.items()
                if not (key in first and np.array_equal(array, first[key]))
            }
            first = first or own
        return arrays, {
            "classes": list(self.classes),
            "heads": [[name, described[name]] for name in self.heads],
            "left_out": {name: list(seen) for name, seen in self.left_out.items()},
            "n": self.n,
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], described: Mapping[str, Any]) -> PresenceModel:
        """Rebuild from `parts`. Raises KeyError, TypeError or ValueError for foreign ones."""
        shared = {key: array for key, array in arrays.items() if key.startswith(_SHARED)}
        heads = {}
        first: dict[str, NDArray[Any]] = {}
        for number, (name, head) in enumerate(described["heads"]):
            own = {
                key.split(".", 1)[1]: array for key, array in arrays.items() if key.startswith(f"{number}.")
            }
            heads[str(name)] = HeadModel.from_parts(shared | first | own, head)
            first = first or own
        left_out = {str(name): (int(label), int(n)) for name, (label, n) in described["left_out"].items()}
        classes = tuple(described["classes"])
        if not heads or set(classes) != heads.keys() | left_out.keys():
            raise ValueError(f"heads for {', '.join(heads) or 'nothing'} do not make {', '.join(classes)}")
        return cls(classes, heads, left_out, int(described["n"]))


def train_presence(pool: Pool, labels: TrainingLabels, options: TrainingOptions = DEFAULTS) -> PresenceModel:
    """Train on the usable of n labels of the kind `PRESENCE`.

    The same input gives the same model, bit for bit on one machine. Raises NotEnoughLabels where no class has both
    outcomes, and ValueError for labels of another shape.
    """
    values, classes = labels.values, labels.classes
    if values.shape != (len(pool), len(classes)):
        raise ValueError(f"labels are {values.shape}, not {(len(pool), len(classes))}")
    usable = pool.finite & labels.usable
    heads: dict[str, HeadModel] = {}
    left_out: dict[str, tuple[int, int]] = {}
    for code, name in enumerate(classes):
        own = np.where(usable, values[:, code], -1).astype(np.int64)
        outcomes = np.unique(own[own >= 0])
        if len(outcomes) < 2:
            left_out[name] = (int(outcomes[0]) if len(outcomes) else -1, int((own >= 0).sum()))
            continue
        heads[name] = train_head(pool, replace(labels, values=own, classes=OUTCOMES, kind=SINGLE), options)
    if not heads:
        held = "" if labels.trainable is None else " (labels held out for evaluation do not count)"
        found = "; ".join(f"{name!r} is {_outcome_text(*seen)}" for name, seen in left_out.items())
        raise NotEnoughLabels(
            f"A model needs a class that some images show and others do not, but so far {found}{held}."
        )
    return PresenceModel(tuple(classes), heads, left_out, int(usable.sum()))


def _outcome_text(outcome: int, n: int) -> str:
    return f"only {OUTCOMES[outcome]}, in {number_of(n, 'label')}" if outcome >= 0 else "not labelled"

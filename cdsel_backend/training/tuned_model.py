"""A model whose backbone was fine-tuned: the changed weights, the head on what it sees then, and a head without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.training.head import HeadModel

if TYPE_CHECKING:  # torch is slow to load, and a model needs none of it
    from cdsel_backend.pool.backbones import View
    from cdsel_backend.pool.depths import Features

ENOUGH_LABELS = 200  # from here the setting `training: auto` tries a fine-tune, where there is a GPU

_CHANGES = "changes."


@dataclass(frozen=True, eq=False)
class TunedModel:
    """`head` answers for vectors of the tuned backbone, `base` for the pool's own, both from the same labels.

    Where an image has both vectors, the answer is `mean`. A tuned backbone would have to see the whole pool again, so
    selection, which asks about all of it, asks `base`.
    `changes`: the tuned weights by name, float32 (see `pool.backbones.load_backbone`); `fingerprint` of the vectors
    that they give, read as `features` and `view` say. `trial`: what the fine-tune found on labels it had not seen, as
    JSON.
    """

    base: HeadModel
    head: HeadModel
    changes: Mapping[str, NDArray[np.float32]]
    fingerprint: str
    trial: Mapping[str, Any]
    features: Features = "last"
    view: View = "fast"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.head.classes

    @property
    def variables(self) -> tuple[Column, ...]:
        """The confounders as they were in training, without items: the same for both heads."""
        return self.head.variables

    def predict(self, vectors: NDArray[np.floating], columns: Sequence[Column]) -> NDArray[np.float64]:
        """Return `base`'s probabilities (m, c) for the pool's own vectors (m, d)."""
        return self.base.predict(vectors, columns)

    @staticmethod
    def mean(base: NDArray[np.float64], head: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (m, c) of both together."""
        return (base + head) / 2

    def describe(self) -> dict[str, Any]:
        """Return how it was trained, as JSON."""
        return {**self.head.describe(), "fine_tuned": dict(self.trial)}

    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays, and what JSON can hold, to be kept."""
        arrays = {f"{_CHANGES}{name}": np.ascontiguousarray(array) for name, array in self.changes.items()}
        described: dict[str, Any] = {}
        for name in ("base", "head"):
            own, described[name] = getattr(self, name).parts()
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        described |= {"fingerprint": self.fingerprint, "trial": dict(self.trial)}
        return arrays, {**described, "features": self.features, "view": self.view}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], described: Mapping[str, Any]) -> TunedModel:
        """Rebuild from `parts`. Raises KeyError, TypeError or ValueError for foreign ones."""

        def under(prefix: str) -> dict[str, NDArray[Any]]:
            return {
                key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)
            }

        base, head = (HeadModel.from_parts(under(f"{name}."), described[name]) for name in ("base", "head"))
        changes = under(_CHANGES)
        if not changes:
            raise ValueError("it holds no weights of a fine-tuned backbone")
        # Before several depths were tuned, every fine-tune read the last layer at the network's own size.
        read = {name: described[name] for name in ("features", "view") if name in described}
        return cls(base, head, changes, str(described["fingerprint"]), dict(described["trial"]), **read)

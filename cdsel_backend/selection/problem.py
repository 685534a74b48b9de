"""What a strategy is given: the pool, what is known of it, and the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import SINGLE, LabelKind, OneClass
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.vectors import finite_rows
from cdsel_backend.selection.pictures import Pictures


@dataclass(frozen=True)
class Ji2025Options:
    """The choices the text of arXiv 2503.00744 leaves open; the defaults are what it most likely means."""

    reduce: Literal["tsne", "pca"] = "tsne"
    quota: Literal["proportional", "equal"] = "proportional"
    pick: Literal["midpoints", "nearest", "farthest"] = "midpoints"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("reduce", ("tsne", "pca")),
            ("quota", ("proportional", "equal")),
            ("pick", ("midpoints", "nearest", "farthest")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"ji2025.{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}"
                )


@dataclass(frozen=True)
class SelectionOptions:
    """How to select. Every strategy keeps `group_cap` and `near_duplicate`, but for its random share; the rest says
    who reads it.

    Raises ValueError, naming the setting, for a value out of range.
    """

    alpha: float = 0.5
    """Share of a level is its share of the pool to this power: 1 natural, 0 balanced (stratified strategies)."""
    random_share: float = 0.1
    """Share of each round drawn uniformly at random and marked so (confounder_aware)."""
    balance: float = 1.0
    """Weight of the strata against coverage (confounder_aware)."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of columns whose combinations are strata too (stratified strategies)."""
    group_cap: int | None = None
    """At most this many images of one group (patient, lesion), counting those already taken."""
    near_duplicate: float | None = None
    """Leave out images whose cosine similarity to one already taken or picked is at least this."""
    ji2025: Ji2025Options = field(default_factory=Ji2025Options)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; it lies between 0 (balanced) and 1 (natural)")
        if not 0 <= self.random_share <= 1:
            raise ValueError(f"random_share is {self.random_share}; it lies between 0 and 1")
        if not self.balance >= 0:
            raise ValueError(f"balance is {self.balance}; it must be 0 or more")
        if self.group_cap is not None and self.group_cap < 1:
            raise ValueError(f"group_cap is {self.group_cap}; it must be 1 or more, or none")
        if self.near_duplicate is not None and not 0 < self.near_duplicate <= 1:
            raise ValueError(
                f"near_duplicate is {self.near_duplicate}; it is a cosine similarity in (0, 1], or none"
            )


T = TypeVar("T")


class Later(Generic[T]):
    """A field that may be given as a function, which is called when the field is first read.

    Some fields take seconds to compute for a pool of a million, and not every strategy reads them.
    """

    def __init__(self, *default: T) -> None:
        """With a default, or without."""
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = f"_{name}"

    def __get__(self, problem: Problem | None, owner: type | None = None) -> T:
        if problem is None:  # dataclass asks the class for the default
            if not self._default:
                raise AttributeError(f"{self._key[1:]} has no default")
            return self._default[0]
        given = problem.__dict__[self._key]
        if callable(given):
            given = problem.__dict__[self._key] = given()
        return cast(T, given)

    def __set__(self, problem: Problem, given: T | Callable[[], T]) -> None:
        problem.__dict__[self._key] = given


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A pool of n items to choose from.

    Raises ValueError when the lengths disagree, or when a declared pair names an unknown column.
    """

    vectors: Later[NDArray[np.float32]] = Later()
    """(n, k): the (de-confounded) representation. A row that is not finite is never picked."""
    columns: Sequence[Column]
    """The confounders, each over the n items; none is allowed."""
    labels: NDArray[np.int64]
    """(n,): class index, -1 where unlabelled."""
    n_classes: int
    taken: NDArray[np.bool_]
    """(n,): labelled or already queued. Never picked again, but counted and covered."""
    probabilities: Later[NDArray[np.float64] | None] = Later(None)
    """(n, n_classes): calibrated, from the current model; none before the first."""
    doubt: Later[NDArray[np.float64] | None] = Later(None)
    """(n,) in [0, 1]: the uncertainty where the margin between two classes is not it (`labels/presence.py`)."""
    groups: NDArray[np.int64] | None = None
    """(n,): patient or lesion; negative = unknown, a group of its own."""
    finite: NDArray[np.bool_] | None = None
    """(n,): which vectors are finite, where that is known without reading them."""
    pictures: Pictures | None = None
    """Which of the n items show the same picture, byte for byte, and are one; none: no two do."""
    seed: int = 0
    options: SelectionOptions = field(default_factory=SelectionOptions)

    def __post_init__(self) -> None:
        # What is given as a function is as long as the pool that it comes from.
        given = {name: self.__dict__[f"_{name}"] for name in ("vectors", "probabilities", "doubt")}
        arrays = {name: array for name, array in given.items() if not (array is None or callable(array))}
        vectors, probabilities = arrays.get("vectors"), arrays.get("probabilities")
        if vectors is not None and vectors.ndim != 2:
            raise ValueError(f"vectors must be (items, dimensions), not {vectors.shape}")
        lengths = {"labels": len(self.labels), "taken": len(self.taken)}
        lengths |= {f"column {column.name}": len(column.codes) for column in self.columns}
        arrays |= {"groups": self.groups, "finite": self.finite, "pictures": self.pictures}
        lengths |= {name: len(array) for name, array in arrays.items() if array is not None}
        n = lengths.get("vectors", len(self.taken))
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{name} has {number_of(length, 'item')}, vectors has {n}")
        if probabilities is not None and probabilities.shape != (n, self.n_classes):
            raise ValueError(f"probabilities are {probabilities.shape}, not {(n, self.n_classes)}")
        known = {column.name for column in self.columns}
        for pair in self.options.pairs:
            if missing := set(pair) - known:
                raise ValueError(f"pairs names {', '.join(sorted(missing))}, which is no confounder here")

    def __len__(self) -> int:
        return len(self.taken)

    @property
    def modelled(self) -> bool:
        """Whether there is a model, and so are `probabilities`: they are not computed for this."""
        return self.__dict__["_probabilities"] is not None

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """(n,): the vector is finite, and the picture is not that of an item before it, or of one that is taken.

        So a picture that fills the pool weighs no more than another, for any strategy.
        """
        finite = finite_rows(self.vectors) if self.finite is None else self.finite
        return finite if self.pictures is None else finite & ~self.pictures.repeats(self.taken)

    @property
    def copies(self) -> NDArray[np.int64] | None:
        """(n,): how many other items show the same picture; None where no two do."""
        return None if self.pictures is None else self.pictures.copies

    @cached_property
    def uncertainty(self) -> NDArray[np.float64] | None:
        """(n,) in [0, 1]: `doubt`, else one minus the margin between the two likeliest classes, else none.

        0 where the probabilities are not finite.
        """
        if self.doubt is not None or self.probabilities is None:
            return self.doubt
        if self.n_classes < 2:
            return np.zeros(len(self))
        top = np.sort(np.nan_to_num(self.probabilities), axis=1)
        return np.where(np.isfinite(self.probabilities).all(axis=1), 1.0 - (top[:, -1] - top[:, -2]), 0.0)

    def random(self) -> np.random.Generator:
        """The generator of this round: other draws in another round, the same ones in a repeated round."""
        return np.random.default_rng((self.seed, int(self.taken.sum())))


def problem_for(
    *,
    labels: NDArray[np.integer],
    n_classes: int,
    probabilities: NDArray[np.float64] | Callable[[], NDArray[np.float64]] | None,
    kind: LabelKind = SINGLE,
    **rest: Any,
) -> Problem:
    """Return the problem of a pool with labels of any kind: strategies want one class an image (`LabelKind`)."""
    target = kind.as_problem(labels, n_classes, None)

    @cache
    def modelled() -> OneClass:
        return kind.as_problem(
            labels, n_classes, probabilities() if callable(probabilities) else probabilities
        )

    return Problem(
        labels=target.labels,
        n_classes=target.n_classes,
        probabilities=None if probabilities is None else lambda: modelled().probabilities,
        doubt=None if probabilities is None else lambda: modelled().doubt,
        **rest,
    )

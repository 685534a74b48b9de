"""The embedded pool of a project: its view and the vectors of its backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.project.view import PoolView, view_of
from cdsel_backend.round import RoundPool
from cdsel_backend.store import State, Store

Vectors = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Item ids (m,), ascending, and their vectors (m, d)."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedPool(PoolView):
    """The items that have a vector, and those vectors (n, d)."""

    vectors: NDArray[np.float32]
    vectors_by: Callable[[str, NDArray[np.int64]], Vectors]
    """(A backbone's fingerprint, item ids) -> those of the items that have a vector of it, and these."""

    @cached_property
    def round_pool(self) -> RoundPool:
        """The pool as a round and a training read it."""
        return RoundPool(self.vectors, self.confounders, self.classes, self.kind, self.groups)


def read_pool(store: Store, state: State) -> EmbeddedPool:
    """Read the embedded pool of a project."""
    project = state.project
    ids, vectors = store.vectors(project.id, project.backbone)
    view = view_of(store, state, ids)
    return EmbeddedPool(
        view.state,
        view.ids,
        view.columns,
        view.space,
        view.offers,
        vectors=vectors,
        vectors_by=partial(store.vectors_of, project.id),
    )

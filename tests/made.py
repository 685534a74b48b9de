"""What many tests make: columns of metadata, and files of pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column


def column(name: str, codes: ArrayLike, levels: Sequence[str] = "abcdefgh") -> Column:
    """A categorical column; of the `levels` those up to the last that occurs, and two at least."""
    given = np.asarray(codes, dtype=np.int64)
    return Column(name, "categorical", tuple(levels[: max(int(given.max()), 1) + 1]), given)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def proxied(
    seed: int, labelled: int, n: int = 1200, dim: int = 64, *, noise: bool = False
) -> tuple[NDArray[np.float32], list[Column], Labels]:
    """A label that shows, so many of them given; a `site` that shows by itself, a `proxy` that follows the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    site, proxy = (np.where(rng.random(n) < 0.8, label, 1 - label) for _ in range(2))
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors[:, 0] += 2.5 * label
    vectors[:, 1] += 2.5 * site
    given = np.full(n, -1)
    some = rng.permutation(n)[:labelled]
    given[some] = label[some]
    columns = {"site": site, "proxy": proxy} | ({"noise": rng.integers(0, 2, n)} if noise else {})
    return vectors, [column(name, codes) for name, codes in columns.items()], Labels(given, ("no", "yes"))

"""What many tests make: columns of metadata, and files of pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

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

"""Drawn JPEG files: smooth noise, which JPEG keeps at about the size of a photograph."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (500, 500)) -> bytes:
    """A file that shows a picture of this size (width, height), another for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()

"""What an image file says of itself, as variables: a site that saves differently can be recognised by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from cdsel_backend.pool.columns import FILE_PREFIX
from cdsel_backend.pool.decode import Decoded

Measures = Mapping[str, "str | float | None"]

_SIDE = 128  # pixels that brightness, contrast and colour are measured on at most, about, each way
_CROP = 256  # pixels each way that sharpness is measured on
_COLOURED = 2.0  # mean difference of the channels, in grey values, from which a picture has colour


class Looks(NamedTuple):
    """What is measured of a picture's pixels, in grey values from 0 to 255.

    Mean and standard deviation of the whole, made smaller; the standard deviation of the Laplacian in the middle, at
    its own resolution; and the mean difference of the channels.
    """

    brightness: float
    contrast: float
    sharpness: float
    difference: float


def measure(decoded: Decoded) -> dict[str, str | float | None]:
    """Return the variables of one decoded file, by name."""
    return variables(
        look(decoded.image),
        size=decoded.size,
        bits=decoded.bits,
        quality=decoded.quality,
        kind=decoded.format,
    )


def variables(
    looks: Looks, *, size: tuple[int, int], bits: int, quality: int | None, kind: str
) -> dict[str, str | float | None]:
    """Return the variables of a file, by name, from its picture and what `Decoded` says; no quality but for JPEG."""
    found: dict[str, str | float | None] = {
        "width x height": f"{size[0]} x {size[1]}",
        "bit depth": float(bits),
        "colour": "colour" if looks.difference > _COLOURED else "grey",
        "brightness": round(looks.brightness, 1),
        "contrast": round(looks.contrast, 1),
        "sharpness": round(looks.sharpness, 2),
        "JPEG quality": None if quality is None else float(quality),
        "format": "JPEG" if kind == "MPO" else kind,
    }
    return {FILE_PREFIX + name: value for name, value in found.items()}


def look(image: Image.Image) -> Looks:
    """Measure the pixels of an RGB picture."""
    small = image.reduce(reduction(image.size))
    grey = np.asarray(small.convert("L"))
    red, green, blue = (np.asarray(band, dtype=np.int16) for band in small.split())
    difference = float(np.abs(red - green).mean() + np.abs(green - blue).mean()) / 2
    return Looks(float(grey.mean()), float(grey.std()), _sharpness(image), difference)


def reduction(size: tuple[int, int]) -> int:
    """By how much each side of a picture (width, height) is made smaller before the whole is measured."""
    return max(1, max(size) // _SIDE)


def middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture (width, height) that sharpness is measured on: left, top, right, bottom."""
    left, top = (max(0, (side - _CROP) // 2) for side in size)
    return left, top, min(size[0], left + _CROP), min(size[1], top + _CROP)


def _sharpness(image: Image.Image) -> float:
    grey = np.asarray(image.crop(middle(image.size)).convert("L"), dtype=np.float32)
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).std())

"""What an image file says of itself, as variables: a site that saves differently can be recognised by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from cdsel_backend.pool.columns import FILE_PREFIX
from cdsel_backend.pool.decode import Decoded

Measures = Mapping[str, "str | float | None"]

_SIDE = 128  # pixels that brightness, contrast and colour are measured on at most, about, each way
_CROP = 256  # pixels each way that sharpness is measured on
_COLOURED = 2.0  # mean difference of the channels, in grey values, from which a picture has colour


def measure(decoded: Decoded) -> dict[str, str | float | None]:
    """Return the variables of one decoded file, by name.

    Brightness and contrast are mean and standard deviation of the grey values (0 to 255); sharpness is the standard
    deviation of their Laplacian in the middle of the picture, at its own resolution; the quality is None but for JPEG.
    """
    image = decoded.image
    small = image.reduce(max(1, max(image.size) // _SIDE))
    grey = np.asarray(small.convert("L"))
    red, green, blue = (np.asarray(band, dtype=np.int16) for band in small.split())
    differ = float(np.abs(red - green).mean() + np.abs(green - blue).mean()) / 2
    width, height = decoded.size
    found: dict[str, str | float | None] = {
        "width x height": f"{width} x {height}",
        "bit depth": float(decoded.bits),
        "colour": "colour" if differ > _COLOURED else "grey",
        "brightness": round(float(grey.mean()), 1),
        "contrast": round(float(grey.std()), 1),
        "sharpness": round(_sharpness(image), 2),
        "JPEG quality": None if decoded.quality is None else float(decoded.quality),
        "format": "JPEG" if decoded.format == "MPO" else decoded.format,
    }
    return {FILE_PREFIX + name: value for name, value in found.items()}


def _sharpness(image: Image.Image) -> float:
    left, top = (max(0, (side - _CROP) // 2) for side in image.size)
    crop = image.crop((left, top, min(image.width, left + _CROP), min(image.height, top + _CROP)))
    grey = np.asarray(crop.convert("L"), dtype=np.float32)
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).std())

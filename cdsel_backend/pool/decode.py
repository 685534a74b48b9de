"""Image bytes -> an RGB picture, or words on why not."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cdsel_backend.pool import dicom

MAX_PIXELS = 80_000_000
"""Default bound on width x height: 240 MB as RGB, and below Pillow's own warning."""

# Named, because Pillow also knows formats that start other programs (EPS calls Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "JPEG2000", "PPM", "AVIF")


class UnreadableImage(ValueError):
    """An image that cannot be used; the message says why in words an administrator can act on."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image as its annotator sees it: upright, 8-bit RGB, first frame, on white.

    * EXIF orientation is applied.
    * Greyscale of more than 8 bits (and floating point) is stretched so that its .5 and 99.5
      percentiles become black and white, as viewers do: 12 bits in a 16-bit file would be black otherwise.
    * Transparency is laid on white, the colour behind it on Label Studio's page.
    * A DICOM file is rendered as `dicom.render` says: window, MONOCHROME1, its middle frame.
    * An animation or a multi-page file gives its first frame. Colour profiles are not applied.

    Args:
        data: the file's bytes.
        max_pixels: refuse larger images before their pixels are decoded.

    Returns:
        A picture of mode "RGB".

    Raises:
        UnreadableImage: no bytes, not an image, truncated or damaged, too large.
    """
    if not data:
        raise UnreadableImage("the file is empty (0 bytes)")
    _refuse_by_signature(data)
    if dicom.is_dicom(data):
        try:
            return dicom.render(data, max_pixels=max_pixels)
        except dicom.UnreadableDicom as error:
            raise UnreadableImage(str(error)) from error
    try:
        image = Image.open(io.BytesIO(data), formats=_known_formats())
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"the image is too large: {error}") from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged header makes them raise
        raise UnreadableImage(
            "not an image in a format that can be read (JPEG, PNG, TIFF, BMP, GIF, WebP, JPEG 2000, PPM)"
        ) from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise UnreadableImage(f"the image is too large: {width} x {height} is over {max_pixels:,} pixels")
        try:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # likewise: OSError, SyntaxError, struct.error, EOFError, ...
            raise UnreadableImage(f"the {image.format} file is truncated or damaged ({error})") from error


@cache
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # AVIF only in newer Pillow


def _refuse_by_signature(data: bytes) -> None:
    """Name the things that are often found where an image was meant to be."""
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise UnreadableImage("a web page, not an image (a login or error page is served at this address?)")
    if head.startswith((b"<svg", b"<?xml")):
        raise UnreadableImage("an XML or SVG file, which is not supported: export it as PNG or JPEG first")
    if head.startswith(b"%pdf"):
        raise UnreadableImage("a PDF file, which is not supported: export its pages as PNG or JPEG first")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;16"):
        return _stretch(np.asarray(image, dtype=np.float32))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _stretch(values: NDArray[np.float32]) -> Image.Image:
    """Map grey values (h, w) float32 to RGB by their .5 and 99.5 percentiles; not-finite ones are black."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no finite pixel value")
    low, high = np.percentile(finite, [0.5, 99.5])
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    scaled = (values - low) / max(float(high - low), 1e-12)
    grey = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1) * 255
    return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")

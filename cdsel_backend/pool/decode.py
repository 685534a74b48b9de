"""Image bytes -> an RGB picture as its annotator sees it, or a sentence on why not."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, Jpeg2KImagePlugin, PngImagePlugin

from cdsel_backend.pool import dicom, dicom_pictures
from cdsel_backend.pool.depth import (
    MOST_PIXELS_JPEG2000,
    PART,
    Layout,
    as_stated,
    read_layout,
    read_values,
    to_eight_bits,
)
from cdsel_backend.pool.gif_truncation import ENOUGH
from cdsel_backend.pool.jpeg_frame import read_frame
from cdsel_backend.pool.room import Room
from cdsel_backend.pool.truncation import complete

MAX_PIXELS = 80_000_000
"""Default bound on width x height: 240 MB as RGB. A larger picture, where the bound is raised, is reduced to it."""

# Named, because Pillow also knows formats that start other programs (EPS calls Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "JPEG2000", "PPM", "AVIF")
_GREEDY = {"WEBP": 16, "AVIF": 12, "JPEG2000": 24}  # bytes a pixel that their decoders take
_UNTURNED = ("WEBP",)  # browsers do not apply the EXIF orientation of these

# Instead of Pillow's own bound `read_image` checks the caller's, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Texts of programs beside a picture, such as XMP, are often larger than Pillow's bound, and it then reads no picture.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 2**20  # bytes
LONGEST_PPM_HEADER = 65_536  # bytes: Pillow reads it byte by byte, a comment of 50 MB in 20 s
_BETWEEN = rb"(?:\s|#[^\r\n]*[\r\n])*"
_PPM_HEADER = re.compile(
    rb"(?:P[14](?:%(between)s\d+(?!\d)){2}|P[2356](?:%(between)s\d+(?!\d)){3}|Pf(?:%(between)s[\d.+-]+(?![\d.+-])){3})\s"
    % {b"between": _BETWEEN}
)
_decoding = Room(1536 * 2**20)  # bytes, of all pictures of this process that are decoded at once


class UnreadableImage(ValueError):
    """An image that cannot be used; the message says why in a sentence an administrator can act on."""

    retry_after: float | None = None
    """Seconds after which it may be there, where that is known."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture and what its file says of itself.

    `image` is upright, of mode "RGB"; `size` is the file's own width and height, upright; `bits` a channel; `quality`
    of a JPEG, 1 to 100; `note` says what is odd about a file that is used all the same; `windowed` that a browser
    shows the file much darker, because its values use little of their range.
    """

    image: Image.Image
    format: str
    size: tuple[int, int]
    bits: int
    quality: int | None = None
    note: str | None = None
    windowed: bool = False


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture alone, as `read_image` decodes it."""
    return read_image(data, max_pixels=max_pixels).image


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode an image as its annotator sees it: upright, 8-bit RGB, first frame, on white.

    * EXIF orientation is applied in the formats in which browsers apply it.
    * More than 8 bits become 8 as `depth.to_eight_bits` says, so that equal pictures stay equal.
    * A JPEG, PNG, GIF or BMP file that lacks no more than a quarter, at its end, is used, with a note.
    * Transparency is laid on white, the colour behind it on Label Studio's page.
    * A DICOM file is rendered as `dicom_pictures.render` says: window, MONOCHROME1, its middle frame.
    * An animation or a multi-page file gives its first frame. Colour profiles are not applied.

    Args:
        data: the file's bytes.
        max_pixels: refuse larger images before their pixels are decoded.

    Raises:
        UnreadableImage: no bytes, not an image, truncated or damaged, too large.
    """
    if not data:
        raise UnreadableImage("the file is empty (0 bytes)")
    _refuse_by_signature(data)
    if dicom.is_dicom(data):
        try:
            picture = dicom_pictures.render(data, max_pixels=max_pixels)
        except dicom.UnreadableDicom as error:
            raise UnreadableImage(str(error)) from error
        return Decoded(picture, "DICOM", picture.size, 8)
    layout, frame = read_layout(data), read_frame(data)
    image = _open(data)
    size = layout.size if layout else image.size if image else (0, 0)
    if size[0] * size[1] > max_pixels:
        raise UnreadableImage(f"the image is too large: {size[0]} x {size[1]} is over {max_pixels:,} pixels")
    if image is None and layout is None:
        if frame is not None:
            raise UnreadableImage(
                f"a {frame.kind} file of {frame.bits} bits a channel, which is not read: save it as PNG"
            )
        raise UnreadableImage(
            "not an image in a format that can be read (JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PPM, DICOM)"
        )
    kind = str(image.format) if image else "TIFF"
    note = None
    try:
        completed = complete(data)
        if completed is not None:
            if completed.share < ENOUGH:
                raise EOFError("it ends too early")
            note = f"the end of the {kind} file is missing; what is there is used"
            data, image = completed.data, _open(completed.data)
        with _decoding.taken(
            size[0] * size[1] * bytes_a_pixel(kind, len(image.getbands()) if image else 4, layout)
        ):
            decoded = _decoded(data, image, layout, kind, note)
            return replace(decoded, format=frame.kind) if frame is not None and not frame.common else decoded
    except UnreadableImage:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, EOFError, ...
        raise UnreadableImage(f"the {kind} file is truncated or damaged ({error})") from error


def bytes_a_pixel(kind: str, bands: int, layout: Layout | None) -> int:
    """Return what decoding a file takes at its peak, as measured, for each pixel of a picture of so many bands."""
    if kind in _GREEDY:
        return _GREEDY[kind]
    return 8 if layout is None else max(8, 6 * bands)


def _open(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data), formats=_known_formats())
    except Exception:  # Pillow's plugins raise whatever a damaged header makes them raise
        return None


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
    if head.startswith(b"version https://git-lfs"):
        raise UnreadableImage("a pointer of Git LFS, not the image: fetch the images there (git lfs pull)")
    if head.startswith((b"pk\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"rar!")):
        raise UnreadableImage("an archive, or a compressed file: unpack it")
    is_long_ppm = len(data) > LONGEST_PPM_HEADER and re.match(rb"P[1-6f][\s#]", data)
    if is_long_ppm and not _PPM_HEADER.match(data[:LONGEST_PPM_HEADER]):
        raise UnreadableImage(
            "a PPM file without a header in its first 64 KiB: save it anew, without comments"
        )
    if not head.strip(b"\0") and not data.strip(b"\0"):
        raise UnreadableImage(
            "the file holds nothing but zeros: it was not copied whole; bring it here again"
        )


def _decoded(
    data: bytes, image: Image.Image | None, layout: Layout | None, kind: str, note: str | None
) -> Decoded:
    """Decode the pixels of a file that is whole and not too large."""
    quality, windowed, bits, whole = None, False, 8, (0, 0)
    if image is not None:
        quality = jpeg_quality(getattr(image, "quantization", None))
        if getattr(image, "default_image", False):  # of an animated PNG: browsers begin with the next frame
            image.seek(1)
    values = read_values(data, layout) if layout is not None else None
    if values is not None and layout is not None:
        turn = 1 if layout.turned or image is None else _orientation(image)
        array, windowed = to_eight_bits(values, layout)
        del values  # two of these three do not fit beside each other in little memory
        picture, bits = Image.fromarray(array), layout.bits
        picture.getexif()[_ORIENTATION] = turn
    elif image is None or (layout is not None and image.mode not in _DEEP):
        where = ", each channel in a plane of its own" if layout is not None and layout.planes else ""
        bits = layout.bits if layout is not None else bits
        raise UnreadableImage(
            f"a {kind} file of a kind that is not read ({bits} bits a channel{where}): save it as PNG"
        )
    else:
        whole = image.size
        picture = image = _loaded(data, image)
        if image.mode in _DEEP:
            given = layout or Layout(image.size, 16, 65535.0 if image.mode.startswith("I;16") else None)
            array, windowed = to_eight_bits(as_stated(np.asarray(image), layout), given)
            picture, bits = Image.fromarray(array), given.bits
            picture.getexif()[_ORIENTATION] = _orientation(image)
    if kind not in _UNTURNED:
        with suppress(Exception):  # unreadable EXIF data: browsers pass them over
            ImageOps.exif_transpose(picture, in_place=True)
    size = picture.size
    if image is not None and image.format == "JPEG2000":
        size = whole if (size[0] < size[1]) == (whole[0] < whole[1]) else whole[::-1]
    shrink = -(-max(1, picture.width * picture.height) // MAX_PIXELS)
    if shrink > 1:
        picture = picture.reduce(int(np.ceil(np.sqrt(shrink))))
    return Decoded(_TO_RGB[picture.mode](picture), kind, size, bits, quality, note, windowed)


def _loaded(data: bytes, image: Image.Image) -> Image.Image:
    """Decode the pixels; of a large JPEG 2000 file at half its width and height, or less, where it offers that.

    Its decoder takes 19 bytes a pixel of three colours.
    """
    half = 0
    while image.width * image.height >> 2 * half > MOST_PIXELS_JPEG2000:
        half += 1
    smaller = _open(data) if half and image.format == "JPEG2000" else None
    if isinstance(smaller, Jpeg2KImagePlugin.Jpeg2KImageFile):
        with suppress(OSError):  # a file of fewer resolutions
            smaller.reduce = half
            smaller.load()
            return smaller
    image.load()
    return image


def jpeg_quality(tables: object) -> int | None:
    """Return the quality (1 to 100) whose luminance table lies nearest to a JPEG's; None where it has none."""
    if not isinstance(tables, dict) or 0 not in tables:
        return None
    return 1 + int(np.abs(_luminance_tables() - np.asarray(tables[0])).sum(axis=1).argmin())


@cache
def _luminance_tables() -> NDArray[np.int64]:
    """Return (100, 64): the tables that the JPEG library uses for each quality."""
    found = []
    for quality in range(1, 101):
        out = io.BytesIO()
        Image.new("L", (1, 1)).save(out, "JPEG", quality=quality)
        with Image.open(out) as image:
            found.append(image.quantization[0])
    return np.array(found, dtype=np.int64)


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _opaque(image: Image.Image) -> Image.Image:
    if "transparency" in image.info:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on white, in parts of rows: whole, four copies would be in memory at once."""
    shown = Image.new("RGB", image.size)
    rows = max(1, PART // max(1, image.width))
    for top in range(0, image.height, rows):
        layer = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        shown.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
    return shown


def _lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert found is not None  # only in place there is none
    return found


_ORIENTATION = 0x0112
_DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

_TO_RGB: dict[str, Callable[[Image.Image], Image.Image]] = {
    **dict.fromkeys(("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"), _opaque),
    **dict.fromkeys(("LA", "PA", "RGBA"), _on_white),
    "La": lambda image: _on_white(image.convert("LA")),
    "RGBa": lambda image: _on_white(image.convert("RGBA")),
    "LAB": _lab,
}
"""What makes RGB of a picture of each of Pillow's modes, but for those of more than 8 bits."""

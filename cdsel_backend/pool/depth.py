"""Values of more than 8 bits -> 8 bits, so that a picture is the same however many bits it was saved with.

Pillow keeps the upper 8 bits of colour, refuses some TIFF files, and makes black of the white of JPEG 2000, which it
rounds up. So PNG, TIFF, PNM and coloured JPEG 2000 of more than 8 bits are read by OpenCV (which comes with Label
Studio's SDK); their headers say what the numbers mean.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, TiffImagePlugin

USED = 0.25  # of the range; a picture that uses less of it is windowed, as viewers do
_SAMPLE = 1_000_000  # values that percentiles are read from
PART = 1_000_000  # values that are computed at once
_OPEN_RANGES = (1.0, 255.0, 65535.0)  # what floating point values of pictures usually lie in
_PNM = re.compile(rb"P[56]\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s")
_JPEG2000, _CODE_STREAM = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), b"\xff\x4f\xff\x51"
_MOST_BITS = 64  # of a channel; more are of a damaged header
_LONGEST_HEADER = 65_536  # bytes before the code stream of a JPEG 2000 file
MOST_PIXELS_JPEG2000 = 40_000_000
"""Of a JPEG 2000 file that is decoded at its full size: its decoder needs much memory."""
_GREY_OR_RGB = (0, 1, 2)  # photometric interpretations that OpenCV reads without loss


def parts(values: NDArray[Any]) -> Iterator[slice]:
    """The rows of a picture (h, w, ...) in slices of about `PART` values: to bound the memory."""
    rows = max(1, PART // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)


@dataclass(frozen=True)
class Layout:
    """What a file of more than 8 bits a channel, or of 8 that are signed, says of itself.

    `top` is the greatest value that its numbers can have, None where they are signed or floating point;
    `white_is_zero` says that the greatest is black; `alpha` what a fourth channel is; `turned` that OpenCV applies the
    file's orientation. `size` is upright then. `planes` says that each channel lies in a part of its own, of which
    OpenCV makes noise.
    """

    size: tuple[int, int]
    bits: int
    top: float | None
    white_is_zero: bool = False
    alpha: Literal["none", "straight", "premultiplied"] = "straight"
    turned: bool = False
    planes: bool = False


def read_layout(data: bytes) -> Layout | None:
    """Return the layout of a PNG, TIFF, PNM or coloured JPEG 2000 file of more than 8 bits, or of 8 with a sign.

    None for all others.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 26 and data[24] == 16:
        width, height = struct.unpack(">II", data[16:24])
        return Layout((width, height), 16, 65535.0)
    if data[:2] in (b"II", b"MM"):
        return _read_tiff_layout(data)
    if data.startswith(_JPEG2000):
        return _read_jpeg2000_layout(data)
    found = _PNM.match(data[:1024])
    if found and int(found[3]) > 255:
        return Layout((int(found[1]), int(found[2])), int(found[3]).bit_length(), float(found[3]))
    return None


def read_values(data: bytes, layout: Layout) -> NDArray[Any] | None:
    """Return the values (h, w) or (h, w, 3 or 4) in RGB order, as the file holds them; None where OpenCV cannot."""
    import cv2  # here: only the few files of more than 8 bits need it

    if layout.planes:
        return None

    try:
        values = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.shape[1::-1] != layout.size or values.dtype == np.uint8:
        return None
    if values.dtype == np.uint16 and layout.top is not None and data[:2] in (b"II", b"MM"):
        values = np.right_shift(values, 16 - layout.bits)  # OpenCV moves 10, 12 and 14 bits up
    if values.ndim == 3 and values.shape[2] >= 3:
        for part in parts(values):  # in their place: a second copy of all would not be small
            values[part, ..., :3] = values[part, ..., 2::-1].copy()
    return np.asarray(values)


def as_stated(values: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    """Values that Pillow read; whole numbers of 32 bits it takes for signed ones, also where they are not."""
    unsigned = layout is not None and layout.bits == 32 and layout.top is not None
    return values.view(np.uint32) if unsigned and values.dtype == np.int32 else values


def to_eight_bits(values: NDArray[Any], layout: Layout) -> tuple[NDArray[np.uint8], bool]:
    """Return (h, w) or (h, w, 3) uint8, with transparency laid on white, and whether the values were windowed.

    Numbers that use their range keep it: the upper 8 bits, which a browser shows. Numbers that use less than a quarter
    of it (12 bits in a file of 16) would be nearly black: their .5 and 99.5 percentiles become black and white. Numbers
    that are 8 bits times 256 or 257 are a picture of 8 bits, however dark. What is not finite is black.

    Raises ValueError where no value is finite.
    """
    alpha = None
    if values.ndim == 3 and values.shape[2] == 4:
        values, alpha = values[..., :3], values[..., 3]
    window = _window(values, layout.top)
    # The opacity of a picture that uses 12 of 16 bits is as dark as its values: the same everywhere, it says nothing.
    if alpha is not None and (layout.alpha == "none" or (window.fitted and 0 < alpha.min() == alpha.max())):
        alpha = None
    shown = np.empty(values.shape, dtype=np.uint8)
    for part in parts(values):
        grey = window.grey(values[part])
        if layout.white_is_zero:
            grey = 255 - grey
        if alpha is not None:
            opacity = (alpha[part].astype(np.float32) / float(layout.top or 1.0))[..., None]
            coloured = grey if layout.alpha == "premultiplied" else grey * opacity
            grey = np.clip(coloured + 255 * (1 - opacity), 0, 255).round().astype(np.uint8)
        shown[part] = grey
    return shown, window.fitted


@dataclass(frozen=True)
class _Window:
    """The values that become black, `low`, and white, `high`. `fitted` to the values of the picture, or their range."""

    low: float
    high: float
    fitted: bool

    def grey(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values as uint8. Whole numbers that use their range keep their upper 8 bits."""
        if not self.fitted and self.high >= 255 and np.issubdtype(values.dtype, np.integer):
            return (values.astype(np.float64) * (256 / (self.high + 1))).astype(np.uint8)
        scaled = (values.astype(np.float32) - self.low) / max(self.high - self.low, 1e-12)
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0)
        return np.asarray((np.clip(scaled, 0, 1) * 255).round(), dtype=np.uint8)


def _window(values: NDArray[Any], top: float | None) -> _Window:
    """Return the window for values (h, w) or (h, w, 3) of a range that ends with `top`, None: as the values tell.

    Raises ValueError where no value is finite.
    """
    few = _sample(values)
    if top is None and few.min() >= 0:
        top = next((end for end in _OPEN_RANGES if few.max() <= end), None)
    low, high = (float(end) for end in np.percentile(few, [0.5, 99.5]))
    if top is not None and (high - low >= USED * top or _is_eight_bits(few, values, top)):
        return _Window(0.0, float(top or 1.0), fitted=False)
    if high <= low:
        low, high = float(few.min()), float(few.max())
    return _Window(low, high, fitted=True)


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return about `_SAMPLE` of the finite values, evenly spaced. Raises ValueError where no value is finite."""
    every = max(1, values.size // _SAMPLE)
    if values.flags.c_contiguous:
        few = values.reshape(-1)[::every]
    else:  # a picture without its alpha channel, which reshaping would copy whole
        few = values[np.unravel_index(np.arange(0, values.size, every), values.shape)]
    few = few[np.isfinite(few)]
    if not few.size:
        few = values[np.isfinite(values)]
    if not few.size:
        raise ValueError("no finite pixel value")
    return np.asarray(few)


def _is_eight_bits(few: NDArray[Any], values: NDArray[Any], top: float) -> bool:
    """Whether whole numbers of 16 bits are all multiples of 257, or of 256: those of a picture of 8 bits."""
    if top != 65535 or not np.issubdtype(values.dtype, np.integer):
        return False
    return any(
        not (few % step).any() and not any((values[part] % step).any() for part in parts(values))
        for step in (257, 256)
    )


def _read_tiff_layout(data: bytes) -> Layout | None:
    """Read the first directory's tags; None for 8 unsigned bits or fewer, and for what is no TIFF."""
    tag = ExifTags.Base
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8])
        stream = io.BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        size = int(directory[tag.ImageWidth]), int(directory[tag.ImageLength])
        bits = [int(value) for value in directory.get(tag.BitsPerSample, (1,))]
        format_ = int(directory.get(339, (1,))[0])  # 1 unsigned, 2 signed, 3 floating point
        photometric = int(directory.get(tag.PhotometricInterpretation, 1))
        extra = directory.get(338, ())
        planes = len(bits) > 1 and int(directory.get(tag.PlanarConfiguration, 1)) == 2
        if int(directory.get(tag.Orientation, 1)) >= 5:
            size = size[::-1]
    except Exception:  # whatever a damaged header makes Pillow raise: then it is no TIFF that can be read
        return None
    least = 8 if format_ == 2 else 9  # bits; signed ones Pillow takes for unsigned
    if not least <= max(bits) <= _MOST_BITS or len(bits) > 4 or photometric not in _GREY_OR_RGB:
        return None
    alpha: dict[int, Literal["premultiplied", "straight"]] = {1: "premultiplied", 2: "straight"}
    return Layout(
        size,
        max(bits),
        float(2 ** max(bits) - 1) if format_ == 1 else None,
        white_is_zero=photometric == 0 and max(bits) > 8,  # OpenCV turns those of 8 itself
        alpha=alpha.get(int(extra[0]), "none") if extra else "straight",
        turned=True,
        planes=planes,
    )


def _read_jpeg2000_layout(data: bytes) -> Layout | None:
    """Read the size marker of the code stream; None for what Pillow reads well: 8 bits, and grey."""
    at = data.find(_CODE_STREAM, 0, _LONGEST_HEADER)
    if at < 0 or len(data) < at + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    # Bits - 1; the highest bit says that values are signed.
    precisions = data[at + 42 : at + 42 + 3 * count : 3]
    size, bits = (right - left, bottom - top), max(precisions, default=0) + 1
    if count not in (2, 3, 4) or not 8 < bits <= 16 or size[0] * size[1] > MOST_PIXELS_JPEG2000:
        return None
    return Layout(size, bits, float(2**bits - 1))

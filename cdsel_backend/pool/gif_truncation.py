"""GIF files that lack their end: how much of the first frame is there, and that frame with its last rows repeated."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ENOUGH = 0.75  # of a file; with less of it, an image is left out

_EXTENSION, _FRAME = 0x21, 0x2C
_MOST_BYTES = 6_000_000  # of a frame whose codes are counted, which takes a few seconds
_WIDEST = 12  # bits of a code
_PASSES = ((0, 8), (4, 8), (2, 4), (1, 2))  # of interlaced rows: the first, and the step


class _Blocks(NamedTuple):
    """What a run of blocks holds, and where it ends; None where the file ends before."""

    content: bytes
    end: int | None


class _Known(NamedTuple):
    """How many pixels some LZW codes stand for, the bits that whole codes take, and the width of the next code."""

    pixels: int
    bits: int
    width: int

    def ended(self, content: bytes, depth: int, pixels: int) -> bytes:
        """Return the codes with so many more that a picture of `pixels` is full."""
        clear = 1 << depth
        run = max(1, clear - 2)  # colours until codes would grow wider
        whole, over = divmod(self.bits, 8)
        first = (content[whole] & ((1 << over) - 1) if over else 0) | clear << over
        wide = depth + 1
        pattern = clear << run * wide  # the colour 0 so many times, and again from the beginning
        every = sum(pattern << time * (run + 1) * wide for time in range(8))
        start = over + self.width
        runs = (pixels - self.pixels) // run + 1
        parts = (every.to_bytes((run + 1) * wide, "little")) * (runs // 8 + 1)
        return content[:whole] + (first | int.from_bytes(parts, "little") << start).to_bytes(
            len(parts) + start // 8 + 1, "little"
        )


def complete(data: bytes) -> tuple[bytes, float] | None:
    """Return a file that shows the first frame, its last rows repeated, and the share (0 to 1) of it that was there.

    None where the first frame is whole, or none begins. The share is 0 where it cannot be said how much is missing.
    """
    frame = _first_frame(data)
    if frame is None or frame + 10 > len(data):
        return None
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (frame + 5, frame + 7))
    codes = frame + 10 + _table_bytes(data[frame + 9])
    blocks = _blocks(data, codes + 1)
    if blocks.end is not None:
        return None
    known = _known(blocks.content, data[codes]) if codes < len(data) else _Known(0, 0, 0)
    share = known.pixels / max(1, width * height)
    if share < ENOUGH:
        return data, share
    content = known.ended(blocks.content, data[codes], width * height)
    ended = data[: codes + 1] + _in_blocks(content) + b";"
    with Image.open(io.BytesIO(ended), formats=("GIF",)) as image:
        image.load()
        if image.size != (width, height):  # the frame is a part of the picture
            return ended, share
        order = [row for first, step in _PASSES for row in range(first, height, step)]
        rows = order if data[frame + 9] & 0x40 else range(height)
        filled = Image.frombytes(
            image.mode, image.size, _filled(np.array(image), rows[known.pixels // width :]).tobytes()
        )
        if image.mode == "P":
            filled.putpalette(image.getpalette() or [])
        shown = io.BytesIO()
        filled.save(shown, "PNG", compress_level=1, transparency=image.info.get("transparency"))
    return shown.getvalue(), min(share, 1.0)


def _first_frame(data: bytes) -> int | None:
    """Return where the first frame begins; None where none does."""
    at: int | None = 13 + _table_bytes(data[10]) if len(data) >= 13 else None
    while at is not None and at + 1 < len(data) and data[at] == _EXTENSION:
        at = _blocks(data, at + 2).end
    return at if at is not None and at < len(data) and data[at] == _FRAME else None


def _table_bytes(flags: int) -> int:
    """Return the length of the table of colours that follows a head with these flags."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: bytes, at: int) -> _Blocks:
    """Read blocks, each with its length before it, up to the one of length 0."""
    parts: list[bytes] = []
    while at < len(data):
        length = data[at]
        if length == 0:
            return _Blocks(b"".join(parts), at + 1)
        parts.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    return _Blocks(b"".join(parts), None)


def _in_blocks(content: bytes) -> bytes:
    """Write what `_blocks` reads."""
    parts = (content[at : at + 255] for at in range(0, len(content), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _known(content: bytes, depth: int) -> _Known:
    """Count the pixels that LZW codes stand for, without decoding them; 0 where there are too many codes to count.

    Args:
        content: the codes.
        depth: bits of a colour.
    """
    if not 1 <= depth < _WIDEST or len(content) > _MOST_BYTES:
        return _Known(0, 0, 0)
    clear, stop = 1 << depth, (1 << depth) + 1
    lengths = [1] * (1 << _WIDEST)
    following, width, before, total, bits = stop + 1, depth + 1, 0, 0, 0
    held = kept = 0
    for byte in content:
        held |= byte << kept
        kept += 8
        while kept >= width:
            code = held & ((1 << width) - 1)
            if code == stop or code > following or (code == following and not before):
                return _Known(total, bits, width)
            held >>= width
            kept -= width
            bits += width
            if code == clear:
                following, width, before = stop + 1, depth + 1, 0
                continue
            if before and following < 1 << _WIDEST:
                lengths[following] = before + 1
                following += 1
                if following == 1 << width and width < _WIDEST:
                    width += 1
            before = lengths[code]
            total += before
    return _Known(total, bits, width)


def _filled(pixels: NDArray[np.uint8], missing: range | list[int]) -> NDArray[np.uint8]:
    """Give rows (h, w, ...) that are missing what the row above has, in place."""
    for row in sorted(missing):
        pixels[row] = pixels[max(row - 1, 0)]
    return pixels

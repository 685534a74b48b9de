"""Whether annotators can see a file in their browser, and a picture that they can see."""

from __future__ import annotations

import io

from cdsel_backend.pool.decode import MAX_PIXELS, Decoded, decode

LONGEST_SIDE = 4096  # pixels of a rendered picture

_SHOWN = frozenset({"JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "AVIF"})  # by Chromium and Firefox


def why_not_shown(decoded: Decoded) -> str | None:
    """Return why no browser shows a decoded file as it is, as the end of a sentence; None where browsers do."""
    if decoded.format not in _SHOWN:
        return f"browsers do not show {decoded.format} files"
    if decoded.windowed:
        return f"browsers show it almost black: its values use little of their {decoded.bits} bits"
    return None


def render_png(data: bytes, *, max_pixels: int = MAX_PIXELS, longest_side: int = LONGEST_SIDE) -> bytes:
    """Return a PNG of what `decode` makes of a file, no longer than `longest_side` pixels.

    Raises:
        UnreadableImage: as `decode` does.
    """
    picture = decode(data, max_pixels=max_pixels)
    if max(picture.size) > longest_side:
        picture.thumbnail((longest_side, longest_side))
    if all(band.tobytes() == picture.getchannel(0).tobytes() for band in picture.split()[1:]):
        picture = picture.getchannel(0)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    return out.getvalue()

"""What an annotator's browser is given: the file itself where browsers show it as we see it, else a PNG of that."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image

from cdsel_backend.pool.bare import bare
from cdsel_backend.pool.columns import FILE_PREFIX
from cdsel_backend.pool.decode import MAX_PIXELS, Decoded, decode, read_image

LONGEST_SIDE = 4096  # pixels of a rendered picture

_SHOWN = frozenset({"JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "AVIF"})  # by Chromium and Firefox
_HIDDEN = (".dcm", ".dicom", ".ima", ".tif", ".tiff", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm")
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp"}


def why_not_shown(decoded: Decoded) -> str | None:
    """Return why no browser shows a decoded file as it is, as the end of a sentence; None where browsers do."""
    if decoded.format not in _SHOWN:
        return f"browsers do not show {decoded.format} files"
    if decoded.windowed:
        return f"browsers show it almost black: its values use little of their {decoded.bits} bits"
    return None


def surely_shown(measures: Mapping[str, object]) -> bool:
    """Whether browsers show a file of which these `pool.measures` are known; False where it has to be looked at."""
    return measures.get(f"{FILE_PREFIX}format") in _SHOWN and measures.get(f"{FILE_PREFIX}bit depth") == 8


def surely_hidden(address: str, measures: Mapping[str, object]) -> bool:
    """Whether no browser shows a file, by its `pool.measures` where they are known, else by the end of its address."""
    known = measures.get(f"{FILE_PREFIX}format")
    if known is not None:
        return known not in _SHOWN
    # Label Studio's local files have their name behind the question mark.
    return any(part.lower().endswith(_HIDDEN) for part in address.split("?"))


def for_browser(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[bytes, str]:
    """Return the bytes of a picture that every browser shows as `decode` does, and the ending of its file's name.

    JPEG, PNG, GIF, BMP and WebP stay as they are, but for colours for print (CMYK) and values that a browser shows
    almost black. All else becomes PNG. Nothing but the picture is left of any file (`pool.bare`).

    Raises:
        UnreadableImage: as `decode`.
    """
    decoded = read_image(data, max_pixels=max_pixels)
    ending = _ENDINGS.get(decoded.format)
    if ending is None or why_not_shown(decoded) is not None or _for_print(data):
        return to_png(decoded.image), ".png"
    alone = _alone(data, decoded.image, max_pixels)
    return (to_png(decoded.image), ".png") if alone is None else (alone, ending)


def _alone(data: bytes, picture: Image.Image, max_pixels: int) -> bytes | None:
    """A file with its picture alone; None where that cannot be had of it as it is."""
    try:
        found = bare(data)
        if found is None or found == data:
            return found
        return found if decode(found, max_pixels=max_pixels).tobytes() == picture.tobytes() else None
    except Exception:  # whatever a file that is built in another way makes of it
        return None


def to_png(picture: Image.Image, *, longest_side: int = LONGEST_SIDE) -> bytes:
    """Encode a picture as PNG, quickly rather than small, no longer than `longest_side` pixels."""
    if max(picture.size) > longest_side:
        picture = picture.copy()
        picture.thumbnail((longest_side, longest_side))
    if all(band.tobytes() == picture.getchannel(0).tobytes() for band in picture.split()[1:]):
        picture = picture.getchannel(0)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _for_print(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return bool(image.mode == "CMYK")

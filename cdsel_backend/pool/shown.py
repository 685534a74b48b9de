"""What an annotator's browser is given: the file itself where browsers show it, else a PNG rendered as we see it."""

from __future__ import annotations

import io

from PIL import Image

from cdsel_backend.pool.decode import decode
from cdsel_backend.pool.dicom import is_dicom

_SHOWN = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp"}
_DEEP = ("I", "F")  # modes of more than 8 bits, which browsers show too dark


def for_browser(data: bytes, *, max_pixels: int) -> tuple[bytes, str]:
    """Return the bytes of a picture that every browser shows as `decode` does, and the ending of its file's name.

    JPEG, PNG, GIF, BMP and WebP stay as they are. DICOM, TIFF and JPEG 2000 files, colours for print (CMYK) and grey
    of more than 8 bits become PNG; of a DICOM file nothing but the picture is left.

    Raises:
        UnreadableImage: as `decode`.
    """
    picture = decode(data, max_pixels=max_pixels)
    kind = None if is_dicom(data) else _kind(data)
    return (data, kind) if kind else (to_png(picture), ".png")


def to_png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG, quickly rather than small."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _kind(data: bytes) -> str | None:
    """The ending of a file that browsers show as we do; None for another."""
    if data.startswith(b"\x89PNG") and data[24:25] == b"\x10":  # 16 bits a channel
        return None
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "CMYK" or image.mode in _DEEP or image.mode.startswith("I;"):
            return None
        return _SHOWN.get(image.format or "")

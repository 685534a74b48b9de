"""The head of a JPEG file, read without Pillow's cost: whether it is of the plain kind that any decoder reads alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image
from PIL.JpegImagePlugin import zigzag_index

from cdsel_backend.pool.decode import jpeg_quality
from cdsel_backend.pool.jpeg_frame import segments

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_PROGRESSIVE = 0xC2
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)  # baseline, extended and progressive, with Huffman's code
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES, _SCAN, _APP1, _APP2, _APP14 = 0xDB, 0xDA, 0xE1, 0xE2, 0xEE
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class JpegHead:
    """What the head of a file says.

    The picture's `size` (width, height), the `quality` that it was saved with, and whether it comes in several scans.
    """

    size: tuple[int, int]
    quality: int | None
    progressive: bool = False

    @property
    def pixels(self) -> int:
        """Width x height."""
        return self.size[0] * self.size[1]


def read_head(data: bytes) -> JpegHead | None:
    """Read the head of a whole JPEG file of 8 bits, grey or YCbCr, that is not to be turned; None for all others."""
    if not data.startswith(_START) or not data.endswith(_END):
        return None
    size, quality, progressive = None, None, False
    for marker, at, end in segments(data):
        if marker == _SCAN:
            return JpegHead(size, quality, progressive) if size is not None and 0 not in size else None
        body = data[at + 4 : end]
        if marker in _FRAMES:
            if len(body) < 6 or body[0] != 8 or body[5] not in (1, 3) or body[6::3] == b"RGB":
                return None
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            progressive = marker == _PROGRESSIVE
        elif (
            marker in _OTHER_FRAMES
            or (marker == _APP1 and _is_turned(body))
            or (marker == _APP2 and body.startswith(b"MPF"))
            or (marker == _APP14 and body.startswith(b"Adobe") and body[11:12] != b"\x01")
        ):
            return None
        elif marker == _TABLES and quality is None and len(body) >= 65 and body[0] == 0:
            quality = _quality(body[1:65])
    return None


def _is_turned(body: bytes) -> bool:
    """Whether EXIF data name an orientation; also where they cannot be read, which Pillow may decide."""
    if not body.startswith(b"Exif\0\0"):
        return False
    exif = Image.Exif()
    try:
        exif.load(body)
        return int(exif.get(_ORIENTATION, 1)) != 1
    except Exception:  # whatever damaged EXIF data raise
        return True


@lru_cache(maxsize=256)
def _quality(table: bytes) -> int | None:
    """The quality of a file with this luminance table (64 bytes, in zigzag order)."""
    return jpeg_quality({0: [table[at] for at in zigzag_index]})

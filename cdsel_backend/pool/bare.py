"""A picture's file without what it says beside the picture: EXIF, XMP, IPTC, comments, thumbnails, what follows it.

Devices write there who the patient is, and when and where a picture was taken. Pixels are not encoded anew.
"""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

from PIL import Image

from cdsel_backend.pool.jpeg_frame import segments

_ORIENTATION = 0x0112
_SCAN = 0xDA
_JPEG_TABLES = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD})  # of a frame, of its codes and numbers
_JPEG_KEPT = (b"JFIF\0", b"ICC_PROFILE\0", b"Adobe")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
    | {b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs", b"cICP"}
)
_GIF_COMMENT, _GIF_OF_PROGRAM, _GIF_LOOPS = 0xFE, 0xFF, (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_EXTENDED, _EXIF_AND_XMP = b"VP8X", 0x0C


def bare(data: bytes) -> bytes | None:
    """The file with its picture alone, and its orientation; itself where there is no more, None for other formats.

    Raises:
        ValueError, IndexError, struct.error: it is not built as its format says.
    """
    if data.startswith(b"\xff\xd8"):
        return _bare_jpeg(data)
    if data.startswith(_PNG):
        return _bare_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _bare_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _bare_gif(data)
    return data if data.startswith(b"BM") else None


def _exif_of(data: bytes) -> bytes:
    """EXIF data that say how a picture is turned and nothing else; none for an upright one."""
    turn = 1
    with suppress(Exception), Image.open(io.BytesIO(data)) as image:  # unreadable EXIF data turn nothing
        turn = int(image.getexif().get(_ORIENTATION, 1))
    if turn not in range(2, 9):
        return b""
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    return exif.tobytes()


def _bare_jpeg(data: bytes) -> bytes:
    kept, exif = [data[:2]], _exif_of(data)
    for marker, at, end in segments(data):
        if marker == _SCAN:
            break
        if marker in _JPEG_TABLES or data[at + 4 : end].startswith(_JPEG_KEPT):
            kept.append(data[at:end])
    else:
        raise ValueError("it has no scan")
    kept.append(data[at : data.index(b"\xff\xd9", at) + 2])
    if exif:
        first = 2 if len(kept) > 1 and kept[1][1] == 0xE0 else 1
        kept.insert(first, b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    return b"".join(kept)


def _bare_png(data: bytes) -> bytes:
    at, kept = len(_PNG), [_PNG]
    exif = _exif_of(data).removeprefix(b"Exif\0\0")
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name in _PNG_KEPT:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
        if name == b"IHDR" and exif:
            body = b"eXIf" + exif
            kept.append(struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body)))
        if name == b"IEND":
            break
    return b"".join(kept)


def _bare_webp(data: bytes) -> bytes:
    at, end, kept = 12, 8 + int.from_bytes(data[4:8], "little"), []
    while at + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sI", data, at)
        chunk = data[at : at + 8 + length + length % 2]
        if name == _EXTENDED:
            chunk = chunk[:8] + bytes([chunk[8] & ~_EXIF_AND_XMP]) + chunk[9:]
        if name in _WEBP_KEPT:
            kept.append(chunk)
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _bare_gif(data: bytes) -> bytes:
    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10])
    kept = [data[:at]]
    while data[at] != 0x3B:  # its end
        begin, is_extension = at, data[at] == 0x21
        at += 2 if is_extension else 11 + table(data[at + 9])
        name = data[at + 1 : at + 1 + data[at]]
        while data[at]:  # blocks, each after its length
            at += 1 + data[at]
        at += 1
        is_beside = is_extension and (
            data[begin + 1] == _GIF_COMMENT or (data[begin + 1] == _GIF_OF_PROGRAM and name not in _GIF_LOOPS)
        )
        if not is_beside:
            kept.append(data[begin:at])
    return b"".join([*kept, b"\x3b"])

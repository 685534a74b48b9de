"""Files that lack their end: what is there is shown by browsers, so it is used where little is missing."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from cdsel_backend.pool import gif_truncation

_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_MOST_SCANS = 500  # of a JPEG, as libjpeg's own programs bound them; pictures have some ten
_ZEROS = 64  # at the end of a file without an end: more are no picture
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


class Completed(NamedTuple):
    """A file with an end put to it, and the share of it (0 to 1) that was there."""

    data: bytes
    share: float


def complete(data: bytes) -> Completed | None:
    """Return a JPEG, PNG, GIF or BMP file that lacks its end with an end put to it; None where nothing is missing.

    Of other formats, too, it is None. The share is 0 where it cannot be said how much is missing.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _complete_jpeg(data)
    if data.startswith(_PNG):
        return _complete_png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        found = gif_truncation.complete(data)
        return None if found is None else Completed(*found)
    if data.startswith(b"BM"):
        return _complete_bmp(data)
    return None


class _Scan(NamedTuple):
    start: int  # of its entropy-coded data
    components: tuple[int, ...]
    band: tuple[int, int]
    low_bit: int  # the lowest bit of a coefficient that it brings


def _complete_jpeg(data: bytes) -> Completed | None:
    """Estimate what is missing from how far down the picture its last scan reaches.

    Raises ValueError for a file of so many scans that it was made to be decoded for hours: each goes over all pixels.
    """
    scans, progressive, ended = _jpeg_scans(data)
    if len(scans) > _MOST_SCANS:
        raise ValueError(f"it has {len(scans):,} scans, which would take too long: save it again")
    if ended or not scans:
        return None
    filled = data.rstrip(b"\0")
    if len(data) - len(filled) > _ZEROS:  # what a copy that was broken off had not filled yet
        data = filled
        scans, progressive, _ = _jpeg_scans(data)
        if not scans:
            return Completed(data, 0.0)
    whole = data + b"\xff\xd9"
    if progressive and _scan_to_come(scans):
        return Completed(whole, 0.0)
    reached = _rows_reached(data, progressive)
    if reached is None:
        return Completed(whole, 0.0)
    before = scans[-1].start
    share = len(data) / (before + (len(data) - before) / max(reached, 1e-6))
    # Of a picture that is written from above, what matters is how much of it can be seen.
    return Completed(whole, share if progressive else min(reached, share))


def _jpeg_scans(data: bytes) -> tuple[list[_Scan], bool, bool]:
    """Return the scans that begin in the file, whether it is progressive, and whether it ends as a JPEG does."""
    scans: list[_Scan] = []
    progressive, position = False, 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xD9:
            return scans, progressive, True
        if marker in _STANDALONE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        position += 2 + length
        progressive = progressive or marker in _PROGRESSIVE
        if marker == 0xDA:
            if position > len(data) or not segment or len(segment) < 2 * segment[0] + 4:
                break
            components = tuple(segment[1 + 2 * i] for i in range(segment[0]))
            first, last, bits = segment[2 * segment[0] + 1 :][:3]
            scans.append(_Scan(position, components, (first, last), bits & 15))
            # Inside a scan every FF is followed by 00 or a restart marker; the next other marker ends it.
            following = _NEXT_MARKER.search(data, position)
            if following is None:
                return scans, progressive, False
            position = following.start()
    return scans, progressive, data.find(b"\xff\xd9", scans[-1].start) >= 0 if scans else False


def _scan_to_come(scans: list[_Scan]) -> bool:
    """Whether a coefficient of a progressive file still lacks bits after the last scan that began."""
    components = {component for scan in scans for component in scan.components}
    lowest = {(component, k): 14 for component in components for k in range(64)}
    for scan in scans:
        for component in scan.components:
            for k in range(scan.band[0], scan.band[1] + 1):
                lowest[component, k] = scan.low_bit
    return any(lowest.values())


def _rows_reached(data: bytes, progressive: bool) -> float | None:
    """Return how much of the picture (0 to 1, from above) does not depend on what follows the file's last byte.

    The file is decoded twice, with two ends of random bits: rows that agree were in it.
    """
    ends = []
    for seed in (1, 2):
        noise = random.Random(seed).randbytes(4096).replace(b"\xff", b"\x55")
        # A byte before, in case that the file stops inside a marker's two.
        try:
            with Image.open(
                io.BytesIO(data.removesuffix(b"\xff") + noise + b"\xff\xd9"), formats=("JPEG",)
            ) as image:
                if not progressive:  # its last scan brings fine detail only
                    image.draft("L", (image.width // 8, image.height // 8))
                ends.append(np.asarray(image.convert("L"), dtype=np.int16))
        except Exception:  # as in `decode`
            return None
    differ = (ends[0] != ends[1]).any(axis=1)
    return float(differ.argmax() / len(differ)) if differ.any() else 1.0


def _complete_png(data: bytes) -> Completed | None:
    """Inflate what is there and repeat its last row to the picture's end."""
    data = data.rstrip(b"\0")  # as of a copy that was broken off; no PNG ends with zeros
    position, parts, head = len(_PNG), [], []
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if kind == b"IEND" and position + 12 <= len(data):
            return None
        body = data[position + 8 : position + 8 + length]
        if kind == b"IDAT":
            parts.append(body)
        elif not parts and position + 12 + length <= len(data):
            head.append(data[position : position + 12 + length])
        position += 12 + length
    if not head or not parts or head[0][4:8] != b"IHDR":
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[0][8:21])
    row = 1 + -(-width * depth * _CHANNELS.get(colour, 4) // 8)
    if interlaced or any(chunk[4:8] == b"acTL" for chunk in head):
        return Completed(data, 0.0)
    try:
        raw = zlib.decompressobj().decompress(b"".join(parts), row * height)
    except zlib.error:
        return Completed(data, 0.0)
    rows = len(raw) // row
    share = rows / max(height, 1)
    above_again = b"\2" + bytes(row - 1)  # filter 2 with zeros
    raw = raw[: rows * row] + above_again * (height - rows)
    ends = _chunk(b"IDAT", zlib.compress(raw, 1)) + _chunk(b"IEND", b"")
    return Completed(_PNG + b"".join(head) + ends, share)


def _complete_bmp(data: bytes) -> Completed | None:
    """Repeat the last row that is there; the rows of most files run from below."""
    if len(data) < 34:
        return None
    offset, head = struct.unpack("<II", data[10:18])
    if head == 12:
        width, height, _, depth = struct.unpack("<HHHH", data[18:26])
        packed = 0
    else:
        width, height, _, depth, packed = struct.unpack("<iiHHI", data[18:34])
    row, height = -(-width * depth // 32) * 4, abs(height)
    missing = offset + row * height - len(data)
    if row <= 0 or missing <= 0 or packed not in (0, 3, 6):  # packed by runs: its rows are of any length
        return None
    rows = (len(data) - offset) // row
    if rows < 1:
        return Completed(data, 0.0)
    last = offset + rows * row
    return Completed(data[:last] + data[last - row : last] * (height - rows), rows / height)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

"""The segments of a JPEG file's head, and how its frame is coded: who shows files shows the common kinds only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_COMMON = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive, with Huffman's code
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # tables between them
_NEAR_LOSSLESS = 0xF7


@dataclass(frozen=True)
class Frame:
    """What the header of a frame says: its marker, and the bits of a channel."""

    marker: int
    bits: int

    @property
    def common(self) -> bool:
        """Whether browsers, and most programs, show such a file."""
        return self.marker in _COMMON and self.bits == 8

    @property
    def kind(self) -> str:
        """What such a file is called."""
        if self.marker == _NEAR_LOSSLESS:
            return "JPEG-LS"
        if self.marker in _LOSSLESS:
            return "lossless JPEG"
        return "JPEG" if self.marker in _COMMON else "arithmetic or hierarchical JPEG"


def read_frame(data: bytes) -> Frame | None:
    """Read the header of a JPEG file's frame; None where there is none."""
    for marker, at, _ in segments(data) if data.startswith(b"\xff\xd8") else ():
        if marker == _NEAR_LOSSLESS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES):
            return Frame(marker, data[at + 4]) if at + 4 < len(data) else None
    return None


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Go through a JPEG file's segments: the marker, where it stands, and where the segment ends by its own length.

    They end where no marker stands, as in the data of a scan.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end

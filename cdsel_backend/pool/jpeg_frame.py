"""How the frame of a JPEG file is coded: whoever shows files shows those of the common kinds only."""

from __future__ import annotations

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
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _NEAR_LOSSLESS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES):
            return Frame(marker, data[at + 4])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None

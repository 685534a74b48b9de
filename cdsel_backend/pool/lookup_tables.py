"""The lookup tables of DICOM headers (Modality LUT and VOI LUT), in each form in which they are found.

The standard (PS3.3 C.11.1.1 and C.11.2.1.1) has a descriptor of three numbers: how many entries, 0 meaning 65,536; the
value that the first entry is for; the bits of an entry. pydicom applies those of 16-bit words alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_ENTRIES = 2**16
_BYTE = 8  # bits
# A table with so many bits more than its values use is taken to be of those that they use.
_SPARE_BITS = 2


class UnreadableTable(ValueError):
    """A lookup table that does not hold what its descriptor says."""


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A table for values from `first` on: `entries` (n,) of so many `bits`."""

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The entry for each value; values before the table get its first entry, those behind it its last."""
        position = np.rint(np.nan_to_num(np.asarray(values, dtype=np.float64))) - self.first
        return self.entries[position.clip(0, len(self.entries) - 1).astype(np.int64)]

    @property
    def white(self) -> float:
        """The end of the range of its entries.

        Many tables of 10 or 12 bits say that they have 16: then the range is that of the bits which their values use.
        """
        used = int(self.entries.max()).bit_length()
        stated = 0 < used <= self.bits <= 16 and used > self.bits - _SPARE_BITS
        return float(2 ** (self.bits if stated else max(used, 1)) - 1)


def read_table(dataset: Dataset, sequence: str, *, signed: bool) -> LookupTable | None:
    """The first table of a header's sequence; None where it has none.

    Args:
        dataset: the header.
        sequence: `ModalityLUTSequence` or `VOILUTSequence`.
        signed: whether the values that the table is for can be below 0; headers are often wrong about the sign of the
            first one.

    Raises:
        UnreadableTable: the entries are not as many as the descriptor says.
    """
    item = next(iter(dataset.get(sequence) or ()), None)
    if item is None or "LUTDescriptor" not in item or "LUTData" not in item:
        return None
    count, first, bits = (int(number) & 0xFFFF for number in item.LUTDescriptor)
    count = count or MOST_ENTRIES
    if first >= 2**15 and signed:
        first -= 2**16
    words = _words(item.LUTData, ">u2" if item.original_encoding[1] is False else "<u2")
    if len(words) == count:
        entries = words
    elif len(words) == -(-count // 2):  # two entries of 8 bits in a word, the first in its lower half
        entries = np.stack([words & 0xFF, words >> _BYTE], axis=1).ravel()[:count]
    else:
        raise UnreadableTable(
            f"its {sequence} has {number_of(len(words), 'entry', 'entries')}, where its LUT Descriptor says {count}: "
            "export it again, with a window (Window Center and Window Width) instead of a table"
        )
    return LookupTable(first, entries.astype(np.uint16), bits)


def white_of_palette(dataset: Dataset) -> float:
    """The end of the range of a palette's colours; the tables are freed of the byte that makes their length even.

    Many palettes of 8 bits say that they have 16, as those of ultrasound.
    """
    most, bits = 0, _BYTE
    for colour in ("Red", "Green", "Blue"):
        count, _, stated = (
            int(n) & 0xFFFF for n in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        )
        name, count = f"{colour}PaletteColorLookupTableData", count or MOST_ENTRIES
        data = dataset.get(name)
        if data is None:  # in segments
            return float(2**stated - 1)
        if len(data) == count + 1:
            dataset[name].value = data = data[:count]
        wide = len(data) >= 2 * count
        bits = max(bits, stated if wide else _BYTE)
        most = max(most, int(np.frombuffer(data[: 2 * count], dtype="<u2" if wide else "u1").max()))
    return float(2**bits - 1 if most > 255 else 255)


def _words(data: Any, order: str) -> NDArray[np.uint16]:
    """The words of 16 bits that the entries stand in; pydicom gives numbers, one number, or bytes in some order."""
    if isinstance(data, (bytes, bytearray)):
        return np.frombuffer(bytes(data[: len(data) // 2 * 2]), dtype=order).astype(np.uint16)
    numbers = data if hasattr(data, "__len__") else [data]
    return (np.asarray([int(number) for number in numbers], dtype=np.int64) & 0xFFFF).astype(np.uint16)

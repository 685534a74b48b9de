"""The files of one backbone's vectors: what `vector_shards.py` keeps, shard by shard.

`KEY` is a vector's entry in the key files. Whoever writes holds the lock of the folder.
"""

from __future__ import annotations

import mmap
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.store.vectors import BLOCK
from cdsel_backend.whole_file import sync_folder

SHARD = 65_536  # vectors of one file
TAIL = 4_096
"""Of the newest vectors, looked through before the first append: a power cut may have spoilt them."""
KEY = np.dtype([("hash", "V32"), ("exponent", "<i2"), ("forgotten", "<u2"), ("crc", "<u4")])
LEAST_UNSCALED, MOST_UNSCALED = 2.0**-8, 2.0**15  # of a vector's largest value, to be kept as it is


@dataclass
class Shelf:
    """The vectors of one backbone. `count` of them are known to be there; more may have been appended since."""

    folder: Path
    dim: int
    count: int = 0
    mended: bool = False
    mapped: dict[int, tuple[NDArray[np.float16], NDArray[np.void]]] = field(default_factory=dict)
    # The contents known, for `find`: the first 8 bytes of each hash, ascending, and where it lies.
    prefixes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    newest: dict[bytes, int] = field(default_factory=dict)  # those that are not sorted in yet
    indexed: int = 0

    def values_file(self, number: int) -> Path:
        """The file of a shard's vectors."""
        return self.folder / f"{number:06}.f16"

    def keys_file(self, number: int) -> Path:
        """The file of a shard's keys."""
        return self.folder / f"{number:06}.key"

    def refresh(self) -> None:
        """Count what other processes appended."""
        while True:
            number = self.count // SHARD
            here = min(
                _size(self.keys_file(number)) // KEY.itemsize,
                _size(self.values_file(number)) // (2 * self.dim),
            )
            count = number * SHARD + min(here, SHARD)
            if count <= self.count:
                return
            self.count = count
            if count % SHARD:
                return

    def parts(self) -> list[tuple[NDArray[np.float16], NDArray[np.void]]]:
        """Every shard's vectors (m, d) and keys (m,), mapped."""
        return [self._part(number) for number in range(-(-self.count // SHARD))]

    def _part(self, number: int) -> tuple[NDArray[np.float16], NDArray[np.void]]:
        due = min(SHARD, self.count - number * SHARD)
        known = self.mapped.get(number)
        if known is None or len(known[0]) < due:
            values = _mapped(self.values_file(number), np.dtype("<f2"), due * self.dim)
            known = values.reshape(due, self.dim), _mapped(self.keys_file(number), KEY, due)
            self.mapped[number] = known
        return known[0][:due], known[1][:due]

    def mend(self) -> None:
        """Take back the newest vectors from the first on that is damaged; once in a process, by who may write."""
        if self.mended:
            return
        if self.count:
            number = (self.count - 1) // SHARD
            values, keys = self._part(number)
            start = max(0, len(values) - TAIL)
            damaged = damaged_rows(values[start:], keys[start:])
            if len(damaged) and damaged[-1] == len(values) - start - 1:
                # Only what a crash can have left: one run up to the end. Others are for `verify` to name.
                run = damaged[np.flatnonzero(np.diff(damaged, prepend=-2) != 1)[-1]]
                self.count = number * SHARD + start + int(run)
                self.mapped.pop(number)
                self.prefixes, self.positions = self.prefixes[:0], self.positions[:0]
                self.newest.clear()
                self.indexed = 0
        number, row = divmod(self.count, SHARD)
        for file, width in ((self.keys_file(number), KEY.itemsize), (self.values_file(number), 2 * self.dim)):
            if _size(file) > row * width:
                os.truncate(file, row * width)
        self.mended = True

    def write(self, keys: NDArray[np.void], vectors: NDArray[np.float32]) -> None:
        """Append vectors (m, d) with their keys (m,)."""
        for start in range(0, len(keys), BLOCK):
            self._write_block(keys[start : start + BLOCK], vectors[start : start + BLOCK])

    def _write_block(self, keys: NDArray[np.void], vectors: NDArray[np.float32]) -> None:
        halves, exponents = _halved(vectors)
        done = 0
        while done < len(keys):
            number, row = divmod(self.count, SHARD)
            part = slice(done, done + SHARD - row)
            data = halves[part]
            records = np.zeros(len(data), dtype=KEY)
            records["hash"], records["exponent"] = keys[part], exponents[part]
            records["crc"] = _crcs(data)
            _write_at(self.values_file(number), row * 2 * self.dim, data.tobytes())
            _write_at(self.keys_file(number), row * KEY.itemsize, records.tobytes())
            self.count += len(data)
            done += len(data)

    def find(self, keys: NDArray[np.void]) -> NDArray[np.int64]:
        """Positions (m,) of hashes (m,), -1 where unknown."""
        self._index()
        found = np.full(len(keys), -1, dtype=np.int64)
        if len(self.prefixes):
            prefixes = _prefixes(keys)
            start = np.searchsorted(self.prefixes, prefixes)
            for offset in range(len(self.prefixes)):  # one turn, unless hashes begin alike
                at = np.minimum(start + offset, len(self.prefixes) - 1)
                alike = np.flatnonzero(
                    (self.prefixes[at] == prefixes) & (start + offset < len(self.prefixes)) & (found < 0)
                )
                if not len(alike):
                    break
                positions = self.positions[at[alike]]
                records = self._keys(positions)
                # What was forgotten, perhaps by another process, may have been appended anew behind it.
                same = (records["hash"] == keys[alike]) & (records["forgotten"] != 1)
                found[alike[same]] = positions[same]
        if self.newest:
            for row in np.flatnonzero(found < 0).tolist():
                found[row] = self.newest.get(keys[row].tobytes(), -1)
        known = np.flatnonzero(found >= 0)
        found[known[self._keys(found[known])["forgotten"] == 1]] = -1  # meanwhile, by another process
        return found

    def _keys(self, positions: NDArray[np.int64]) -> NDArray[np.void]:
        found = np.empty(len(positions), dtype=KEY)
        shards = positions // SHARD
        for number in np.unique(shards):
            here = shards == number
            found[here] = self._part(int(number))[1][positions[here] - number * SHARD]
        return found

    def _index(self) -> None:
        """Take in what was appended since; a few stay in a dictionary, many are sorted in."""
        if self.indexed == self.count:
            return
        positions = np.arange(self.indexed, self.count)
        records = self._keys(positions)
        known = records["forgotten"] != 1
        new, positions = np.ascontiguousarray(records["hash"][known]), positions[known]
        self.indexed = self.count
        if len(new) + len(self.newest) <= BLOCK:
            self.newest.update(zip([key.tobytes() for key in new], positions.tolist(), strict=True))
            return
        late = np.frombuffer(b"".join(self.newest), dtype="V32")
        prefixes = np.concatenate([self.prefixes, _prefixes(late), _prefixes(new)])
        where = np.concatenate([self.positions, np.fromiter(self.newest.values(), dtype=np.int64), positions])
        order = np.argsort(prefixes, kind="stable")
        self.prefixes, self.positions = prefixes[order], where[order]
        self.newest.clear()


def _prefixes(keys: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(np.frombuffer(keys.tobytes(), dtype="<u8").reshape(-1, 4)[:, 0])


def _halved(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """Vectors (m, d) in half precision, and the exponents (m,) of the powers of two that they were divided by."""
    largest = np.abs(vectors).max(axis=1, initial=0)
    exponents = np.where(
        (largest == 0) | ((largest >= LEAST_UNSCALED) & (largest <= MOST_UNSCALED)), 0, np.frexp(largest)[1]
    ).astype(np.int16)
    if exponents.any():
        vectors = np.ldexp(vectors, -exponents[:, None].astype(np.int32))
    return vectors.astype("<f2"), exponents


def restored(halves: NDArray[np.float16], exponents: NDArray[np.int16]) -> NDArray[np.float32]:
    """Vectors (m, d) as they were before `_halved`, but for the precision."""
    values = halves.astype(np.float32)
    return np.ldexp(values, exponents[:, None].astype(np.int32)) if exponents.any() else values


def as_kept(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (m, d) as they come back from the store."""
    return restored(*_halved(vectors))


def _crcs(values: NDArray[np.float16]) -> NDArray[np.uint32]:
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(-1).data
    width = values.shape[1] * 2
    return np.fromiter(
        (zlib.crc32(rows[start : start + width]) for start in range(0, len(rows), width)),
        dtype=np.uint32,
        count=len(values),
    )


def damaged_rows(values: NDArray[np.float16], keys: NDArray[np.void]) -> NDArray[np.int64]:
    """Rows whose bytes are not those that were written; what is forgotten is none of them."""
    return np.flatnonzero((_crcs(values) != keys["crc"]) & (keys["forgotten"] != 1))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mapped(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), count * dtype.itemsize, access=mmap.ACCESS_READ)
    return np.frombuffer(view, dtype=dtype, count=count)


def _write_at(path: Path, offset: int, data: bytes) -> None:
    """Write bytes at an offset, and see that they are on the disk."""
    new = not path.exists()
    with path.open("w+b" if new else "r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)

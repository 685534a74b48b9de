"""Vectors in memory-mapped files: a `VectorStore` that needs a folder and nothing else.

`FOLDER/BACKBONE/` holds `form.json` (the dimension) and, for each 65,536 vectors, two files that only ever grow:

* `NNNNNN.f16`: the vectors, float16, little endian, one after another; mapped into memory to be read.
* `NNNNNN.key`: 40 bytes a vector: SHA-256 of the content, an exponent, whether it is forgotten, and the CRC-32 of the
  vector's bytes.

A vector is there once its key is: the vectors are written and synced before the keys are. So a writer that is killed
leaves at most bytes beyond the last key, and the next writer writes over them. A file lock, which the system takes
back from a process that dies, keeps writers apart; readers need none.

Half precision holds values of up to 65,504 and loses those below .00006. A vector whose largest value lies outside
2^-8 to 2^15 is therefore kept as multiple of a power of two, the exponent of its key (0 for nearly all).
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.store import vector_shelf
from cdsel_backend.store.vector_shelf import KEY, Shelf, damaged_rows, restored
from cdsel_backend.store.vectors import BLOCK, DamagedVectors, LostVectors
from cdsel_backend.whole_file import write_whole

REMOVED = ".removed-"  # begins the name of a folder that is being deleted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class VectorShards:
    """Vectors in files of a folder, on a disk or on storage that several machines share."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made with the first vector; what was being deleted there is deleted to the end."""
        self._folder = folder
        for left in folder.glob(f"{REMOVED}*"):
            shutil.rmtree(left, ignore_errors=True)
        self._shelves: dict[str, tuple[tuple[int, int], Shelf]] = {}
        self._guard = threading.RLock()

    def append(
        self, backbone: str, hashes: Sequence[str], vectors: NDArray[np.floating[Any]]
    ) -> NDArray[np.int64]:
        """See `VectorStore.append`."""
        keys = _digests(hashes)
        if vectors.ndim != 2 or len(vectors) != len(keys):
            raise ValueError(
                f"{len(keys)} hashes need as many vectors, not an array of shape {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ValueError("a vector is not finite")
        if not len(keys):
            return np.zeros(0, dtype=np.int64)
        with self._guard:
            path = self._path(backbone)
            path.mkdir(parents=True, exist_ok=True)
            with FileLock(path / "lock"):
                shelf = self._shelf(backbone, dim=vectors.shape[1])
                if shelf is None or shelf.dim != vectors.shape[1]:
                    known = shelf.dim if shelf else 0
                    raise ValueError(
                        f"the vectors of {backbone} have {number_of(known, 'value')}, not {vectors.shape[1]}: "
                        "a backbone that gives others needs a fingerprint of its own"
                    )
                shelf.mend()
                positions = shelf.find(keys)
                new = np.flatnonzero(positions < 0)
                if len(new):
                    _, first, inverse = np.unique(keys[new], return_index=True, return_inverse=True)
                    order = np.argsort(first)  # as they came
                    position = np.empty(len(first), dtype=np.int64)
                    position[order] = shelf.count + np.arange(len(first))
                    chosen = new[first[order]]
                    shelf.write(keys[chosen], np.asarray(vectors[chosen], dtype=np.float32))
                    positions[new] = position[inverse]
                return positions

    def find(self, backbone: str, hashes: Sequence[str]) -> NDArray[np.int64]:
        """See `VectorStore.find`."""
        keys = _digests(hashes)
        with self._guard:
            shelf = self._shelf(backbone)
            return shelf.find(keys) if shelf else np.full(len(keys), -1, dtype=np.int64)

    def count(self, backbone: str) -> int:
        """See `VectorStore.count`."""
        with self._guard:
            shelf = self._shelf(backbone)
            return shelf.count if shelf else 0

    def rows(self, backbone: str, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `VectorStore.rows`."""
        with self._guard:
            shelf = self._shelf(backbone)
            if shelf is None:
                if len(positions):
                    raise self._lost(backbone, 0, positions)
                return np.zeros((0, 0), dtype=np.float32)
            if len(positions) and not 0 <= positions.min() <= positions.max() < shelf.count:
                raise self._lost(backbone, shelf.count, positions)
            parts = shelf.parts()
        found = np.empty((len(positions), shelf.dim), dtype=np.float32)
        shards = positions // vector_shelf.SHARD
        for number in np.unique(shards):
            here = np.flatnonzero(shards == number)
            values, keys = parts[number]
            at = positions[here] - number * vector_shelf.SHARD
            for start in range(0, len(here), BLOCK):
                rows, kept = _run(here[start : start + BLOCK]), _run(at[start : start + BLOCK])
                exponents = keys["exponent"][kept]
                found[rows] = restored(values[kept], exponents) if exponents.any() else values[kept]
        return found

    def stream(
        self, backbone: str, *, start: int = 0, block: int = BLOCK
    ) -> Iterator[NDArray[np.floating[Any]]]:
        """See `VectorStore.stream`."""
        with self._guard:
            shelf = self._shelf(backbone)
            parts = shelf.parts() if shelf else []
        for number, (values, keys) in enumerate(parts):
            for low in range(max(0, start - number * vector_shelf.SHARD), len(values), block):
                part = slice(low, low + block)
                exponents = keys["exponent"][part]
                yield restored(values[part], exponents) if exponents.any() else values[part]

    def verify(self, backbone: str) -> NDArray[np.int64]:
        """See `VectorStore.verify`."""
        with self._guard:
            shelf = self._shelf(backbone)
            parts = shelf.parts() if shelf else []
        damaged = [
            damaged_rows(values, keys) + number * vector_shelf.SHARD
            for number, (values, keys) in enumerate(parts)
        ]
        return np.concatenate(damaged) if damaged else np.zeros(0, dtype=np.int64)

    def forget(self, backbone: str, positions: NDArray[np.int64]) -> None:
        """See `VectorStore.forget`."""
        with self._guard, FileLock(self._path(backbone) / "lock"):
            shelf = self._shelf(backbone)
            if shelf is None:
                return
            for position in positions.tolist():
                number, row = divmod(position, vector_shelf.SHARD)
                with shelf.keys_file(number).open("r+b") as file:
                    file.seek(row * KEY.itemsize + KEY.fields["forgotten"][1])  # type: ignore[index]
                    file.write(b"\x01\x00")
            self._shelves.pop(backbone, None)

    def backbones(self) -> list[str]:
        """See `VectorStore.backbones`."""
        names = (path.parent.name for path in self._folder.glob("*/form.json"))
        return sorted(name for name in names if _NAME.fullmatch(name))

    def remove(self, backbone: str) -> None:
        """See `VectorStore.remove`."""
        with self._guard:
            self._shelves.pop(backbone, None)
            aside = self._folder / f"{REMOVED}{backbone}"
            shutil.rmtree(aside, ignore_errors=True)
            # Under its own name a half of it would be taken for vectors, should this be stopped.
            with suppress(FileNotFoundError):
                self._path(backbone).rename(aside)
                shutil.rmtree(aside)

    def size_bytes(self, backbone: str) -> int:
        """See `VectorStore.size_bytes`."""
        with self._guard:
            shelf = self._shelf(backbone)
            return sum(path.stat().st_size for path in shelf.folder.glob("*")) if shelf else 0

    def _lost(self, backbone: str, count: int, positions: NDArray[np.int64]) -> LostVectors:
        return LostVectors(
            f"{self._folder / backbone} holds {number_of(count, 'vector')}, and number {positions.max() + 1:,} is "
            "asked for: restore it from a backup, or run `cdsel pool verify`, and these images are embedded again"
        )

    def _path(self, backbone: str) -> Path:
        if not _NAME.fullmatch(backbone):
            raise ValueError(f"{backbone!r} is no fingerprint of a backbone")
        return self._folder / backbone

    def _shelf(self, backbone: str, *, dim: int | None = None) -> Shelf | None:
        """The shelf of a backbone, up to date; with `dim` it is made where there is none."""
        if dim is None and not _NAME.fullmatch(backbone):
            return None
        path = self._path(backbone)
        form = path / "form.json"
        if dim is not None and not form.exists():
            write_whole(form, json.dumps({"form": 1, "dim": dim, "shard": vector_shelf.SHARD}).encode())
        try:
            status = form.stat()
        except FileNotFoundError:  # none yet, or another process removed them
            self._shelves.pop(backbone, None)
            return None
        # Removed and begun anew by another process, the folder holds others than those that are mapped.
        beginning = status.st_ino, status.st_mtime_ns
        known, shelf = self._shelves.get(backbone, (None, None))
        if shelf is None or known != beginning:
            try:
                shelf = Shelf(path, int(json.loads(form.read_text())["dim"]))
            except (ValueError, KeyError, TypeError) as error:
                raise DamagedVectors(
                    f"{form} is damaged ({error}): restore it from a backup, or delete the folder {path} and the "
                    "images are embedded again"
                ) from error
            self._shelves[backbone] = beginning, shelf
        shelf.refresh()
        return shelf


def _digests(hashes: Sequence[str]) -> NDArray[np.void]:
    """SHA-256 in hex (m,) as bytes (m,) of 32."""
    try:
        data = b"".join(map(bytes.fromhex, hashes))
    except ValueError:
        data = b""
    if len(data) != 32 * len(hashes):
        raise ValueError("a content hash is no SHA-256 in hex (64 digits)")
    return np.frombuffer(data, dtype="V32")


def _run(positions: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Positions (m,), as a slice where each follows the one before: that is read without a copy in between."""
    if len(positions) and (np.diff(positions) == 1).all():
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions

"""The port to wherever vectors are kept: what the house asks of a store of vectors.

A vector belongs to a content (the SHA-256 of an image's bytes) and to a backbone (its fingerprint), not to an item:
equal files share one, in a project and across projects. A store gives each vector a position, counted from 0 for each
backbone, which never changes; the database keeps the positions.

`store/vector_shards.py` is the one that ships. Whatever passes `tests/test_vectors.py` may take its place.

Decision: memory-mapped shards, not Lance. Measured with 1,000,000 vectors of 384 values, appended 1,000 at a time, on
two busy cores (shards; Lance 14):

* appended in 56 s, each synced to the disk; 24 s. CPU 7.7 s each.
* opened in 1 ms; 11 ms. Streamed in .15 s, views without a copy; .98 s (1.7 s compacted).
* 2,000 rows read in 15 ms; 285 ms (39 ms once compacted).
* size 1.05 of the vectors in 34 files; 1.10 in 3,001 files, 1.04 once compacted.
* two writers killed several times at random: nothing lost, in either.
* Lance and pyarrow add 390 MB to every installation. It writes to S3 (.2 s for 1,000 vectors); shards need a folder,
  so several machines share a file system. Who needs a bucket for vectors writes a `VectorStore` on Lance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 16_384  # vectors of one part of a stream


class DamagedVectors(ValueError):
    """What is kept cannot be what was appended; the message names the file or folder and the fix."""


class LostVectors(DamagedVectors, IndexError):
    """Vectors that were appended are not there any more, as where the folder was deleted, or restored without them."""


class VectorStore(Protocol):
    """Vectors in half precision, by backbone. Several threads and processes may append and read at once."""

    def append(
        self, backbone: str, hashes: Sequence[str], vectors: NDArray[np.floating[Any]]
    ) -> NDArray[np.int64]:
        """Keep vectors (m, d) of contents, and return their positions (m,).

        A content that is known keeps its first vector. What was returned survives a crash at any later instant; of
        what was not, a part may be there, whole vectors only.

        Raises:
            ValueError: a vector is not finite, a hash is no SHA-256 in hex, or d is not that of the backbone's others.
        """

    def find(self, backbone: str, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Return the positions (m,) of contents, -1 where there is no vector."""

    def count(self, backbone: str) -> int:
        """Return how many positions there are, 0 for a backbone that nothing was appended for."""

    def rows(self, backbone: str, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (m, d) at positions (m,), in their order, as a copy in float32.

        Raises:
            LostVectors: a position that no vector has.
        """

    def stream(
        self, backbone: str, *, start: int = 0, block: int = BLOCK
    ) -> Iterator[NDArray[np.floating[Any]]]:
        """Yield the vectors from a position on, in order, in parts (up to `block`, d).

        A part is a view of what is kept, read-only and in half precision, without a copy; only where one of its
        vectors exceeds that range, it is a copy in float32.
        """

    def verify(self, backbone: str) -> NDArray[np.int64]:
        """Return the positions of damaged vectors, ascending: those that are not what was appended."""

    def forget(self, backbone: str, positions: NDArray[np.int64]) -> None:
        """Make `find` know the contents at these positions no more, so that they can be appended anew."""

    def backbones(self) -> list[str]:
        """Return the fingerprints that vectors are kept for."""

    def remove(self, backbone: str) -> None:
        """Delete every vector of a backbone; none is no error.

        Stopped midway, it leaves nothing that would be read.

        Raises:
            OSError: they cannot be deleted, or not all of them.
        """

    def size_bytes(self, backbone: str) -> int:
        """Return what the vectors of a backbone take up on disk, in bytes."""

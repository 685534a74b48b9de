"""Nearest neighbours of many vectors in blocks: faiss on the CPU, torch where a GPU is."""

from __future__ import annotations

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

_BLOCK = 4096


def nearest(
    queries: NDArray[np.float32], base: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return squared Euclidean distances (m, k), ascending, and positions (m, k) in `base`; k <= len(base)."""
    if torch.cuda.is_available():
        return _nearest_on_gpu(queries, base, k)
    index = faiss.IndexFlatL2(base.shape[1])
    index.add(np.ascontiguousarray(base))
    square, position = index.search(np.ascontiguousarray(queries), k)
    return np.maximum(square, 0), position


def _nearest_on_gpu(
    queries: NDArray[np.float32], base: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """As `nearest`, by blocks of matrix products; memory on the GPU is `base` and one block."""
    device = torch.device("cuda")
    there = torch.from_numpy(np.ascontiguousarray(base)).to(device)
    norms = (there * there).sum(dim=1)
    squares = np.empty((len(queries), k), dtype=np.float32)
    positions = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(queries[start : start + _BLOCK])).to(device)
        square = (block * block).sum(dim=1, keepdim=True) - 2 * block @ there.T + norms
        found = torch.topk(square, k, dim=1, largest=False, sorted=True)
        squares[start : start + _BLOCK] = found.values.clamp_(min=0).cpu().numpy()
        positions[start : start + _BLOCK] = found.indices.cpu().numpy()
    return squares, positions

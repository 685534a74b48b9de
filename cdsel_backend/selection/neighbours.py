"""Nearest neighbours of many vectors: faiss on the CPU, blocks of torch matrix products where a GPU is."""

from __future__ import annotations

import logging

import faiss
import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)
_BLOCK = 4096
_GPU_PRODUCTS = 1_000_000_000  # multiplications that take the CPU less time than loading torch
_EXACT_DISTANCES = 2_000_000_000  # above so many, an inverted file looks at the likeliest lists only
_PROBES = 16
_EXACT_PRODUCTS = 50_000_000_000  # multiplications above which vectors are compressed first
_AXES = 64
_MOST_ON_GPU = 250_000_000  # distances in its memory at once: 1 GB, several times over
_SAMPLE = 2_000
_STEP = 1e-5  # of the largest value: vectors of equal pictures differ less, as float32 rounds


def nearest(
    queries: NDArray[np.float32], base: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return squared Euclidean distances (m, k), ascending, and positions (m, k) in `base`; k <= len(base).

    The GPU with the most free memory searches from 1 G multiplications on. The CPU, which does where that fails, is
    exact up to 50 G; beyond, vectors are compressed (`_compress`), and beyond 2 G distances an inverted file is
    searched. What it misses comes back at infinite distance, position 0.
    """
    if len(queries) * len(base) * base.shape[1] > _GPU_PRODUCTS and _has_gpu():
        from cdsel_backend.pool.devices import reason_of  # which loads torch

        try:
            return _nearest_on_gpu(queries, base, k)
        except Exception as error:  # of CUDA, whose errors share no base; others may fill its memory
            log.warning("a GPU fails, so the CPU looks for near images: %s", reason_of(error))
    if len(queries) * len(base) * base.shape[1] > _EXACT_PRODUCTS and base.shape[1] > _AXES:
        queries, base = _compress(queries, base)
    base, queries = np.ascontiguousarray(base), np.ascontiguousarray(queries)
    flat = faiss.IndexFlatL2(base.shape[1])
    index: faiss.Index = flat
    if len(queries) * len(base) > _EXACT_DISTANCES:
        index = faiss.IndexIVFFlat(flat, base.shape[1], 4 * int(np.sqrt(len(base))))
        index.nprobe = _PROBES
        index.cp.niter, index.cp.max_points_per_centroid = 4, 40
        index.train(base)
    index.add(base)
    square, position = index.search(queries, k)
    return np.where(position < 0, np.inf, np.maximum(square, 0)).astype(np.float32), np.maximum(position, 0)


def distinct(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows (u,) of the first of each different vector, ascending, and which of them each (n,) equals.

    Vectors (n, d) are equal where they are so up to rounding; none may hold what is not finite.
    """
    step = _STEP * max(float(np.abs(vectors).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    factors = np.random.default_rng(0).integers(2**63, size=vectors.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(vectors), dtype=np.uint64)
    for start in range(0, len(vectors), _BLOCK):
        part = np.round(vectors[start : start + _BLOCK].astype(np.float64) / step).astype(np.int64)
        keys[start : start + _BLOCK] = (part.view(np.uint64) * factors).sum(axis=1)  # modulo 2^64, so exact
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return np.asarray(first[order], dtype=np.int64), place[which.ravel()]


def _compress(
    queries: NDArray[np.float32], base: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep the 64 main axes and, as two more coordinates, the length of what they miss.

    What two vectors miss is taken as orthogonal, so |a - b|^2 is kept but for their product outside the axes.
    """
    sample = base[:: max(1, len(base) // _SAMPLE)]
    mean = sample.mean(axis=0)
    axes = np.linalg.eigh(np.cov((sample - mean).T))[1][:, ::-1][:, :_AXES].astype(np.float32)
    compressed = []
    for own, vectors in enumerate((queries, base)):
        small = np.zeros((len(vectors), _AXES + 2), dtype=np.float32)
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK] - mean
            small[start : start + _BLOCK, :_AXES] = on_axes = block @ axes
            missed = np.einsum("ij,ij->i", block, block) - np.einsum("ij,ij->i", on_axes, on_axes)
            small[start : start + _BLOCK, _AXES + own] = np.sqrt(np.maximum(missed, 0))
        compressed.append(small)
    return compressed[0], compressed[1]


def _has_gpu() -> bool:
    import torch  # here, not above: the web server and most trainings have no need of it, and it is slow to load

    return torch.cuda.is_available()


def _nearest_on_gpu(
    queries: NDArray[np.float32], base: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """As `nearest`, exact, by blocks of matrix products; memory on the GPU is `base` and one block."""
    import torch

    from cdsel_backend.pool.devices import freest

    device = freest(torch.device("cuda"))
    there = torch.from_numpy(np.ascontiguousarray(base)).to(device)
    norms = (there * there).sum(dim=1)
    squares = np.empty((len(queries), k), dtype=np.float32)
    positions = np.empty((len(queries), k), dtype=np.int64)
    rows = max(1, min(_BLOCK, _MOST_ON_GPU // max(len(base), 1)))
    for start in range(0, len(queries), rows):
        block = torch.from_numpy(np.ascontiguousarray(queries[start : start + rows])).to(device)
        square = (block * block).sum(dim=1, keepdim=True) - 2 * block @ there.T + norms
        found = torch.topk(square, k, dim=1, largest=False, sorted=True)
        squares[start : start + rows] = found.values.clamp_(min=0).cpu().numpy()
        positions[start : start + rows] = found.indices.cpu().numpy()
    return squares, positions

"""Vectors of labelled history, from a file or from its images, and what a fine-tune reads of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.backbones import View, load_backbone
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.pictures import named, read_pictures
from cdsel_backend.sources.image_cells import image_file, require_images
from cdsel_backend.table import Row, UsageError
from cdsel_backend.whole_file import whole_file

Progress = Callable[[str, int, int], None]


def read_embeddings(path: Path, rows: int) -> NDArray[np.float32]:
    """Read (rows, d) vectors from a .npy file. Raises UsageError when it is no such file or has other rows."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise UsageError(f"--embeddings: {path} is no .npy file of numbers ({fault})") from fault
    if not isinstance(vectors, np.ndarray):  # .npz
        raise UsageError(
            f"--embeddings: {path} is no .npy file of numbers (it holds several arrays): save one by np.save"
        )
    if not np.issubdtype(vectors.dtype, np.floating):
        raise UsageError(f"--embeddings: {path} holds {vectors.dtype}; save the vectors as float32")
    if vectors.ndim != 2 or len(vectors) != rows or not vectors.shape[1]:
        raise UsageError(
            f"--embeddings: {path} holds {vectors.shape} {vectors.dtype}; the table has "
            f"{number_of(rows, 'row')}, one vector each"
        )
    return np.asarray(vectors, dtype=np.float32)


def embed_folder(
    rows: Sequence[Row],
    folder: Path,
    image_column: str,
    *,
    cache: Path,
    backbone: str,
    progress: Progress,
    features: Features = "depths",
    view: View = "close",
) -> tuple[NDArray[np.float32], list[str]]:
    """Embed the images that the table names; return vectors (n, d), NaN where there is none, and the problems.

    Vectors are kept in `cache` by the content of the file and the backbone, so that a later run embeds nothing
    twice.
    """
    require_images(rows, folder, image_column)
    name, weights = named(backbone)
    network = load_backbone(name, weights=weights, features=features, view=view)
    store = _Cache(cache / f"{network.fingerprint}.npz", network.dim)
    hashes: list[str | None] = [None] * len(rows)
    problems = []
    names = [row[image_column] for row in rows]
    sources = ((i, _reader(image_file(folder, name))) for i, name in enumerate(names))
    found = embed_images(network, sources, known=lambda digests: store.vectors, decoder=network.decoder)
    try:
        for done, item in enumerate(found, start=1):
            hashes[item.key] = item.content_hash
            if item.vector is not None and item.content_hash is not None:
                store.vectors[item.content_hash] = item.vector
            if item.error:
                problems.append(f"{names[item.key]}: {item.error}")
            progress("Embedding images", done, len(rows))
    finally:
        store.save()
    empty = np.full(network.dim, np.nan, dtype=np.float32)
    vectors = np.stack([store.vectors.get(digest or "", empty) for digest in hashes])
    if len(problems) == len(rows):
        raise UsageError(
            f"--images: none of {number_of(len(rows), 'image')} could be used; the first: {problems[0]}"
        )
    return vectors, problems


def with_pictures(
    sets: Mapping[str, Dataset],
    rows: Sequence[Row],
    folder: Path,
    image_column: str,
    *,
    backbone: str,
    features: Features,
    view: View,
    file: Path,
    progress: Progress,
) -> tuple[dict[str, Dataset], list[str]]:
    """Return datasets of one table with what a fine-tune reads of their images, and the problems as sentences.

    Items whose image cannot be used are left out. `file` is written, and needed as long as the datasets are.
    """
    require_images(rows, folder, image_column)
    needed = np.unique(np.concatenate([data.rows for data in sets.values()]))
    names = [row[image_column] for row in rows]
    pictures, problems = read_pictures(
        [(int(row), _reader(image_file(folder, names[row]))) for row in needed],
        len(rows),
        backbone=backbone,
        features=features,
        view=view,
        file=file,
        progress=lambda done: progress("Reading images for the fine-tune", done, len(needed)),
    )
    if len(problems) == len(needed):
        raise UsageError(
            f"--images: none of {number_of(len(needed), 'image')} could be used; the first: "
            f"{names[needed[0]]}: {problems[int(needed[0])]}"
        )
    seen = {
        key: replace(data.take(~np.isin(data.rows, list(problems))), pictures=pictures)
        for key, data in sets.items()
    }
    return seen, [f"{names[row]}: {problem}" for row, problem in problems.items()]


def _reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as fault:
            raise UnreadableImage(f"cannot be read: {fault.strerror}") from fault

    return read


class _Cache:
    """Vectors by content hash, in one file a backbone."""

    def __init__(self, path: Path, dim: int) -> None:
        self._path = path
        self.vectors: dict[str, NDArray[np.float32]] = {}
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                if kept["vectors"].shape[1:] == (dim,):
                    self.vectors = dict(zip(kept["hashes"].tolist(), kept["vectors"], strict=True))
        self._before = len(self.vectors)

    def save(self) -> None:
        """Write what is new, so that the file is whole at every moment."""
        if len(self.vectors) == self._before:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path) as draft:
            np.savez(
                draft, hashes=np.array(list(self.vectors)), vectors=np.stack(list(self.vectors.values()))
            )

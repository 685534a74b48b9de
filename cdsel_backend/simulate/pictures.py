"""The images of a table as a fine-tune reads them, and the fine-tune of one cell of a backtest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.backbones import find_device, load_network
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.split import SplitNetwork
from cdsel_backend.training import NotEnoughLabels
from cdsel_backend.training.finetune import VIEWS, balancing_rows, fine_tune

if TYPE_CHECKING:
    from cdsel_backend.simulate.dataset import Dataset


@dataclass(frozen=True)
class Pictures:
    """What the front of a network makes of the images of a table of N rows.

    `file`: .npy of (N, 1 + views, *shape) float16, the image's own activations and those of its altered copies;
    `backbone`: the network's timm name.
    """

    file: Path
    backbone: str

    def activations(self, rows: NDArray[np.int64], views: slice) -> NDArray[np.float16]:
        """Return those of some rows of the table, (m, v, *shape)."""
        return np.asarray(np.load(self.file, mmap_mode="r")[rows][:, views])


def read_pictures(
    sources: Sequence[tuple[int, Callable[[], bytes]]],
    size: int,
    *,
    backbone: str,
    file: Path,
    progress: Callable[[int], None],
) -> tuple[Pictures, dict[int, str]]:
    """Run the front of a network on images, and keep what it makes of them in `file`.

    `sources` are (row, function that gives the bytes) of a table of `size` rows. Also returns row -> problem in
    words for images that cannot be used. Raises BackboneError.
    """
    network = _network(backbone, VIEWS)
    kept = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        file, mode="w+", dtype=np.float16, shape=(size, 1 + VIEWS, *network.shape)
    )
    problems = {}
    for done, item in enumerate(embed_images(network, sources), start=1):
        if item.vector is None:
            problems[item.key] = str(item.error)
        else:
            kept[item.key] = item.vector
        progress(done)
    kept.flush()
    return Pictures(file, backbone), problems


@dataclass(frozen=True, eq=False)
class Trial:
    """A fine-tune: the probabilities (m, c) of the test set, and whether it won on labels that it had not seen."""

    probabilities: NDArray[np.float64]
    wins: bool


def tune(pool: Dataset, test: Dataset, labels: NDArray[np.int64], seed: int) -> Trial | None:
    """Fine-tune on the labelled items of the pool (n,), -1 = unlabelled, as a project's training does.

    None where the labels do not suffice.
    """
    assert pool.pictures is not None
    assert test.pictures is not None
    labelled = labels >= 0
    used = np.union1d(np.flatnonzero(labelled), balancing_rows(len(pool)))
    network = _network(pool.pictures.backbone, 0)
    try:
        tuned = fine_tune(
            network,
            pool.pictures.activations(pool.rows[used], slice(0, 1))[:, 0],
            pool.pictures.activations(pool.rows[labelled], slice(1, None)),
            [column.take(used) for column in pool.columns],
            labels[used],
            classes=pool.classes,
            groups=pool.groups[used],
            seed=seed,
        )
    except NotEnoughLabels:
        return None
    vectors = network.vectors(test.pictures.activations(test.rows, slice(0, 1))[:, 0])
    return Trial(tuned.head.predict(vectors, test.columns), tuned.wins)


@cache
def _network(backbone: str, views: int) -> Any:
    """The network, cut in two, once a process: `fine_tune` resets its tail, and the front has no memory."""
    return SplitNetwork(load_network(backbone), find_device("auto"), views=views)

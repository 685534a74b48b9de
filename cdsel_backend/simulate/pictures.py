"""The images of a table as a fine-tune reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.pool.backbones import View
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.devices import find_device, freest
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.network import load_network
from cdsel_backend.pool.split import SplitNetwork, tuned_reading
from cdsel_backend.training.finetune import VIEWS


@dataclass(frozen=True)
class Pictures:
    """What the front of a network makes of the images of a table of N rows.

    `file`: .npy of (N, 1 + views, *shape) float16, the image's own activations and those of its altered copies;
    `backbone`: the network's timm name; `features` and `view` as they were read for the pool's vectors.
    """

    file: Path
    backbone: str
    features: Features
    view: View

    def activations(self, rows: NDArray[np.int64], views: slice) -> NDArray[np.float16]:
        """Return those of some rows of the table, (m, v, *shape)."""
        return np.asarray(np.load(self.file, mmap_mode="r")[rows][:, views])


def read_pictures(
    sources: Sequence[tuple[int, Callable[[], bytes]]],
    size: int,
    *,
    backbone: str,
    features: Features,
    view: View,
    file: Path,
    progress: Callable[[int], None],
) -> tuple[Pictures, dict[int, str]]:
    """Run the front of a network on images, and keep what it makes of them in `file`.

    `sources` are (row, function that gives the bytes) of a table of `size` rows. Also returns row -> problem in
    words for images that cannot be used. Raises BackboneError.
    """
    network = cut_network(backbone, features, view, VIEWS)
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
    return Pictures(file, backbone, features, view), problems


def named(backbone: str) -> tuple[str, str | None]:
    """The timm name of `name` or `name=FILE`, and its weights: a local checkpoint, None for pretrained ones."""
    name, _, weights = backbone.partition("=")
    return name, weights or None


def cut_network(backbone: str, features: Features, view: View, views: int) -> SplitNetwork:
    """The network, cut in two as a fine-tune reads it, on a GPU where there is one."""
    name, weights = named(backbone)
    device = freest(find_device("auto"))
    features, view = tuned_reading(device, features, view)
    return SplitNetwork(
        load_network(name, weights=weights), device, features=features, view=view, views=views
    )

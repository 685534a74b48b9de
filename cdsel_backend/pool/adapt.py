"""Self-supervised adaptation of a backbone to unlabelled pictures, by the library lightly (MIT licence).

Of every picture two altered views are made. Their vectors shall be alike, while over a batch each value of the vectors
varies and no two values say the same (VICReg: Bardes, Ponce & LeCun 2022, ICLR). No label is read, so none can leak.
The running means of batch normalisation stay: a batch here is too small to replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import Network, ready_timm

LEAST_BATCH = 8  # pictures: of fewer, nothing is known of how values vary
_PROJECTED = 1024  # width of the space in which views are compared
_DECAY = 1e-4
_LEAST_SCALE = 0.4  # of a picture's area that a view shows
_COLOUR = 0.3  # strength of the change of colours, which in medicine carry meaning; lightly's own is .5 to 1

# Imported by name, since they have no types and are not always there.
_LIGHTLY = ("lightly.loss", "lightly.models.modules", "lightly.transforms")

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Adaptation:
    """How to adapt: passes over the pictures, pictures a step, and the rate of learning."""

    epochs: int = 10
    batch: int = 64
    rate: float = 1e-4

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < LEAST_BATCH or not self.rate > 0:
            raise ValueError(
                f"{self.epochs} epochs, {self.batch} pictures a step at a rate of {self.rate:g}: epochs must be 1 or "
                f"more, pictures {LEAST_BATCH} or more, the rate above 0"
            )


def adapt(
    network: Network,
    read: Callable[[int], Image.Image],
    count: int,
    options: Adaptation = Adaptation(),
    *,
    device: torch.device | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total, loss: None,
) -> None:
    """Adapt a network's weights in place to `count` pictures.

    Args:
        network: see `load_network`.
        read: gives the RGB picture of a number from 0 to count - 1.
        count: at least one step's worth.
        options: how.
        device: where; the CPU by default. The network is on the CPU again afterwards.
        seed: the same input, seed and number of threads give the same weights on the CPU.
        progress: called with steps done, all steps, and the loss of the step.

    Raises:
        BackboneError: the library is not installed, or the pictures are fewer than one step takes.
    """
    if count < options.batch:
        raise BackboneError(
            f"{number_of(count, 'picture is', 'pictures are')} fewer than the {options.batch} of one step: name a "
            f"folder with more, or a smaller --batch, of {LEAST_BATCH} or more"
        )
    where = device or torch.device("cpu")
    with _seeded(seed, where):
        views, loss_of, projection = _parts(network)
        model = network.model.eval().requires_grad_(True).to(where)
        projection.to(where)
        weights = [*model.parameters(), *projection.parameters()]
        optimiser = torch.optim.AdamW(weights, lr=options.rate, weight_decay=_DECAY)
        batches = _batches(count, options, np.random.default_rng(seed))
        total = options.epochs * (count // options.batch)
        for done, rows in enumerate(batches, start=1):
            pairs = [views(read(int(row))) for row in rows]
            both = torch.stack([pair[side] for side in (0, 1) for pair in pairs]).to(where)
            first, second = projection(model(both)).chunk(2)
            loss = loss_of(first, second)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            progress(done, total, float(loss.detach()))
    model.requires_grad_(False).to("cpu")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's chance and numpy's, from which lightly draws its views, and give both back as they were."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _batches(count: int, options: Adaptation, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The pictures of each step; what is left over of an epoch is left out of it."""
    for _ in range(options.epochs):
        order = rng.permutation(count)
        for start in range(0, count - options.batch + 1, options.batch):
            yield order[start : start + options.batch]


def _parts(network: Network) -> tuple[Any, Any, nn.Module]:
    """What makes two views of a picture, the loss, and the projection into the space where they are compared."""
    ready_timm()  # so that torchvision can be imported beside a CPU build of torch
    try:
        losses, heads, transforms = (import_module(name) for name in _LIGHTLY)
    except ImportError as error:
        raise BackboneError(
            "adapting a backbone needs the extra: pip install 'cdsel-backend[adapt]'"
        ) from error
    height, width = network.size
    views = transforms.VICRegTransform(
        input_size=(height, width),
        cj_strength=_COLOUR,
        solarize_prob=0.0,
        min_scale=_LEAST_SCALE,
        vf_prob=0.5,
        normalize={"mean": list(network.mean), "std": list(network.std)},
    )
    with torch.inference_mode():
        dim = int(network.model.eval()(torch.zeros(1, 3, height, width)).shape[1])
    head = heads.BarlowTwinsProjectionHead(dim, _PROJECTED, _PROJECTED)
    return views, losses.VICRegLoss(), head

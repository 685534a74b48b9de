"""What is read of a network: averages of several depths, or its last layer, in one module that takes bytes.

The middle of a network holds textures, edges and colours that its last layer, made for the classes it was trained
on, has thrown away; simulate/EVIDENCE.md has what that is worth. Of each depth two averages are taken: over the whole
map, so that a finding at the rim counts, and weighted towards the middle of it, where a picture's subject usually is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.fx
from torch import nn

Features = Literal["depths", "last"]

MIDDLE = 0.28
"""Standard deviation of the weights of the middle, as a share of half the map's side."""
COARSE = 8  # pixels a cell of a map from which it says more than edges
_WIDEST = 5120  # numbers of a vector: more would make a pool of 100,000 images unwieldy
_LAST_BLOCKS = 4  # of a transformer, as its authors' linear probes take


@dataclass(frozen=True)
class Depths:
    """Which levels are read: `indices` of timm's `forward_intermediates`, called with `options`.

    `class_token`: each level has one, which is read beside the averages.
    """

    indices: tuple[int, ...]
    options: Mapping[str, bool]
    class_token: bool


class Encoder(nn.Module):
    """Scaling, one pass of a network and pooling: all that makes vectors of prepared pictures, for any runtime.

    It takes uint8 pictures (m, height, width, 3) and gives float32 vectors (m, dim).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, model: nn.Module, mean: Sequence[float], std: Sequence[float], depths: Depths | None
    ) -> None:
        """Take a timm network without classifier, the scale of its channels (0-1), and what to read: None, the last."""
        super().__init__()
        self.model = model
        self.depths = depths
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors (m, dim) of pictures (m, height, width, 3)."""
        # (m, h, w, 3) seen as (m, 3, h, w) is already channels_last: nothing is copied but the cast.
        batch = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return read(self.model, batch, self.depths)


class Reader(nn.Module):
    """A network as `torch.fx` may trace it: scaled pictures (m, 3, height, width) -> vectors (m, dim)."""

    def __init__(self, model: nn.Module, depths: Depths | None) -> None:
        super().__init__()
        self.model = model
        self.depths = depths

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Vectors (m, dim) float32."""
        return read(self.model, batch, self.depths)


def read(model: nn.Module, batch: torch.Tensor, depths: Depths | None) -> torch.Tensor:
    """Vectors (m, dim) float32 of scaled pictures (m, 3, height, width): the depths, or for None the last layer."""
    if depths is None:
        last: torch.Tensor = model(batch)
        return last.float()
    parts = []
    for level, token in read_levels(model, batch, depths):
        parts.append(averages(level))
        if token is not None:
            parts.append(token.float())
    return torch.cat(parts, dim=1)


def read_levels(
    model: nn.Module, batch: torch.Tensor, depths: Depths
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """The maps (m, channels, h, w) of the levels, each with its class token (m, channels) where there is one."""
    levels: Any = model.forward_intermediates
    indices = list(depths.indices) or None
    found = []
    for level in levels(batch, indices=indices, intermediates_only=True, **depths.options):
        grid, tokens = level if isinstance(level, (tuple, list)) else (level, None)
        found.append((grid, tokens[:, 0] if tokens is not None and depths.class_token else None))
    return found


@torch.inference_mode()
def find_depths(model: nn.Module, size: tuple[int, int]) -> Depths | None:
    """What to read of a timm network with pictures of `size` (height, width); None where it gives but its last layer.

    A network whose maps become coarser: every level from 8 pixels a cell on, without the last, which is the most of
    all made for the classes of its training. One whose maps keep their size (a vision transformer): its last four
    blocks, fewer where they are wide, after its last normalisation.
    """
    if not hasattr(model, "forward_intermediates"):
        return None
    known = inspect.signature(model.forward_intermediates).parameters  # type: ignore[arg-type]
    wanted = {"extra_blocks": True, "return_prefix_tokens": True}
    options = {name: value for name, value in wanted.items() if name in known}
    every = Depths((), options, getattr(model, "cls_token", None) is not None)
    try:
        levels = read_levels(model, torch.zeros(1, 3, *size), every)
        maps = [level.shape for level, _ in levels]
    except Exception:
        # A network of another kind (several inputs, parts that were cut off): it has its last layer.
        return None
    if not maps or any(len(shape) != 4 for shape in maps):
        return None
    if len({tuple(shape[2:]) for shape in maps}) == 1:
        width = maps[-1][1] * (2 if levels[-1][1] is None else 3)
        count = max(1, min(_LAST_BLOCKS, len(maps), _WIDEST // width))
        if "norm" in known:
            options["norm"] = True
        return Depths(tuple(range(len(maps) - count, len(maps))), options, every.class_token)
    coarse = [number for number, shape in enumerate(maps) if size[0] >= COARSE * shape[2]]
    taken = coarse[:-1] or coarse or [len(maps) - 1]
    while len(taken) > 1 and 2 * sum(maps[number][1] for number in taken) > _WIDEST:
        taken.pop()
    return Depths(tuple(taken), options, every.class_token)


@torch.fx.wrap
def averages(level: torch.Tensor) -> torch.Tensor:
    """The means of a map (m, channels, h, w) over the whole of it, then over its middle: (m, 2 channels) float32."""
    level = level.float()
    rows, columns = (_bell(side, level.device) for side in level.shape[2:])
    middle = ((level * columns).sum(3) * rows).sum(2)
    return torch.cat([level.mean((2, 3)), middle], dim=1)


def _bell(side: int, device: torch.device) -> torch.Tensor:
    """Weights (side,) of the cells of one side of a map: a bell curve over its middle, with sum 1."""
    at = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
    weights = torch.exp(at**2 / (-2 * MIDDLE**2))
    return weights / weights.sum()

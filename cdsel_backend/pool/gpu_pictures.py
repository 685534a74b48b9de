"""Pictures made smaller and measured on a GPU, as `backbones.fit_to` and `measures.look` do on the CPU."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from cdsel_backend.pool.measures import Looks, middle, reduction

_GREY = (19595, 38470, 7471)  # of 65536: how Pillow weighs red, green and blue


def shrink(batch: torch.Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """As `backbones.fit_to`, to a level of 255: (m, 3, h, w) uint8 on any device -> (m, height, width, 3) uint8."""
    height, width = batch.shape[2:]
    # Rounded between the two products, as there.
    resized = (batch.float() @ _weights(width, size[1], batch.device)).round_().clamp_(0, 255)
    resized = (_weights(height, size[0], batch.device).T @ resized).round_().clamp_(0, 255)
    there = resized.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    here = torch.empty(there.shape, dtype=torch.uint8, pin_memory=there.is_cuda)
    here.copy_(there)
    found: NDArray[np.uint8] = here.numpy()
    return found


@lru_cache(maxsize=32)
def _weights(before: int, after: int, device: torch.device) -> torch.Tensor:
    """What each of `before` pixels of a line adds to each of `after`, (before, after) float32.

    Resizing is a product with them: a fraction of the time of torch's own kernel on a GPU.
    """
    lines = torch.eye(before, device=device)[None, None]
    return torch.nn.functional.interpolate(lines, size=(before, after), mode="bicubic", antialias=True)[0, 0]


def look_at(batch: torch.Tensor) -> list[Looks]:
    """As `measures.look`, of pictures (m, 3, h, w) uint8 on any device."""
    height, width = batch.shape[2:]
    by = reduction((width, height))
    small = torch.nn.functional.avg_pool2d(batch.float(), by, ceil_mode=True, count_include_pad=False)
    small = (small + 0.5).floor_()  # as Pillow rounds
    grey = _grey(small).flatten(1)
    red, green, blue = small.unbind(1)
    difference = ((red - green).abs().flatten(1).mean(1) + (green - blue).abs().flatten(1).mean(1)) / 2
    left, top, right, bottom = middle((width, height))
    crop = _grey(batch[:, :, top:bottom, left:right])
    sharpness = torch.zeros_like(difference)
    if min(crop.shape[1:]) >= 3:
        edges = crop[:, :-2, 1:-1] + crop[:, 2:, 1:-1] + crop[:, 1:-1, :-2] + crop[:, 1:-1, 2:]
        sharpness = (edges - 4 * crop[:, 1:-1, 1:-1]).flatten(1).std(1, correction=0)
    table = torch.stack([grey.mean(1), grey.std(1, correction=0), sharpness, difference], 1)
    return [Looks(*row) for row in table.double().cpu().tolist()]


def _grey(batch: torch.Tensor) -> torch.Tensor:
    """Pictures (m, 3, h, w) -> their grey values (m, h, w), rounded as Pillow rounds."""
    weights = torch.tensor(_GREY, dtype=torch.int32, device=batch.device)
    mixed = (batch.to(torch.int32) * weights[:, None, None]).sum(1, dtype=torch.int32)
    return ((mixed + 2**15) >> 16).float()

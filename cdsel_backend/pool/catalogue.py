"""Backbones worth knowing, and how fast one is on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdsel_backend.pool.backbones import View, load_backbone
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.network import DEFAULT, RANDOM

KNOWN: Mapping[str, str] = {
    DEFAULT: "the default: fast without a GPU, its weights come with the package",
    "resnet50.a1_in1k": "the usual convolutional network",
    "convnext_tiny.fb_in22k": "a newer one, from 14 million pictures",
    "vit_small_patch14_dinov2.lvd142m": "self-supervised on 142 million pictures: fine detail, wants a GPU",
    "vit_base_patch14_reg4_dinov2.lvd142m": "the same, larger",
    "vit_small_patch16_dinov3.lvd1689m": "its successor; faster",
    "vit_base_patch16_dinov3.lvd1689m": "the same, larger",
}
"""timm names whose weights are open, with what they are for; medical ones are reached by `hf-hub:owner/name`."""
_SECONDS = 1.0  # of measuring
_BATCH = 8


@dataclass(frozen=True)
class Speed:
    """`size` (height, width) in pixels that it sees, `width` of its vectors, images a second here without decoding."""

    size: tuple[int, int]
    width: int
    images_per_second: float


def measure(name: str, *, device: str = "auto", features: Features = "depths", view: View = "close") -> Speed:
    """Measure a network with untrained weights, which are as fast as trained ones.

    Raises:
        BackboneError: timm knows no such name, or the device is not there.
    """
    backbone = load_backbone(name, weights=RANDOM, device=device, features=features, view=view)
    batch = np.repeat(backbone.example, _BATCH, axis=0)
    backbone.embed_prepared(batch[:1])  # what is only done once
    started, done = time.perf_counter(), 0
    while not done or time.perf_counter() - started < _SECONDS:
        backbone.embed_prepared(batch)
        done += len(batch)
    return Speed(backbone.size, backbone.dim, done / (time.perf_counter() - started))

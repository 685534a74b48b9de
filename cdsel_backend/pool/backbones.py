"""Backbones: networks that turn pictures into vectors, made fast on a CPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from cdsel_backend.pool.decode_gpu import GpuDecoder, find_decoder
from cdsel_backend.pool.depths import MIDDLE, Depths, Encoder, Features, find_depths
from cdsel_backend.pool.devices import find_device
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.folding import fold_batch_norm
from cdsel_backend.pool.network import DEFAULT, Network, load_network
from cdsel_backend.pool.runtime import Precision, Runtime
from cdsel_backend.pool.runtime_choice import make_runtime

View = Literal["close", "fast"]

_CLOSER = 10 / 7  # of the side of a network's own input: twice the pixels, 224 -> 320
_CLOSE_ENOUGH = 384  # pixels a side beyond which nothing is enlarged
_STEP = 32  # pixels: the coarsest grid of common networks


class Backbone:
    """A network that turns pictures into vectors, before any classifier.

    `encoder` is the network as a runtime may compile it: prepared pictures (m, *size, 3) uint8 -> vectors (m, dim)
    float32; `example` is such a picture. `fingerprint`: hash of all that decides a vector, the same in every process.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device,
        *,
        features: Features = "depths",
        view: View = "close",
        precision: Precision = "auto",
        cache: Path | None = None,
        cluster: str = "",
    ) -> None:
        """Take a network, whose model is altered in place, and the device where it shall run.

        Args:
            network: see `load_network`.
            device: see `devices.find_device`.
            features: "depths", averages of several depths (see `find_depths`), or "last", what the network gives.
            view: "close", pictures larger than those the network was trained on, where it takes them, at about twice
                the cost; or "fast", its own size.
            precision: see `make_runtime`.
            cache: see `make_runtime`.
            cluster: address of a Ray cluster that runs the network in place of `device`; none by default.

        Raises:
            BackboneError: weights that the network's checkpoint does not hold have a part in what is read of it, or
                the cluster cannot be used.
        """
        self.name = network.name
        self.device = device
        model = network.model.eval().requires_grad_(False)
        self.size = size_of(network, view)
        depths = find_depths(model, self.size) if features == "depths" else None
        self.fingerprint = fingerprint_of(network, self.size, depths)
        if network.untrained:
            _refuse_untrained(network, Encoder(model, network.mean, network.std, depths).eval(), self.size)
        if device.type == "cpu":
            fold_batch_norm(model)
        encoder = Encoder(model, network.mean, network.std, depths).eval()
        self.encoder: Encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.inference_mode():
            self.dim = int(self.encoder(torch.from_numpy(self.example)).shape[1])
        self.runtime: Runtime
        if cluster:
            from cdsel_backend.pool.runtime_ray import RayRuntime

            self.runtime = RayRuntime(self.encoder, cluster, key=self.fingerprint, precision=precision)
        else:
            self.runtime = make_runtime(
                self.encoder, device, key=self.fingerprint, precision=precision, cache=cache
            )

    @cached_property
    def decoder(self) -> GpuDecoder | None:
        """What decodes on the GPUs for it, made when it is first asked for: it holds memory of them."""
        return find_decoder(self.device, self.size, self.embed_prepared)

    @property
    def batch(self) -> int:
        """Pictures in one pass at which the runtime is fastest."""
        return self.runtime.batch

    @property
    def parallel(self) -> int:
        """Passes at once that keep the device busy."""
        return self.runtime.parallel

    @property
    def problems(self) -> list[str]:
        """Sentences on the GPUs that do not work for it any more."""
        decoder: GpuDecoder | None = vars(self).get("decoder")
        return [*self.runtime.problems, *(decoder.problems if decoder is not None else [])]

    @property
    def example(self) -> NDArray[np.uint8]:
        """A prepared picture, (1, height, width, 3)."""
        return np.zeros((1, *self.size, 3), dtype=np.uint8)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB picture to the input size, (height, width, 3) uint8."""
        return fit_to(image, self.size)

    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 of prepared pictures (m, height, width, 3) uint8."""
        return self.runtime(pixels)

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 of RGB pictures of any size."""
        size = self.batch
        parts = [
            self.embed_prepared(np.stack([self.prepare(image) for image in images[start : start + size]]))
            for start in range(0, len(images), size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)


def fit_to(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a picture to `size` (height, width): (height, width, 3) uint8.

    Bicubic, with the sides squashed rather than cropped: a lesion at the rim stays in view. By torch, which does what
    Pillow does, to a level or two of 255, in a third to a seventh of the time; it was most of decoding. (Decoding a
    JPEG at reduced scale would halve what is left of a large photograph, but moves vectors as much as saving it once
    more: cosine .999 on sharp ones.)
    """
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    # In this order torch sees that it is channels_last, and keeps it so: half the time for a picture of 500 pixels.
    pixels = torch.from_numpy(np.array(rgb))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    # Copied by numpy: torch would start as many threads as there are cores for each thread that reads images.
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def load_backbone(
    name: str = DEFAULT,
    *,
    weights: str | None = None,
    device: str = "auto",
    features: Features = "depths",
    view: View = "close",
    changes: Mapping[str, NDArray[np.float32]] | None = None,
    precision: Precision = "auto",
    cache: Path | None = None,
    cluster: str = "",
) -> Backbone:
    """Load a network by its timm name, ready to embed.

    Args:
        name: see `load_network`.
        weights: see `load_network`.
        device: "auto" (CUDA where there is one), "cpu", "cuda:1", ...
        features: see `Backbone`.
        view: see `Backbone`.
        changes: of a fine-tune, see `Network.change`.
        precision: see `make_runtime`.
        cache: see `make_runtime`.
        cluster: see `Backbone`.

    Raises:
        BackboneError: unknown name, weights that cannot be had or do not fit, unknown device, no such cluster.
    """
    where = find_device(device)
    network = load_network(name, weights=weights)
    if changes is not None:
        network.change(changes)
    return Backbone(
        network, where, features=features, view=view, precision=precision, cache=cache, cluster=cluster
    )


def size_of(network: Network, view: View) -> tuple[int, int]:
    """Height and width of the pictures that a network is given, in pixels (see `Backbone`)."""
    return _closer(network.model.eval(), network.size) if view == "close" else network.size


@torch.inference_mode()
def _closer(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """The input size (height, width) of a closer look; `size` itself for a network that takes no other."""
    most = max(_CLOSE_ENOUGH, *size)
    height, width = (min(round(side * _CLOSER / _STEP) * _STEP, most) for side in size)
    if (height, width) == size:
        return size
    try:
        model(torch.zeros(1, 3, height, width))
    except Exception:
        # Each kind of network has its own way to refuse: assertions, shapes that do not multiply.
        return size
    return height, width


@torch.inference_mode()
def _refuse_untrained(network: Network, encoder: Encoder, size: tuple[int, int]) -> None:
    """Raise BackboneError where a network's untrained weights move a vector: it would be partly chance.

    They are tried: vectors of one picture, as the weights are and with others in their place.
    """
    picture = torch.randint(
        0, 256, (1, *size, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    before = encoder(picture)
    own = network.model.state_dict()
    kept = {name: own[name].clone() for name in network.untrained}
    for tensor in (own[name] for name in network.untrained):
        tensor.copy_(-tensor + 1 if not tensor.is_floating_point() else tensor.roll(1).mul(-1.5).add(0.1))
    after = encoder(picture)
    for name, tensor in kept.items():
        own[name].copy_(tensor)
    if torch.equal(before, after):
        return
    few = ", ".join(network.untrained[:3])
    raise BackboneError(
        f"setting backbone: the weights of {network.name} lack {len(network.untrained)} that its vectors depend on "
        f'({few}): these would be drawn at random. Choose features "depths", which may do without them, another '
        "network, or name a whole checkpoint in backbone_weights"
    )


def fingerprint_of(network: Network, size: tuple[int, int], depths: Depths | None) -> str:
    """The network's own fingerprint for its last layer at its own size; else a hash of that and what is read."""
    if depths is None and size == network.size:
        return network.fingerprint
    read = None if depths is None else [depths.indices, dict(depths.options), depths.class_token, MIDDLE]
    recipe = json.dumps([network.fingerprint, size, read])
    return hashlib.sha256(recipe.encode()).hexdigest()[:32]

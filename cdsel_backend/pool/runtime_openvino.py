"""OpenVINO on the CPU: two to three times torch in float32, more in bfloat16 where the processor has it.

A network is converted once (seconds) and kept in the data folder with what was found out about it on this machine:
its precision and its batch.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import json
import logging
import os
import queue
import sys
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cdsel_backend.pool.runtime import (
    CLOSE,
    SAME,
    Pixels,
    Precision,
    Vectors,
    agreement,
    fastest,
    in_batches,
    run_all,
)
from cdsel_backend.whole_file import remove_left

log = logging.getLogger(__name__)

_BATCHES = (1, 4, 8)
_FRONT = 3  # convolutions that stay in float32 where bfloat16 throughout comes not close enough
_TIMED = 16  # pictures by which batches are compared
_KEPT = 8  # compiled networks in the cache: a fine-tune adds one


@dataclass(frozen=True)
class Plan:
    """How a network is run: `precision` of most of it, its first `exact` convolutions in float32, and the batch."""

    precision: str
    exact: int
    batch: int


class OpenVinoRuntime:
    """A converted network, with one thread a call and a call for each core."""

    problems = ()

    def __init__(self, model: Any, plan: Plan) -> None:
        """Compile a model whose batch is not fixed yet."""
        core = _openvino().Core()
        self.plan = plan
        self.batch = plan.batch
        self.parallel = max(1, torch.get_num_threads())
        exact = f", first {plan.exact} convolutions float32" if plan.exact else ""
        self.name = f"OpenVINO {_version()}, cpu, {plan.precision}{exact}"
        parts = (_cut(model, plan.exact) if plan.exact else None) or [model.clone()]
        precisions = ["f32" if plan.exact else _HINTS[plan.precision], _HINTS[plan.precision]]
        compiled = []
        for part, precision in zip(parts, precisions, strict=False):
            part.reshape([plan.batch, *list(part.input(0).partial_shape)[1:]])
            options = {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": self.parallel,
                "NUM_STREAMS": self.parallel,
                "ENABLE_CPU_PINNING": False,  # decoding shares the cores
            }
            compiled.append(core.compile_model(part, "CPU", options))
        self._free: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        for _ in range(self.parallel):
            self._free.put([network.create_infer_request() for network in compiled])

    def __call__(self, pixels: Pixels) -> Vectors:
        """See `runtime.Runtime`."""
        requests = self._free.get()
        try:
            return in_batches(lambda batch: _infer(requests, batch), pixels, self.batch)
        finally:
            self._free.put(requests)


_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def _infer(requests: list[Any], batch: Pixels) -> Vectors:
    value: Any = batch
    for request in requests:
        value = request.infer({0: value}, share_inputs=True, share_outputs=True)[0]
    return np.array(value, dtype=np.float32)  # a copy: the request writes its next answer there


def available() -> bool:
    """Whether OpenVINO is installed and can be imported."""
    if importlib.util.find_spec("openvino") is None:
        return False
    try:
        _openvino()
    except Exception as error:  # a library that the system lacks, a processor that is too old
        log.warning("OpenVINO cannot be used, torch embeds instead: %s", error)
        return False
    return True


def find(
    encoder: nn.Module,
    key: str,
    cache: Path | None,
    pixels: Pixels,
    vectors: Vectors,
    precision: Precision,
) -> OpenVinoRuntime | None:
    """Convert a network, choose precision and batch by real pictures, and keep the result in `cache`.

    bfloat16 where the processor computes in it and every picture agrees to `CLOSE`, if need be with the first
    convolutions in float32; else float32, which must agree to `SAME`; None where even that does not.
    """
    for plan, model in _candidates(encoder, len(pixels), pixels.shape[1:], precision):
        runtime = OpenVinoRuntime(model, plan)
        cosine = agreement(run_all(runtime, pixels), vectors)
        log.info("%s: cosine to torch %.5f at the least", runtime.name, cosine)
        if cosine >= (SAME if plan.precision == "float32" else CLOSE):
            others = [Plan(plan.precision, plan.exact, batch) for batch in _BATCHES if batch != plan.batch]
            chosen = fastest([runtime, *(OpenVinoRuntime(model, other) for other in others)], pixels[:_TIMED])
            assert isinstance(chosen, OpenVinoRuntime)
            if cache is not None:
                _keep(_file(key, cache, precision), model, chosen.plan)
            return chosen
    log.warning("OpenVINO's vectors differ from torch's: torch goes on")
    return None


def load(key: str, cache: Path | None, precision: Precision) -> OpenVinoRuntime | None:
    """The runtime that `find` kept for this network on this machine; None where there is none that can be read."""
    if cache is None:
        return None
    file = cache
    try:
        file = _file(key, cache, precision)
        if not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        # Weights of which some are others give vectors all the same.
        if kept.pop("crc", None) != _crc(file):
            raise ValueError("it is not what was written")
        plan = Plan(**kept)
        runtime = OpenVinoRuntime(_openvino().Core().read_model(file.with_suffix(".xml")), plan)
    except Exception as error:  # OpenVINO's errors share no base
        log.warning("%s cannot be read, the network is converted again: %s", file, error)
        return None
    log.info("images are embedded by %s, in batches of %d", runtime.name, runtime.batch)
    return runtime


def _candidates(encoder: nn.Module, most: int, shape: tuple[int, ...], precision: Precision) -> Any:
    """Plans and their models, the fastest first; a model is converted only when it is come to."""
    batch = min(4, most)
    if precision == "auto" and "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        rounded = copy.deepcopy(encoder)
        round_weights(rounded)
        model = _convert(rounded, shape)
        for exact in (0, _FRONT):
            if not exact or _cut(model, exact) is not None:
                yield Plan("bfloat16", exact, batch), model
    yield Plan("float32", 0, batch), _convert(encoder, shape)


def _convert(encoder: nn.Module, shape: tuple[int, ...]) -> Any:
    model = _openvino().convert_model(encoder, example_input=torch.zeros(2, *shape, dtype=torch.uint8))
    model.reshape([-1, *shape])
    return model


@torch.no_grad()
def round_weights(module: nn.Module) -> None:
    """Round the kernels of every convolution to bfloat16 so that each keeps its sum, in place.

    A picture is smooth: what a kernel makes of an even patch is its sum times the patch. Rounding each weight to the
    nearest number moves that sum at random, and where a folded batch norm made large weights of both signs, by much;
    that was most of what bfloat16 did to the vectors. So some weights are rounded the other way.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.weight[0, 0].numel() > 1:
            part.weight.copy_(_rounded(part.weight.flatten(2)).view_as(part.weight))


def _rounded(kernels: torch.Tensor) -> torch.Tensor:
    """Kernels (out, in, n) float32 as numbers of bfloat16, the sum of each as near to its own as single steps allow."""
    nearest = kernels.bfloat16().float()
    error = nearest - kernels
    # The number of bfloat16 on the other side of the weight: its bits are one step further in the upper half.
    away = torch.where(error > 0, -1, 1) * torch.where(nearest >= 0, 1, -1) * 2**16
    other = (nearest.view(torch.int32) + away.to(torch.int32)).view(torch.float32)
    step = torch.where((error == 0) | (nearest == 0), torch.inf, other - nearest)
    total = error.sum(-1, keepdim=True)
    for _ in range(kernels.shape[-1]):
        at = (total + step).abs().argmin(-1, keepdim=True)
        move = step.gather(-1, at)
        better = (total + move).abs() < total.abs()
        move = torch.where(better, move, 0.0)
        nearest.scatter_add_(-1, at, move)
        step.scatter_(-1, at, torch.where(better, torch.inf, step.gather(-1, at)))
        total += move
    return nearest


def _cut(model: Any, convolutions: int) -> list[Any] | None:
    """A model in two, the first with so many convolutions; None where not everything passes one point there."""
    ov = _openvino()
    front, back = model.clone(), model.clone()

    def border(part: Any) -> Any:
        found = [
            op for op in part.get_ordered_ops() if op.get_type_name() in ("Convolution", "GroupConvolution")
        ]
        return found[convolutions].input_value(0) if len(found) > convolutions else None

    if (end := border(front)) is None:
        return None
    begin = border(back)
    taken = ov.opset1.parameter(begin.get_partial_shape(), ov.Type.f32)
    for user in list(begin.get_target_inputs()):
        user.replace_source_output(taken.output(0))
    try:
        return [
            ov.Model([ov.opset1.result(end)], front.get_parameters()),
            ov.Model(back.get_results(), [taken]),
        ]
    except RuntimeError:  # the second still asks for the picture itself
        return None


def _file(key: str, cache: Path, precision: Precision) -> Path:
    ov = _openvino()
    machine = [
        ov.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        _version(),
        torch.get_num_threads(),
        precision,
    ]
    return cache / f"{key[:16]}-{hashlib.sha256(json.dumps(machine).encode()).hexdigest()[:8]}.json"


def _keep(file: Path, model: Any, plan: Plan) -> None:
    """Write the model, then the plan that says it is whole; drop the oldest beyond `_KEPT`, and drafts left behind."""
    stem = file.with_name(f".{file.stem}-{os.getpid()}")  # a point would begin a suffix, which is replaced
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _openvino().save_model(model, stem.with_suffix(".xml"), compress_to_fp16=False)
        plan_and_sum = json.dumps({**asdict(plan), "crc": _crc(stem)})
        stem.with_suffix(".json").write_text(plan_and_sum, encoding="utf-8")
        for suffix in (".bin", ".xml", ".json"):
            stem.with_suffix(suffix).replace(file.with_suffix(suffix))
        kept = sorted(file.parent.glob("[!.]*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[_KEPT:]:
            for suffix in (".json", ".xml", ".bin"):
                old.with_suffix(suffix).unlink(missing_ok=True)
        remove_left(file.parent.glob(".*"))
    except (OSError, RuntimeError) as error:  # which OpenVINO raises where the disk is full
        log.warning("the compiled network is not kept, and will be made again: %s", error)
        with contextlib.suppress(OSError):
            for suffix in (".bin", ".xml", ".json"):
                stem.with_suffix(suffix).unlink(missing_ok=True)


def _crc(file: Path) -> int:
    """The CRC-32 of a model that is kept under this name, of both of its files."""
    crc = 0
    for suffix in (".xml", ".bin"):
        with file.with_suffix(suffix).open("rb") as model:
            while part := model.read(2**20):
                crc = zlib.crc32(part, crc)
    return crc


@cache
def _openvino() -> Any:
    """OpenVINO, without its telemetry, which on import would report to its makers unless somebody had forbidden it."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    with contextlib.suppress(ImportError):
        import openvino.opset1
    return openvino


def _version() -> str:
    return str(_openvino().__version__).partition("-")[0]

"""The runtime that is the fastest on the machine at hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cdsel_backend.pool.runtime import Adaptive, Precision, Runtime, TorchRuntime


def make_runtime(
    encoder: nn.Module,
    device: torch.device,
    *,
    key: str,
    precision: Precision = "auto",
    cache: Path | None = None,
) -> Runtime:
    """The runtime of a network on a device.

    It starts as torch in float32. After `WORTH` real pictures a faster one takes over, where there is one and it
    agrees on them: OpenVINO on a CPU, bfloat16 on a GPU.

    Args:
        encoder: (m, height, width, 3) uint8 -> (m, dim) float32, in evaluation, on `device`.
        device: a CPU; or "cuda" for all GPUs of this machine, "cuda:1" for one of them.
        key: names the network for the cache: its fingerprint.
        precision: "float32" keeps bfloat16 out.
        cache: a folder where compiled networks are kept between runs.
    """
    # Here, not above: each brings libraries that the other does without.
    if device.type == "cuda":
        from cdsel_backend.pool.runtime_cuda import CudaRuntime, all_gpus, find_cuda

        gpus = all_gpus(device)
        start = CudaRuntime(encoder, gpus, fallback=_on_cpu(encoder))
        return Adaptive(start, lambda pixels, vectors: find_cuda(encoder, gpus, pixels, vectors, precision))
    torch_cpu = TorchRuntime(encoder)
    if device.type != "cpu":
        return TorchRuntime(encoder, device)
    from cdsel_backend.pool import runtime_openvino as openvino

    if not openvino.available():
        return torch_cpu
    kept = openvino.load(key, cache, precision)
    if kept is not None:
        return kept
    return Adaptive(
        torch_cpu, lambda pixels, vectors: openvino.find(encoder, key, cache, pixels, vectors, precision)
    )


def _on_cpu(encoder: nn.Module) -> Callable[[], Runtime]:
    return lambda: TorchRuntime(copy.deepcopy(encoder).to("cpu"))

"""The runtime that is the fastest on the machine at hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from cdsel_backend.pool.devices import all_gpus
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
    agrees on them: OpenVINO on a CPU, bfloat16 on a GPU. Where no GPU is left that works, the CPU goes on.

    Args:
        encoder: (m, height, width, 3) uint8 -> (m, dim) float32, in evaluation, on the CPU.
        device: a CPU; "cuda" for all GPUs of this machine, "cuda:1" for one of them; or another that torch knows.
        key: names the network for the cache: its fingerprint.
        precision: "float32" keeps bfloat16 out.
        cache: a folder where compiled networks are kept between runs.
    """
    if device.type == "cpu":
        return _for_cpu(encoder, key, precision, cache)
    from cdsel_backend.pool.runtime_cuda import DeviceRuntime, Way
    from cdsel_backend.pool.runtime_ways import find_cuda

    start = DeviceRuntime(
        encoder,
        [Way(gpu) for gpu in all_gpus(device)],
        fallback=lambda: _for_cpu(encoder, key, precision, cache),
    )
    if device.type != "cuda":
        return start
    return Adaptive(start, lambda pixels, vectors: find_cuda(encoder, start, pixels, vectors, precision))


def _for_cpu(encoder: nn.Module, key: str, precision: Precision, cache: Path | None) -> Runtime:
    from cdsel_backend.pool import runtime_openvino as openvino  # brings a library that GPUs do without

    torch_cpu = TorchRuntime(encoder)
    if not openvino.available():
        return torch_cpu
    kept = openvino.load(key, cache, precision)
    if kept is not None:
        return kept
    return Adaptive(
        torch_cpu, lambda pixels, vectors: openvino.find(encoder, key, cache, pixels, vectors, precision)
    )

"""The devices of this machine that torch knows, and what goes wrong on them."""

from __future__ import annotations

import logging
from contextlib import suppress

import torch

from cdsel_backend.pool.errors import BackboneError

log = logging.getLogger(__name__)


class DeviceFails(RuntimeError):
    """No device is left that runs a network."""


def find_device(device: str) -> torch.device:
    """The torch device of a setting; "auto" is CUDA where there is one. Raises BackboneError for one not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        # Of several GPUs the first may be full.
        if found != torch.device("cuda") or not torch.cuda.is_available():
            torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = reason_of(error).partition(". ")[0]
        raise BackboneError(
            f"CDSEL_DEVICE, or --device: {device!r} cannot be used here ({why}): set it to auto, or see that the "
            "driver and a torch for this device are installed"
        ) from error
    return found


def all_gpus(device: torch.device) -> list[torch.device]:
    """The GPU of "cuda:1"; for "cuda" every GPU that CUDA_VISIBLE_DEVICES leaves, by its number among these."""
    if device.type != "cuda" or device.index is not None:
        return [device]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def freest(device: torch.device) -> torch.device:
    """The GPU with the most free memory for "cuda"; any other device is itself."""
    gpus = all_gpus(device)
    if len(gpus) < 2:
        return device
    free = {}
    for gpu in gpus:
        with suppress(Exception):  # one that cannot be asked has none
            free[gpu] = torch.cuda.mem_get_info(gpu)[0]
    return max(free, key=lambda gpu: free[gpu], default=device)


def described(device: torch.device) -> str:
    """A device as messages name it: `cuda:1 (NVIDIA H100)`."""
    if device.type == "cuda":
        with suppress(Exception):  # of a driver that cannot be asked
            return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; where it only imitates that, it is slower than float32."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):  # torch asks the current one
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def out_of_memory(error: Exception) -> bool:
    """Whether a device has too little memory: torch's allocator has an error for it, libraries have texts."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "alloc_failed" in text


def reason_of(error: Exception) -> str:
    """What an error says, in one line: CUDA's go on with advice for whoever writes programs."""
    return (str(error) or type(error).__name__).partition("\n")[0].rstrip(". ")

"""What decodes JPEG files on a GPU (`decode_gpu.py` says when): nvImageCodec, of the extra `gpu`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from cdsel_backend.pool.jpeg import JpegHead

log = logging.getLogger(__name__)

_ENOUGH = 8  # files of which an engine that decodes none is of no use here

File: TypeAlias = "tuple[bytes, JpegHead]"


class Codec(Protocol):
    """Something that decodes JPEG files: each to (height, width, 3) uint8 on a device, None where it cannot."""

    def __call__(self, files: Sequence[File]) -> list[torch.Tensor | None]: ...  # noqa: D102


class NvImageCodec:
    """NVIDIA's nvImageCodec on one GPU; on a CPU, where it is tried out, its libjpeg-turbo."""

    def __init__(self, device: torch.device, *, engine: bool = False) -> None:
        """Take a device.

        Args:
            device: where it decodes.
            engine: whether what a GPU's JPEG engine can decode goes there, and only the rest to all of the GPU. Else
                nvImageCodec shares the files among both, which alone was half as fast on an H100.

        Raises:
            ImportError: nvImageCodec is not installed.
            Exception: of nvImageCodec, as where the GPU has no such engine.
        """
        from nvidia import nvimgcodec

        self._device = device
        self._gpu = device.type == "cuda"
        kinds = nvimgcodec.BackendKind

        def decoder(*backends: Any) -> Any:
            return nvimgcodec.Decoder(
                device_id=(device.index or 0) if self._gpu else nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
                backends=[nvimgcodec.Backend(kind) for kind in backends],
                options=":fancy_upsampling=1",  # as libjpeg does, and with it Pillow
            )

        on_gpu = (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        self._decoder = decoder(*(on_gpu if self._gpu else (kinds.CPU_ONLY,)))
        self._engine = decoder(kinds.HW_GPU_ONLY) if engine else None
        self._options = {"params": nvimgcodec.DecodeParams(apply_exif_orientation=False)}

    def __str__(self) -> str:
        how = "the JPEG engine first" if self._engine is not None else f"all of {self._device}"
        return f"nvImageCodec, {how}"

    def __call__(self, files: Sequence[File]) -> list[torch.Tensor | None]:
        """See `Codec`."""
        if not self._gpu:
            return [self._tensor(image) for image in self._images(files, self._options)]
        with torch.cuda.device(self._device):
            stream = torch.cuda.current_stream().cuda_stream
            images = self._images(files, {**self._options, "cuda_stream": stream})
            return [self._tensor(image) for image in images]

    def _images(self, files: Sequence[File], options: dict[str, Any]) -> list[Any]:
        images: list[Any] = [None] * len(files)

        def fill(decoder: Any, which: list[int]) -> None:
            if which:
                for at, image in zip(
                    which, decoder.decode([files[at][0] for at in which], **options), strict=True
                ):
                    images[at] = image

        if self._engine is not None:
            # It knows no progressive files, and writes a line for each that it is given.
            given = [at for at, (_, head) in enumerate(files) if not head.progressive]
            fill(self._engine, given)
            if len(given) >= _ENOUGH and all(images[at] is None for at in given):
                log.info("the GPU's JPEG engine decodes none of %d files: all of the GPU decodes", len(given))
                self._engine = None
        fill(self._decoder, [at for at, image in enumerate(images) if image is None])
        return images

    def _tensor(self, image: Any) -> torch.Tensor | None:
        if image is None:
            return None
        if self._gpu:
            return torch.as_tensor(image, device=self._device)
        return torch.from_numpy(np.array(image))

"""A model version as one ONNX file that needs nothing of this package to be run.

Inside: resizing, the scale of the channels, the network, what is read of it, the head, the correction by levels, the
calibration; and as metadata the classes, the variables, the settings and the model card.

Outside, and so the caller's: to decode the file as an annotator sees it. `cdsel_backend.pool.decode.decode` does
(bytes -> an RGB picture: EXIF orientation, more than 8 bits, WhiteIsZero, transparency on white, DICOM windows). Where
this package is not installed, `ImageOps.exif_transpose(Image.open(file)).convert("RGB")` of Pillow is the same for
JPEG and for opaque PNG of 8 bits, and for nothing else.

Input `pictures`: (m, height, width, 3) uint8, RGB, m pictures of one size, which may be any size.
Input `levels`, where the model corrects for variables: (m, v) or (1, v) int64; for each variable, in the order of the
metadata's `variables`, the index of the image's level there, -1 for a level that is not named there. It may be left
out: then every variable counts as missing in the image's metadata.
Output `probabilities`: (m, c) float32, in the order of the metadata's `classes`. Of kind `single` they add up to 1; of
kind `presence` each is the probability that the image shows the class.

Memory: about 12 bytes a pixel of the picture, beside the network's own.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cdsel_backend.export.graph import WholeModel, level_codes
from cdsel_backend.export.version import UnusableVersion, WholeVersion
from cdsel_backend.labels import KINDS
from cdsel_backend.training import answers_for
from cdsel_backend.whole_file import whole_file

FORMAT = "cdsel-onnx-1"
_OPSET = 17
_MOST_BYTES = 2**31 - 2**24  # of one protobuf message, with room for the graph
_EXAMPLE = 2, 48, 40  # pictures, height, width: the graph takes any


def write_onnx(version: WholeVersion, file: Path, *, card: str) -> None:
    """Write a model version as one ONNX file, whole or not at all.

    Args:
        version: loaded on the CPU.
        file: where; what stands there is replaced.
        card: the model card, kept inside, too.

    Raises:
        UnusableVersion: the package `onnx` is missing, the network is too large for one file, or it holds an operation
            that ONNX does not have.
        OSError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as fault:
        raise UnusableVersion(
            "ONNX files need the extra `export`: pip install 'cdsel-backend[export]'"
        ) from fault
    whole = WholeModel(version.model, version.backbone, version.tuned).eval()
    size = sum(tensor.nbytes for tensor in whole.state_dict().values())
    if size > _MOST_BYTES:
        raise UnusableVersion(f"{version.name} has {size / 1e9:.1f} GB of weights; one ONNX file holds 2 GB")
    with whole_file(file) as draft:
        _export(whole, draft, variables=len(version.model.variables))
        graph = onnx.load(str(draft))
        if version.model.variables:
            missing = level_codes(version.model, [{}])
            graph.graph.initializer.append(onnx.numpy_helper.from_array(missing, "levels"))
        graph.producer_name = "cdsel-backend"
        onnx.helper.set_model_props(graph, {**metadata(version), "model_card": card})
        onnx.checker.check_model(graph)
        onnx.save(graph, str(draft))


def _export(whole: WholeModel, file: Path, *, variables: int) -> None:
    inputs = [torch.zeros(*_EXAMPLE, 3, dtype=torch.uint8)]
    axes = {"pictures": {0: "pictures", 1: "height", 2: "width"}, "probabilities": {0: "pictures"}}
    if variables:
        inputs.append(torch.full((1, variables), -1))
        axes["levels"] = {0: "rows"}
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Sizes that are the same for every picture are meant to become constants.
            warnings.simplefilter("ignore")
            # The exporter that needs no further package; torch 2.6 to 2.13 have it.
            torch.onnx.export(
                whole,
                tuple(inputs),
                str(file),
                input_names=["pictures", "levels"][: len(inputs)],
                output_names=["probabilities"],
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,
            )
    except OSError:
        raise
    except Exception as fault:  # the exporter's errors share no base
        raise UnusableVersion(f"the network cannot be written as ONNX: {fault}") from fault


def metadata(version: WholeVersion) -> dict[str, str]:
    """Return the file's metadata: texts, most of them JSON."""
    model, meta = version.model, version.meta
    kind = next(kind.name for kind in KINDS if answers_for(model, kind))
    documents: Mapping[str, Any] = {
        "classes": list(model.classes),
        "variables": [
            {**variable.meta(), "missing": int(code)}
            for variable, code in zip(model.variables, level_codes(model, [{}])[0], strict=True)
        ],
        "training": model.describe(),
        "settings": version.settings.model_dump(mode="json"),
        "backbone": {
            "name": version.backbone.name,
            "fingerprint": version.backbone.fingerprint,
            "input_size": list(version.backbone.size),
            "fine_tuned": version.tuned is not None,
        },
        "label_snapshot": meta.get("label_snapshot"),
        "libraries": meta.get("libraries"),
    }
    return {
        "format": FORMAT,
        "version": version.name,
        "kind": kind,
        **{name: json.dumps(document, ensure_ascii=False) for name, document in documents.items()},
    }

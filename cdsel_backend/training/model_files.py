"""A model version as a folder: arrays in safetensors, the rest in JSON, both under a checksum.

Nothing is unpickled. A folder is written under another name and renamed when complete, so that one that exists is
whole, also after a power cut; what was changed since is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cdsel_backend.training.head import HeadModel
from cdsel_backend.training.kinds import Model
from cdsel_backend.training.presence import PresenceModel
from cdsel_backend.training.tuned_model import TunedModel
from cdsel_backend.whole_file import sync_folder, write_whole

FORMATS: Mapping[str, type[HeadModel] | type[PresenceModel] | type[TunedModel]] = {
    "cdsel-head": HeadModel,
    "cdsel-presence": PresenceModel,
    "cdsel-tuned": TunedModel,
}
FORMAT_VERSION = 4  # since levels have a part of the kernel of their own
_READ = (2, 3, 4)  # 2: linear heads, with the edges of numeric confounders; 3: heads with a kernel
_ARRAYS = "model.safetensors"
_MODEL = "model.json"
_SUMS = "checksums.json"


class ModelFormatError(ValueError):
    """A model folder is damaged, incomplete or not ours; the message names the file."""


def save(model: Model, folder: Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a model version. Raises FileExistsError where one stands already: versions are never changed.

    `meta` is kept as it is (settings, metrics, fingerprints); `load_meta` returns it.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; a model version is never overwritten")
    arrays, described = model.parts()
    document = {
        "format": next(name for name, kind in FORMATS.items() if isinstance(model, kind)),
        "format_version": FORMAT_VERSION,
        "model": described,
        "meta": dict(meta or {}),
    }
    files = {_ARRAYS: save_tensors(arrays), _MODEL: json.dumps(document, indent=1).encode()}
    files[_SUMS] = json.dumps({name: _sum(data) for name, data in files.items()}, indent=1).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in files.items():
            write_whole(draft / name, data)
        draft.chmod(0o755)
        draft.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def load(folder: Path) -> Model:
    """Read a model version. Raises ModelFormatError, naming the file, for a damaged, incomplete or foreign one."""
    document, arrays = _read(folder)
    try:
        return FORMATS[document["format"]].from_parts(load_tensors(arrays), document["model"])
    except (SafetensorError, KeyError, TypeError, ValueError) as fault:
        raise ModelFormatError(f"{folder / _MODEL} and {_ARRAYS} do not make a model: {fault}") from fault


def load_meta(folder: Path) -> dict[str, Any]:
    """Return what `save` was given as `meta`. Raises ModelFormatError as `load` does."""
    meta = _read(folder)[0].get("meta")
    return meta if isinstance(meta, dict) else {}


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the checked document and the bytes of the arrays."""
    sums = _json(folder / _SUMS, _bytes(folder / _SUMS))
    files = {name: _bytes(folder / name) for name in (_MODEL, _ARRAYS)}
    for name, data in files.items():
        if sums.get(name) != _sum(data):
            raise ModelFormatError(
                f"{folder / name} was changed since it was written: its checksum does not match"
            )
    document = _json(folder / _MODEL, files[_MODEL])
    if document.get("format") not in FORMATS:
        raise ModelFormatError(
            f"{folder / _MODEL} holds {document.get('format')!r}; we read {', '.join(FORMATS)}"
        )
    if document.get("format_version") not in _READ:
        found = document.get("format_version")
        raise ModelFormatError(
            f"{folder / _MODEL} has format version {found}; we read {', '.join(map(str, _READ))}"
        )
    return document, files[_ARRAYS]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise ModelFormatError(f"{path} cannot be read: {fault.strerror}") from fault


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as fault:
        raise ModelFormatError(f"{path} is not JSON: {fault}") from fault
    if not isinstance(document, dict):
        raise ModelFormatError(f"{path} holds no JSON object")
    return document


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

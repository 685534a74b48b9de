"""Arrays in a file that says which moment they are of: never read half written, or as those of another moment."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.store.records import Json
from cdsel_backend.whole_file import whole_file

HEAD = "head"


def key_of(path: Path) -> str | None:
    """The key of a file; None where there is no whole one."""
    try:
        with zipfile.ZipFile(path) as parts, parts.open(f"{HEAD}.npy") as head:
            stored = np.lib.format.read_array(head, allow_pickle=False)  # type: ignore[no-untyped-call]
            return str(json.loads(stored.tobytes())["key"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None


def read_arrays(path: Path, key: str) -> tuple[dict[str, NDArray[Any]], Json] | None:
    """The arrays and what JSON held beside them; None where there is no such file, or one of another key."""
    if key_of(path) != key:
        return None
    with np.load(path, allow_pickle=False) as kept:
        head = json.loads(bytes(kept[HEAD]))
        if head["key"] != key:
            return None  # another process wrote one meanwhile
        return {name: kept[name] for name in kept.files if name != HEAD}, head["meta"]


def write_arrays(path: Path, key: str, arrays: Mapping[str, NDArray[Any]], meta: Json) -> None:
    """Keep arrays under a key, in the place of what is there."""
    head = json.dumps({"key": key, "meta": meta}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft, draft.open("wb") as file:
        np.savez(file, **{HEAD: np.frombuffer(head, dtype=np.uint8), **arrays})  # type: ignore[arg-type]

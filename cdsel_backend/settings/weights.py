"""Which backbones and weights the settings of a project may name."""

from __future__ import annotations

import os

from cdsel_backend.settings.project import names_in

RANDOM_WEIGHTS = "random"  # `backbone_weights` of a network that nobody trained


def weights_refusal(name: str, value: object, allowed: str) -> str | None:
    """Why a project may not name this `backbone` or `backbone_weights`, as a sentence; None where it may.

    timm's own model names are free. What comes from a hub or from this machine (`hf-hub:`, `local-dir:`, a path) needs
    a prefix in `allowed`, the text of CDSEL_ALLOWED_WEIGHTS. Paths are compared as they resolve, since `..` and
    symbolic links lead elsewhere than they say.
    """
    if not isinstance(value, str) or name not in ("backbone", "backbone_weights"):
        return None
    if value == RANDOM_WEIGHTS or (name == "backbone" and not any(mark in value for mark in ":/\\")):
        return None
    if not value.isprintable():
        return "it holds characters that no name or path has"
    scheme, colon, rest = value.replace("hf_hub:", "hf-hub:", 1).partition(":")
    from_hub = name == "backbone" and colon and scheme != "local-dir"
    source = f"{scheme}:{rest}" if from_hub else os.path.realpath(rest if scheme == "local-dir" else value)
    for prefix in names_in(allowed):
        folder = prefix if ":" in prefix else os.path.realpath(prefix)
        inside = folder if folder.endswith(("/", ":")) else f"{folder}/"
        if (source == folder or source.startswith(inside)) and ".." not in source.split("/"):
            return None
    return "the server allows no such source; its administrator can add a prefix to CDSEL_ALLOWED_WEIGHTS"

"""Python environments that tests make with pip and keep in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

PIP_SECONDS = 1800


def environment(name: str, requirements: Sequence[str], *, options: Sequence[str] = ()) -> Path:
    """The interpreter of an environment with these requirements; made at the first call, whole or not at all.

    Args:
        name: of its folder; another name for other requirements.
        requirements: as pip takes them.
        options: further ones of `pip install`.
    """
    folder = user_cache_path("cdsel", appauthor=False) / "environments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    with FileLock(folder.with_name(f"{name}.lock")):
        complete = folder / "complete"
        if complete.exists() and python.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        install = [str(python), "-m", "pip", "install", "--quiet", *options, *requirements]
        done = subprocess.run(install, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        assert done.returncode == 0, f"{' '.join(install)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        complete.write_text("\n".join([sys.version, *requirements]), encoding="utf-8")
    return python

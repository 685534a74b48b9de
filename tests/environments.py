"""Packages that tests install with pip apart from ours, and keep in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

PIP_SECONDS = 1800


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment of its own with these requirements.

    Args:
        name: of its folder; another name for other requirements.
        requirements: as pip takes them.
    """

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        _pip(_interpreter(folder), requirements)

    return _interpreter(_once(name, make))


def packages(name: str, requirements: Sequence[str], options: Sequence[str] = ()) -> Path:
    """A folder to put on PYTHONPATH, with these requirements for this interpreter; `options` of pip, too."""
    return _once(
        name, lambda folder: _pip(Path(sys.executable), requirements, "--target", str(folder), *options)
    )


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, which `make` fills at the first call: whole, or not at all."""
    folder = user_cache_path("cdsel", appauthor=False) / "environments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "complete").touch()
    return folder


def _pip(python: Path, requirements: Sequence[str], *options: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *options, *requirements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"

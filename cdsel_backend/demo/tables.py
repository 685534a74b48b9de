"""The tables of a new Label Studio, made once a version: making them is most of its first start."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from platformdirs import user_cache_path

from cdsel_backend.demo.installation import Installation
from cdsel_backend.demo.process import DidNotStart, ServerProcess
from cdsel_backend.whole_file import whole_file

DATABASE = "label_studio.sqlite3"


def copy_tables(
    data_dir: Path, installation: Installation, environment: Mapping[str, str], *, timeout: float
) -> None:
    """Put a database with every table and nobody's rows into a data folder that has none yet.

    It comes from the user's folder for caches, where the first call leaves it. Whatever goes wrong on the way, no
    database is left behind, and Label Studio makes its tables itself.
    """
    target = data_dir / DATABASE
    if target.exists():
        return
    kept = user_cache_path("cdsel", appauthor=False) / f"label-studio-{installation.release}.sqlite3"
    with suppress(OSError, sqlite3.Error, DidNotStart):
        if not kept.exists():
            _make(kept, installation, environment, timeout)
        with whole_file(target, lasting=False) as draft:
            shutil.copyfile(kept, draft)


def _make(kept: Path, installation: Installation, environment: Mapping[str, str], timeout: float) -> None:
    """Let Label Studio make its tables in a folder of their own, and keep the database: all of it, or none."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".label-studio-") as made:
        folder = Path(made)
        process = ServerProcess(
            "Label Studio's migrate",
            [
                str(installation.python),
                str(installation.package / "manage.py"),
                "migrate",
                "--verbosity",
                "0",
            ],
            env={**environment, "LABEL_STUDIO_BASE_DATA_DIR": made},
            cwd=folder,
            log=folder / "log",
        )
        deadline = time.monotonic() + timeout
        try:
            while process.running and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            process.stop()
        if process.status != 0:
            raise process.failure(f"ended with status {process.status}")
        with (
            whole_file(kept) as draft,
            closing(sqlite3.connect(folder / DATABASE)) as source,
            closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)

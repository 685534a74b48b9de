"""A PostgreSQL of the tests' own: started on a free port, as a user that is not root, and ended again."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdsel_backend.demo.process import free_port


@contextmanager
def postgres(*databases: str) -> Iterator[int]:
    """Run a PostgreSQL with these databases; yields its port on 127.0.0.1, where user postgres needs no password.

    Skips the test where there is none, or no user that it could run as.
    """
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [
        str(Path(shutil.which("initdb") or "/none").parent)
    ]
    tools = Path(found[-1])
    if not (tools / "initdb").exists():
        pytest.skip("no PostgreSQL on this machine: its initdb is not found")
    # It refuses to run as root.
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if other and (not shutil.which("runuser") or subprocess.run([*other, "true"], check=False).returncode):
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres to run it")
    folder = tempfile.mkdtemp(prefix="cdsel-postgres-")
    port = free_port()

    def run(tool: str, *arguments: str) -> None:
        done = subprocess.run(
            [*other, str(tools / tool), *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"

    try:
        if other:
            shutil.chown(folder, "postgres")
        run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            for name in databases:
                run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name)
            yield port
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

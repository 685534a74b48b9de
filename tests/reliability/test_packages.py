"""The sdist and the wheel: built, installed and run from a folder without the source.

`pytest -n0 -m slow tests/reliability/test_packages.py`; dependencies are those of this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path

import httpx
import pytest

from cdsel_backend.demo.process import ServerProcess, free_port, local_environment

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def call(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist of this checkout, and the wheel that is built of the sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    program = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    call(sys.executable, "-c", program, folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    unpacked = folder / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    assert (source / "tests" / "test_store.py").exists(), "whoever packages it can test it"
    program = program.replace("build_sdist", "build_wheel")
    call(sys.executable, "-c", program, folder, cwd=source)
    return folder


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_what_is_built_runs_without_the_source(built, kind, tmp_path):
    (package,) = built.glob(kind)
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    call(*pip, "--no-build-isolation", "--target", site, package, cwd=tmp_path)
    # The dependencies of this environment, but not the checkout that is installed in it.
    here = call(
        sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    ).strip()
    (site / "dependencies.pth").write_text(f"{here}\n")
    command = [python, "-m", "cdsel_backend.cli"]
    found = call(python, "-c", "import cdsel_backend; print(cdsel_backend.__file__)", cwd=tmp_path)
    assert found.startswith(str(tmp_path)), found
    assert "serve" in call(*command, "--help", cwd=tmp_path)
    assert "| `budget` |" in call(*command, "settings", cwd=tmp_path)
    assert (site / "cdsel_backend" / "label_config" / "single_choice.xml").exists()
    assert (site / "cdsel_backend" / "guide" / "README.md").exists()

    port, data = free_port(), tmp_path / "data"
    environment = local_environment() | {
        "PYTHONPATH": "",
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "0" * 40,
        "CDSEL_DATA_DIR": str(data),
    }
    serve = [str(part) for part in (*command, "serve", "--port", port)]
    process = ServerProcess("cdsel serve", serve, env=environment, cwd=tmp_path, log=tmp_path / "log")
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/health", timeout=10)
                break
            except httpx.TransportError:
                assert process.running, process.tail()
                assert time.monotonic() < deadline, process.tail()
                time.sleep(0.3)
        assert answer.json()["model_class"] == "cdsel"
        help_page = httpx.get(f"http://127.0.0.1:{port}/help", timeout=30)
        assert help_page.status_code == 200
        assert "webp" in help_page.text
    finally:
        process.stop()

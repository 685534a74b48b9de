"""The docker files, executed step by step: what they start is refused without a password, and answers with one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import yaml

from cdsel_backend.demo.process import ServerProcess, free_port, local_environment

DOCKER = Path(__file__).parents[2] / "docker"


def last(instruction: str) -> list[str]:
    """The command of the Dockerfile's last CMD, its program replaced by this checkout's."""
    found = re.findall(rf"^{instruction} (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.M)
    program, *arguments = json.loads(found[-1])
    assert program == "cdsel"
    return [sys.executable, "-m", "cdsel_backend.cli", *arguments]


def environment(given: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment that compose gives the service, with `given` in the shell; the image's own below it."""
    text = (DOCKER / "compose.yaml").read_text()
    filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: given.get(match[1]) or match[2], text)
    service = yaml.safe_load(filled)["services"]["cdsel"]
    assert service["ports"] == ["127.0.0.1:9090:9090"]  # published to this machine only
    image = dict(re.findall(r"^ENV (\w+)=(.*)$", (DOCKER / "Dockerfile").read_text(), re.M))
    assert image["CDSEL_DATA_DIR"] == "/data"
    named = {name: str(value or "") for name, value in service["environment"].items()}
    return local_environment() | image | named | {"CDSEL_DATA_DIR": str(folder)}


def test_the_container_is_refused_without_a_password_and_runs_with_one(tmp_path):
    assert "\nUSER cdsel\n" in (DOCKER / "Dockerfile").read_text()
    port = str(free_port())
    command = [port if part == "9090" else part for part in last("CMD")]
    token = {"LABEL_STUDIO_API_KEY": "a-token"}
    refused = subprocess.run(
        command, env=environment(token, tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert refused.returncode == 1
    assert "BASIC_AUTH_USER is set and BASIC_AUTH_PASS is not" in refused.stderr
    nameless = environment(token, tmp_path) | {"BASIC_AUTH_USER": ""}
    refused = subprocess.run(command, env=nameless, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 1
    assert "--host 0.0.0.0 lets the network in, and there is no login" in refused.stderr
    env = environment(token | {"BASIC_AUTH_PASS": "secret"}, tmp_path)
    process = ServerProcess("cdsel serve", command, env=env, cwd=tmp_path, log=tmp_path / "serve.log")
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                assert httpx.get(f"{url}/health").json()["status"] == "UP"
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, process.tail()
                time.sleep(0.2)
        assert httpx.get(f"{url}/projects").status_code == 401
        assert httpx.get(f"{url}/projects", auth=("cdsel", "secret")).status_code == 200
    finally:
        process.stop(timeout=30)
    assert os.stat(tmp_path).st_mode & 0o777 == 0o700

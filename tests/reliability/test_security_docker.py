"""The docker files, executed step by step where no engine is at hand: what they install, and what they start."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from cdsel_backend.demo.process import ServerProcess, free_port, local_environment
from cdsel_backend.settings import ServerSettings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BUILDS = ("Dockerfile", "Dockerfile.gpu")
NOWHERE = "/proc/nowhere"  # not even root can make this folder


def compose(**given):
    """What compose makes of its file with these variables in the shell."""
    text = (DOCKER / "compose.yaml").read_text()
    return yaml.safe_load(
        re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: given.get(match[1]) or match[2], text)
    )


def program(command):
    """A command of the image, by this checkout."""
    replaced = {"cdsel": ["-m", "cdsel_backend.cli"], "python": []}
    return [sys.executable, *replaced[command[0]], *command[1:]]


def environment(service, secrets, folder):
    """The environment of a service: the image's, compose's, its secrets in `secrets`; nothing else is writable."""
    image = dict(re.findall(r"^ENV (\w+)=(.*)$", (DOCKER / "Dockerfile").read_text(), re.M))
    assert image["CDSEL_DATA_DIR"] == "/data"
    named = {name: str(value or "") for name, value in service["environment"].items()}
    every = {
        name: re.sub("^/data(?=/|$)", str(folder), value).replace("/run/secrets", str(secrets))
        for name, value in (image | named).items()
    }
    path = {"PYTHONPATH": str(ROOT), "HOME": NOWHERE}
    return local_environment() | path | every


def test_what_compose_says_of_every_container():
    made = compose()
    for name, service in made["services"].items():
        image = service["image"]
        assert re.search(r":\d+\.\d+", image) or image == "cdsel", "a version, not whatever is newest"
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["mem_limit"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "published to this machine only"
        secret = re.compile(r"PASS|KEY|TOKEN|DATABASE_URL")
        assert all(key.endswith("_FILE") for key in service["environment"] if secret.search(key)), (
            f"{name}: secrets are files"
        )
    for name in ("cdsel", "worker"):
        service = made["services"][name]
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
        assert int(service["stop_grace_period"].removesuffix("s")) > 20, "more than STOP_SECONDS"
        assert set(service["secrets"]) <= set(made["secrets"])
        assert service["depends_on"]["database"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("build", BUILDS)
def test_the_image_is_pinned_and_runs_as_nobody_in_particular(build):
    text = (DOCKER / build).read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", text, re.M)
    assert text.rindex("\nUSER cdsel\n") > text.rindex("\nRUN ")
    install = re.search(r"^RUN pip install .* -c (\S+) '\.\[(.+)\]'$", text, re.M)
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / install[1]).read_text(), re.M))
    project = (ROOT / "pyproject.toml").read_text()
    asked = project.partition("\ndependencies = [")[2].partition("\n]")[0]
    names = {name.lower() for name in re.findall(r'^    "([\w-]+)', asked, re.M)}
    for extra in install[2].split(","):
        (line,) = re.findall(rf"^{extra} = \[(.+)\]$", project, re.M)
        names |= {name.lower().replace("_", "-") for name in re.findall(r'"([\w-]+)', line)}
    assert names <= set(locked), "the lock holds every dependency: make it again as its first lines say"
    for name in re.findall(r"^COPY (.+)$", text, re.M):
        for source in name.split()[:-1]:
            assert (ROOT / source).exists()


def test_every_image_is_of_a_stated_release_has_a_health_check_and_does_not_run_as_root():
    files = sorted(DOCKER.rglob("Dockerfile*"))
    assert len(files) == 3
    for file in files:
        text = file.read_text()
        assert re.search(r"^FROM python:\d+\.\d+\.\d+-", text, re.M), file
        assert text.rindex("\nUSER cdsel\n") < text.rindex("\nHEALTHCHECK ") < text.rindex("\nCMD "), file
    small = yaml.safe_load((DOCKER / "label_studio_ml/docker-compose.yml").read_text())["services"]["cdsel"]
    assert (small["cap_drop"], small["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    # Whoever follows the steps is where the next one begins.
    steps = (DOCKER / "compose.yaml").read_text().partition("# 4.")[0]
    assert steps.index("cd docker/secrets") < steps.index("cd ../..")


def test_every_variable_is_one_of_ours_and_what_comes_from_a_repository_is_of_a_stated_commit():
    ours = {str(field.validation_alias) for field in ServerSettings.model_fields.values()}
    named = set()
    for file in (*DOCKER.rglob("*compose.y*ml"), *DOCKER.rglob("Dockerfile*")):
        text = re.sub(r"^ *#.*$", "", file.read_text(), flags=re.M)
        named |= set(re.findall(r"\b((?:CDSEL_|BASIC_AUTH_|LABEL_STUDIO_)[A-Z_]+)\b", text))
    assert {"LABEL_STUDIO_URL", "CDSEL_DATABASE_URL_FILE"} <= named
    # LABEL_STUDIO_HOST is Label Studio's own.
    assert {name.removesuffix("_FILE") for name in named} - ours == {"LABEL_STUDIO_HOST"}
    for requirements in DOCKER.rglob("*.txt"):
        for line in re.findall(r"^[^#\n]*git\+.*$", requirements.read_text(), re.M):
            assert re.search(r"\.git@[0-9a-f]{40}$", line), line


def test_what_is_copied_builds_a_wheel_that_runs_without_the_source(tmp_path):
    """The RUN of the image, in a folder that holds what its COPY lines name; dependencies are those of this machine."""
    app, wheels, site = tmp_path / "app", tmp_path / "wheels", tmp_path / "site"
    for line in re.findall(r"^COPY (.+)$", (DOCKER / "Dockerfile").read_text(), re.M):
        *sources, target = line.split()
        for source in sources:
            # COPY puts a folder's contents, and a file under its own name.
            to = app / target if (ROOT / source).is_dir() else app / target / Path(source).name
            to.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, to)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    for command in (
        [*pip, "wheel", *offline, "-w", str(wheels), "."],
        [*pip, "install", *offline, "--target", str(site), "--find-links", str(wheels), "cdsel-backend"],
    ):
        done = subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    check = """
import cdsel_backend, pathlib, sys
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.server.app import create_app
folder = pathlib.Path(cdsel_backend.__file__).parent
assert str(folder).startswith(sys.argv[1]), folder
server = ServerSettings(data_dir=pathlib.Path(sys.argv[2]))
client = create_app(server, Store.open(server)).test_client()
for path in ("/health", "/projects", "/help"):
    answer = client.get(path, headers={"Host": "localhost"})
    assert answer.status_code == 200, (path, answer.status_code)
import re
picture = re.search(r'src="([^"]*webp[^"]*)"', client.get("/help", headers={"Host": "localhost"}).text)[1]
assert client.get(picture, headers={"Host": "localhost"}).status_code == 200, picture
assert (folder / "label_config" / "single_choice.xml").exists()
"""
    env = {**os.environ, "PYTHONPATH": str(site)}
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", check, str(site), str(tmp_path / "data")],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_containers_are_refused_without_secrets_and_run_with_them(tmp_path, new_postgresql):
    made, port = compose(), str(free_port())
    web, worker = made["services"]["cdsel"], made["services"]["worker"]
    secrets, folder = tmp_path / "secrets", tmp_path / "data"
    secrets.mkdir()
    folder.mkdir()
    env = environment(web, secrets, folder)
    command = [port if part == "9090" else part for part in program(web["command"])]

    def refused():
        done = subprocess.run(
            command, env=env, cwd="/proc", capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 1
        return done.stderr

    assert "_FILE" in refused()  # no secret at all
    (secrets / "label_studio_api_key").write_text("a-token")
    (secrets / "database_url").write_text(new_postgresql())
    (secrets / "basic_auth_pass").write_text("\n")
    assert "BASIC_AUTH_USER is set and BASIC_AUTH_PASS is not" in refused()
    (secrets / "basic_auth_pass").write_text("secret\n")

    log = tmp_path / "serve.log"
    process = ServerProcess("cdsel serve", command, env=env, cwd=Path("/proc"), log=log)
    other = ServerProcess(
        "worker", program(worker["command"]), env=env, cwd=Path("/proc"), log=tmp_path / "worker.log"
    )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180
        check = re.findall(r"CMD (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.M)[0]
        web_check = program(json.loads(check.replace("9090", port)))
        worker_check = [
            part.replace("/app", str(ROOT)) for part in program(worker["healthcheck"]["test"][1:])
        ]
        for asked in (web_check, worker_check):
            while subprocess.run(asked, env=env, cwd="/proc", capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline, process.tail() + other.tail()
                time.sleep(0.5)
        assert httpx.get(f"{url}/projects", timeout=60).status_code == 401
        assert httpx.get(f"{url}/projects", auth=("cdsel", "secret"), timeout=60).status_code == 200
    finally:
        other.stop(timeout=30)
        process.stop(timeout=30)
    deadline = time.monotonic() + 120  # one that had to be killed counts as dead after a minute
    while not subprocess.run(worker_check, env=env, cwd="/proc", capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, other.tail()
        time.sleep(1)
    assert os.stat(folder).st_mode & 0o777 == 0o700

"""The backend as a model of label-studio-ml 2.x, and under another WSGI server: two rounds on a real Label Studio.

The package is on no registry, so a stand-in of its contract is used. With the real one, by name:

    pytest -m label_studio_ml                                       # from its repository
    pytest -m label_studio_ml --label-studio-ml /path/to/checkout   # or whatever pip takes
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from backend import Backend, eventually
from environments import packages
from reverse_proxy import reverse_proxy
from test_loop import queue_ready, submit_next

from cdsel_backend.demo.process import ServerProcess
from cdsel_backend.store import Store

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docker" / "label_studio_ml"
STAND_IN = Path(__file__).parent / "stand_in"
REPOSITORY = "label-studio-ml @ git+https://github.com/HumanSignal/label-studio-ml-backend.git"
LOGIN = {"BASIC_AUTH_USER": "cdsel", "BASIC_AUTH_PASS": "pass"}
# With this seed both classes are among the labels of the first round that are not held out.
SETTINGS = '{"budget": 12, "round_size": 6, "retrain_every": 3, "group": "patient_id", "seed": 1}'


class LabelStudioMl(Backend):
    """The template folder, run as `label-studio-ml start` does."""

    template = TEMPLATE
    package = STAND_IN
    """Where label-studio-ml is imported from, unless it is installed."""

    def start(self) -> None:
        self.prepare()
        super().start()

    def prepare(self) -> None:
        ours = [str(self.template), str(ROOT)]
        theirs = [] if find_spec("label_studio_ml") else [str(self.package)]
        path = os.pathsep.join([*ours, *theirs, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self.environment |= {"PYTHONPATH": path, "MODEL_DIR": str(self.folder)}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(self.template / "_wsgi.py"), "--port", str(self.port)]


class Gunicorn(LabelStudioMl):
    """The same folder under gunicorn, which forks after the import, as its Dockerfile does."""

    @property
    def command(self) -> list[str]:
        bind = ["--bind", f"127.0.0.1:{self.port}", "--workers", "2", "--threads", "4"]
        return [sys.executable, "-m", "gunicorn", "--preload", *bind, "_wsgi:app"]


class Plain(Backend):
    """`docker/_wsgi.py` under gunicorn, without label-studio-ml, and a worker beside it."""

    def start(self) -> None:
        self.worker = ServerProcess(
            "cdsel worker",
            [sys.executable, "-m", "cdsel_backend.cli", "worker"],
            env=self.environment,
            cwd=self.folder,
            log=self.folder / "worker.log",
        )
        super().start()

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.worker.stop()

    @property
    def command(self) -> list[str]:
        where = ["--chdir", str(ROOT / "docker"), "--bind", f"127.0.0.1:{self.port}"]
        return [sys.executable, "-m", "gunicorn", *where, "--threads", "8", "_wsgi:app"]


class Created(LabelStudioMl):
    """A folder of `label-studio-ml create`, run by `label-studio-ml start` with the login; real package only."""

    def prepare(self) -> None:
        super().prepare()
        # `start` runs the first `python` of the path.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment |= {"PATH": path}
        for name in LOGIN:  # given as arguments instead
            self.environment.pop(name, None)
        made = self.folder / "created"
        if not made.exists():
            script = f"{TEMPLATE / 'model.py'}:CdselModel"
            self._cli("create", str(made), "--script", script)
        assert (made / "_wsgi.py").read_text().count("CdselModel") >= 2
        self.template = made

    def _cli(self, *arguments: str) -> None:
        subprocess.run([*self.cli, *arguments], env=self.environment, check=True, timeout=120)

    @property
    def cli(self) -> list[str]:
        return [sys.executable, "-c", "from label_studio_ml.server import main; main()"]

    @property
    def command(self) -> list[str]:
        login = ["--basic-auth-user", LOGIN["BASIC_AUTH_USER"], "--basic-auth-pass", LOGIN["BASIC_AUTH_PASS"]]
        return [
            *self.cli,
            "start",
            str(self.template),
            *login,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]

    @property
    def login(self) -> tuple[str, str]:
        return LOGIN["BASIC_AUTH_USER"], LOGIN["BASIC_AUTH_PASS"]


def two_rounds(backend: Backend, url: str, client, pool_project) -> None:
    """Connect at `url` and label two rounds; only who has the login is answered, and one worker does the work."""
    for method, path in (("GET", "/projects"), ("POST", "/setup"), ("POST", "/predict")):
        assert httpx.request(method, f"{url}{path}", json={}, timeout=60).status_code == 401, path
    client.connect_backend(
        pool_project.id, url, title="cdsel", extra_params=SETTINGS, basic_auth=tuple(LOGIN.values())
    )
    ranks = []
    for pushed in (6, 12):
        queue = queue_ready(backend, pool_project.id, pushed)["queue_project"]
        while (data := submit_next(client, queue, pool_project.truth)) is not None:
            ranks.append(data["cdsel_rank"])
    assert ranks == list(range(1, 13))
    store = Store(f"sqlite:///{backend.folder / 'cdsel.sqlite3'}")
    assert len(store.pulses()) == 1
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("layout", [Gunicorn, Plain])
def test_two_rounds_under_another_server(layout, client, pool_project, tmp_path, studio):
    with layout(tmp_path, studio.url, studio.token, **LOGIN) as backend:
        two_rounds(backend, backend.url, client, pool_project)


@pytest.fixture(scope="session")
def real_package(request: pytest.FixtureRequest) -> Path:
    """A folder from which the real label-studio-ml can be imported."""
    source = request.config.getoption("--label-studio-ml") or REPOSITORY
    # It names label-studio-sdk by its repository, too; ours is installed. Another source, another folder.
    name = f"label-studio-ml-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return packages(name, [source, "semver~=3.0.2", "colorama~=0.4"], options=["--no-deps"])


@pytest.mark.label_studio_ml
@pytest.mark.parametrize("layout", [LabelStudioMl, Gunicorn, Created])
@pytest.mark.parametrize("prefix", ["", "/tools/cdsel"])
def test_two_rounds_with_the_real_package(
    layout, prefix, real_package, client, pool_project, tmp_path, studio, monkeypatch
):
    monkeypatch.setattr(layout, "package", real_package)
    with reverse_proxy(prefix) as proxy:
        backend = layout(
            tmp_path, studio.url, studio.token, **LOGIN, CDSEL_PUBLIC_URL=proxy.url if prefix else ""
        )
        proxy.target = backend.url
        with backend:
            url = proxy.url if prefix else backend.url
            two_rounds(backend, url, client, pool_project)
            # What Label Studio asks of their /predict is answered by the champion.
            champion = eventually(lambda: backend.status(pool_project.id)["champion"], "there was no model")
            chosen = {"selectedItems": {"all": False, "included": pool_project.task_ids[:5]}}
            client.send(
                "POST",
                "/api/dm/actions/",
                {**chosen, "filters": {"conjunction": "and", "items": []}},
                params={"id": "retrieve_tasks_predictions", "project": pool_project.id},
            )
            found = eventually(lambda: list(client.predictions(pool_project.id)), "there are no predictions")
            assert {row["model_version"] for row in found} == {champion}


FRONT = """
import label_studio_ml.api as api
from cdsel_backend.label_studio_ml import CdselModel

class Own(CdselModel):
    def predict(self, tasks, context=None, **kwargs):
        return [{"own": len(tasks)}]

app = api.init_app(Own)
client = app.test_client()
for address in ("127.0.0.1", "::1", "10.0.0.9", "::ffff:10.0.0.9"):
    for path in ("/health", "/predict", "/projects"):
        status = client.open(path, method="GET", environ_base={"REMOTE_ADDR": address}).status_code
        print(address, path, status)
        said = {"X-Forwarded-For": address}
        status = client.open(path, method="GET", headers=said, environ_base={"REMOTE_ADDR": "127.0.0.9"}).status_code
        print(address, path, status)
body = {"tasks": [{"id": 1}], "project": "1.1", "label_config": "<View/>", "params": {}}
for path in ("/predict", "/tools/cdsel/predict"):
    print("own", path, client.post(path, json=body).json)
"""


def test_without_a_login_only_this_machine_is_answered_and_a_subclass_predicts_below_a_prefix(tmp_path):
    proxied = {"CDSEL_DASHBOARD_URL": "http://localhost/tools/cdsel", "CDSEL_TRUSTED_PROXY": "127.0.0.9"}
    backend = LabelStudioMl(tmp_path, "http://127.0.0.1:1", "0" * 40, **proxied)
    backend.prepare()
    done = subprocess.run(
        [sys.executable, "-c", FRONT], env=backend.environment, capture_output=True, text=True, timeout=120
    )
    found = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert len(found) == 26, done.stderr
    for address, path, status in found[:24]:
        near = address in ("127.0.0.1", "::1")
        assert (status == "403") == (not near), (address, path, status)
    assert [answer for _, _, answer in found[24:]] == ["{'results': [{'own': 1}]}"] * 2

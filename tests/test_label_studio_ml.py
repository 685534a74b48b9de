"""The backend as a model of label-studio-ml 2.x, and under another WSGI server: two rounds on a real Label Studio."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from backend import Backend
from test_loop import client, queue_ready, submit_next

__all__ = ["client"]  # the fixture

ROOT = Path(__file__).parents[1]
STAND_IN = Path(__file__).parent / "stand_in"
LOGIN = {"BASIC_AUTH_USER": "cdsel", "BASIC_AUTH_PASS": "pass"}


class LabelStudioMl(Backend):
    """What `label-studio-ml start` runs of the template folder; with the real package where it can be imported."""

    folder_of_template = ROOT / "docker" / "label_studio_ml"

    def start(self) -> None:
        self.prepare()
        super().start()

    def prepare(self) -> None:
        ours = [str(self.folder_of_template), str(ROOT)]
        theirs = [] if find_spec("label_studio_ml") else [str(STAND_IN)]
        path = os.pathsep.join([*ours, *theirs, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self.environment |= {"PYTHONPATH": path, "MODEL_DIR": str(self.folder)}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(self.folder_of_template / "_wsgi.py"), "--port", str(self.port)]


class Gunicorn(LabelStudioMl):
    """The same folder under gunicorn, which forks after the import, as its Dockerfile does."""

    @property
    def command(self) -> list[str]:
        bind = ["--bind", f"127.0.0.1:{self.port}", "--workers", "2", "--threads", "4"]
        return [sys.executable, "-m", "gunicorn", "--preload", *bind, "_wsgi:app"]


@pytest.mark.parametrize("layout", [LabelStudioMl, Gunicorn])
def test_two_rounds_as_a_model_of_label_studio_ml(layout, client, pool_project, tmp_path, studio):
    with layout(tmp_path, studio.url, studio.token, **LOGIN) as backend:
        assert httpx.get(f"{backend.url}/projects").status_code == 401
        client.connect_backend(
            pool_project.id,
            backend.url,
            title="cdsel",
            extra_params='{"budget": 8, "round_size": 4, "retrain_every": 4, "group": "patient_id"}',
            basic_auth=tuple(LOGIN.values()),
        )
        ranks = []
        for pushed in (4, 8):
            queue = queue_ready(backend, pool_project.id, pushed)["queue_project"]
            while (data := submit_next(client, queue, pool_project.truth)) is not None:
                ranks.append(data["cdsel_rank"])
        assert ranks == list(range(1, 9))


FRONT = """
import label_studio_ml.api as api
from cdsel_backend.label_studio_ml import CdselModel

app = api.init_app(CdselModel)
for address in ("127.0.0.1", "::1", "10.0.0.9", "::ffff:10.0.0.9"):
    for path in ("/health", "/predict", "/projects"):
        status = app.test_client().open(path, method="GET", environ_base={"REMOTE_ADDR": address}).status_code
        print(address, path, status)
"""


def test_without_a_login_only_this_machine_is_answered(tmp_path):
    backend = LabelStudioMl(tmp_path, "http://127.0.0.1:1", "0" * 40)
    backend.prepare()
    done = subprocess.run(
        [sys.executable, "-c", FRONT], env=backend.environment, capture_output=True, text=True, timeout=120
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == 12, done.stderr
    for address, path, status in found:
        near = address in ("127.0.0.1", "::1")
        assert (status == "403") == (not near), (address, path, status)

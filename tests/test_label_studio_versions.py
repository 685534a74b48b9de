"""The loop on other releases of Label Studio, each from the registry in an environment of its own; by name only.

    pytest -m versions                                  # those of the README's table
    pytest -m versions --label-studio 1.19.0,1.23.2     # these

An environment takes a minute to make and stays in the user's cache. At the end there is a line for each release.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from backend import Backend, eventually
from conftest import PoolProject, make_pool
from environments import environment
from test_loop import queue_ready, save_settings, submit_next

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError, TokenRefused
from cdsel_backend.labelstudio.releases import TESTED, has_personal_tokens, parse_release

BUDGET, ROUND = 12, 6
SETTINGS = {"budget": BUDGET, "round_size": ROUND, "retrain_every": 3, "group": "patient_id", "seed": 1}
FAR = 4_000_000_000  # seconds since 1970


@dataclass
class Run:
    """What is run on one release, and what held."""

    studio: LocalStudio
    browser: httpx.Client
    client: LabelStudio
    backend: Backend
    pool: PoolProject
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    queue: int = 0

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Keep whether what stands inside holds; the next check runs in any case."""
        try:
            yield
        except (AssertionError, LabelStudioError, httpx.HTTPError, KeyError, TypeError) as fault:
            self.failed[name] = " ".join((str(fault) or repr(fault)).splitlines()[:2])
        else:
            self.held.append(name)

    @property
    def line(self) -> str:
        """The release, its kind of token, and what held."""
        token = "personal" if has_personal_tokens(self.studio.release) else "legacy"
        held = f"{len(self.held)} held: {', '.join(self.held)}"
        faults = "".join(f"; FAILED {name}: {why}" for name, why in self.failed.items())
        return f"Label Studio {self.studio.release}, {token} token: {held}{faults}"

    def label_all(self) -> list[int]:
        """Label what is open; the ranks in the order in which they came."""
        ranks = []
        while (data := submit_next(self.client, self.queue, self.pool.truth)) is not None:
            ranks.append(data["cdsel_rank"])
        return ranks

    def expect(self, ready: Callable[[dict], object], otherwise: str) -> None:
        """Wait until the backend's status of the pool is as it should be."""
        eventually(lambda: ready(self.backend.status(self.pool.id)), otherwise, details=self.backend.tail)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" in metafunc.fixturenames:
        named = metafunc.config.getoption("--label-studio")
        metafunc.parametrize("release", named.split(",") if named else TESTED)


@pytest.mark.versions
def test_the_loop_on_a_release(release: str, tmp_path: Path, record_property: Callable[..., None]) -> None:
    python = environment(f"label-studio-{release}", [f"label-studio=={release}"])
    (tmp_path / "backend").mkdir()
    with LocalStudio(tmp_path / "studio", python=python) as studio, studio.session() as browser:
        assert parse_release(studio.release)[: len(parse_release(release))] == parse_release(release)
        # Only webhooks can tell the backend anything soon.
        backend = Backend(tmp_path / "backend", studio.url, studio.token, CDSEL_POLL_SECONDS="3600")
        client, pool = LabelStudio(studio.url, studio.token), make_pool(studio, browser)
        run = Run(studio, browser, client, backend, pool)
        try:
            with backend:
                for step in (tokens, connect, first_round, second_round, changes, predictions, doctor):
                    step(run)
        finally:
            record_property("release", run.line)
    assert not run.failed, run.line


def tokens(run: Run) -> None:
    """What is said of a token that is refused is right for this release."""
    personal = has_personal_tokens(run.studio.release)
    where = "> Personal Access Token" if personal else "> Access Token"
    claims = {"token_type": "refresh", "exp": FAR, "user_id": 1}
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {})
    )
    for kind, token in (("personal", ".".join(parts)), ("legacy", "f" * 40)):
        with run.check(f"advice on a refused {kind} token"):
            with pytest.raises(TokenRefused) as refused:
                LabelStudio(run.studio.url, token).version()
            assert where in str(refused.value)
            assert ("> Personal Access Token" in str(refused.value)) == personal


def connect(run: Run) -> None:
    with run.check("connect with a bad setting is refused in words"):
        form = {
            "project": run.pool.id,
            "url": run.backend.url,
            "title": "cdsel",
            "extra_params": '{"budget": "x"}',
        }
        answer = run.browser.post("/api/ml", json=form)
        assert answer.status_code == 400, answer.text
        assert "budget" in answer.text
    with run.check("connect"):
        run.client.connect_backend(
            run.pool.id, run.backend.url, title="cdsel", extra_params=json.dumps(SETTINGS)
        )
        run.queue = queue_ready(run.backend, run.pool.id, ROUND)["queue_project"]
    with run.check("a bad setting is refused in words"):
        answer = save_settings(run.browser, run.pool.id, '{"budget": "lots"}')
        assert answer.status_code == 400, answer.text
        assert "budget" in answer.text


def first_round(run: Run) -> None:
    with run.check("queue in order"):
        assert run.label_all() == list(range(1, ROUND + 1))
    with run.check("labels by webhook"):
        run.expect(lambda status: status["labelled"] >= ROUND, "labels did not come by webhooks")
    with run.check("training"):
        run.expect(lambda status: status["champion"], "there was no model")


def second_round(run: Run) -> None:
    with run.check("second round"):
        queue_ready(run.backend, run.pool.id, BUDGET)
        assert run.label_all() == list(range(ROUND + 1, BUDGET + 1))
        run.expect(lambda status: status["labelled"] == BUDGET, "labels of the second round did not come")
        assert len(list(run.client.tasks(run.queue))) == BUDGET


def changes(run: Run) -> None:
    """A correction and a deletion arrive; a listing since a moment holds what was changed, and nothing else."""
    tasks = list(run.client.tasks(run.queue, with_annotations=True))
    (first,), (last,) = tasks[0]["annotations"], tasks[-1]["annotations"]
    with run.check("what changed is listed"):
        before = run.client.newest(run.queue)
        assert before.total == BUDGET
        assert list(run.client.tasks(run.queue, changed_since=before.changed)) == []
        run.client.send("PATCH", f"/api/annotations/{first['id']}/", {"result": last["result"]})
        (changed,) = run.client.tasks(run.queue, changed_since=before.changed)
        assert changed["id"] == tasks[0]["id"]
        assert run.client.count_tasks(run.queue, changed["id"], changed["id"]) == 1
    with run.check("deletion by webhook"):
        run.client.request("DELETE", f"/api/annotations/{last['id']}/")
        run.expect(lambda status: status["labelled"] == BUDGET - 1, "the deletion did not come")
    with run.check("Start Training"):
        (ours,) = run.client.backends(run.pool.id)
        train, page = f"/api/ml/{ours['id']}/train", f"/projects/{run.pool.id}/activity"

        def trained() -> int:
            return len(run.backend.get("/versions")["versions"])

        run.expect(lambda status: status["waits"], "it never came to rest")
        before = trained()
        # The changes above may have started a training by themselves, and without a new one there is nothing to learn.
        run.client.request("DELETE", f"/api/annotations/{first['id']}/")
        run.expect(lambda status: status["labelled"] == BUDGET - 2, "the second deletion did not come")
        run.client.request("POST", train, {})
        eventually(lambda: trained() > before, "it trained nothing", details=run.backend.tail)
        run.expect(lambda status: status["waits"], "it never came to rest after the training")
        run.client.request("POST", train, {})
        eventually(
            lambda: "no label is new" in run.backend.page(page),
            "it is not said that nothing is new",
        )


def predictions(run: Run) -> None:
    with run.check("Retrieve Predictions"):
        chosen = {"selectedItems": {"all": False, "included": run.pool.task_ids[:5]}}
        run.client.send(
            "POST",
            "/api/dm/actions/",
            {**chosen, "filters": {"conjunction": "and", "items": []}},
            params={"id": "retrieve_tasks_predictions", "project": run.pool.id},
        )
        eventually(lambda: list(run.client.predictions(run.pool.id)), "there are no predictions")
    with run.check("images"):
        found = {one["task"] for one in run.backend.status(run.pool.id)["unusable"]}
        assert found == set(run.pool.unusable)
        assert run.client.own_address() == run.studio.url
        assert run.studio.email in run.client.users()


def doctor(run: Run) -> None:
    """Nothing is wrong, and looking at it leaves nothing behind."""
    with run.check("cdsel doctor"):
        hooks = run.client.get("/api/webhooks/")
        asked = subprocess.run(
            [sys.executable, "-m", "cdsel_backend.cli", "doctor", "--json"],
            env=run.backend.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        rows = json.loads(asked.stdout)
        assert [row for row in rows if row["level"] == "problem"] == []
        assert [row["level"] for row in rows if row["subject"] == "Label Studio"] == ["ok"]
        assert asked.returncode == 0
        assert run.client.get("/api/webhooks/") == hooks

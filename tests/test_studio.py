"""The Label Studio that the demo and the tests run on."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from backend import eventually
from platformdirs import user_cache_path

from cdsel_backend.demo import installation as installation_module
from cdsel_backend.demo.installation import find_installation
from cdsel_backend.demo.process import DidNotStart, ServerProcess, local_environment
from cdsel_backend.demo.studio import LabelStudioMissing, LocalStudio
from cdsel_backend.demo.tables import DATABASE, copy_tables


def gone(pid: int) -> bool:
    """Whether no process with this id runs any more (a zombie counts as gone)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return True
    return stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_personal_token_can_be_refreshed_and_used(studio: LocalStudio) -> None:
    reply = httpx.post(
        f"{studio.url}/api/token/refresh/", json={"refresh": studio.token}, trust_env=False, timeout=60
    )
    bearer = {"Authorization": f"Bearer {reply.json()['access']}"}
    me = httpx.get(f"{studio.url}/api/current-user/whoami", headers=bearer, trust_env=False, timeout=60)
    assert me.json()["email"] == studio.email


def test_legacy_token_is_good_when_asked_for(studio: LocalStudio) -> None:
    header = {"Authorization": f"Token {studio.legacy_token}"}
    assert (
        httpx.get(f"{studio.url}/api/projects", headers=header, trust_env=False, timeout=60).status_code
        == 200
    )


def test_session_may_write(studio: LocalStudio) -> None:
    with studio.session() as browser:
        made = browser.post("/api/projects", json={"title": "Written by a session"})
        assert made.status_code == 201
        assert browser.delete(f"/api/projects/{made.json()['id']}").status_code == 204


def test_wrong_password_is_told(studio: LocalStudio) -> None:
    other = LocalStudio(studio.data_dir)
    other.url, other.password = studio.url, "wrong"
    with pytest.raises(DidNotStart, match="refused the login"), other.session():
        pass


def test_restart_keeps_login_and_token(studio: LocalStudio, tmp_path: Path) -> None:
    shutil.copytree(studio.data_dir, tmp_path / "data")
    with LocalStudio(tmp_path / "data") as second:
        assert (second.token, second.password) == (studio.token, studio.password)
        reply = httpx.post(
            f"{second.url}/api/token/refresh/",
            json={"refresh": second.token},
            trust_env=False,
            timeout=60,
        )
        assert reply.status_code == 200
        assert (second.data_dir / ".env").read_text() == (studio.data_dir / ".env").read_text()
        pid = second.pid
    assert gone(pid)
    assert oct((tmp_path / "data" / "login.json").stat().st_mode)[-3:] == "600"


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    (tmp_path / "label_studio.sqlite3").write_bytes(b"this is no database " * 100)
    with pytest.raises(DidNotStart, match=r"(?s)ended with status 1.*file is not a database"):
        LocalStudio(tmp_path).start()


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabelStudioMissing, match="pip install"):
        LocalStudio(tmp_path).start()


def test_server_too_slow_is_told_and_stopped(tmp_path: Path) -> None:
    process = ServerProcess(
        "sleeper", ["sleep", "60"], env=local_environment(), cwd=tmp_path, log=tmp_path / "log"
    )
    with pytest.raises(DidNotStart, match="did not answer within 1 s"):
        process.wait_until(lambda: False, timeout=1)
    process.stop()
    assert gone(process.pid)


def test_stop_ends_grandchildren_that_ignore_the_signal(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 60) & echo $!; sleep 60"
    log = tmp_path / "log"
    process = ServerProcess("stubborn", ["sh", "-c", script], env=local_environment(), cwd=tmp_path, log=log)
    process.wait_until(lambda: log.read_text().endswith("\n"), timeout=60)
    grandchild = int(log.read_text())
    assert not gone(grandchild)
    process.stop(timeout=0.5)
    eventually(lambda: gone(process.pid) and gone(grandchild), "a killed process is there still")


def test_ctrl_c_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cdsel_backend.demo.studio import LocalStudio\n"
        "LocalStudio(Path(sys.argv[1])).start()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    log = tmp_path / "label-studio.log"  # the tables may have to be made first
    eventually(lambda: log.exists() and children.read_text().split(), "it never started", seconds=240)
    time.sleep(0.5)
    (server,) = map(int, children.read_text().split())
    os.kill(parent.pid, signal.SIGINT)
    parent.communicate(timeout=60)
    assert gone(server)


def test_the_tables_of_the_first_are_those_of_the_next(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = find_installation()
    kept = user_cache_path("cdsel", appauthor=False) / f"label-studio-{here.release}.sqlite3"
    with closing(sqlite3.connect(kept)) as made, closing(sqlite3.connect(studio.data_dir / DATABASE)) as used:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        assert made.execute(tables).fetchall() == used.execute(tables).fetchall()
        assert made.execute("SELECT count(*) FROM htx_user").fetchone() == (0,)
    copy_tables(tmp_path, here, {}, timeout=0)
    assert (tmp_path / DATABASE).read_bytes() == kept.read_bytes()
    (tmp_path / DATABASE).write_text("there already")
    copy_tables(tmp_path, here, {}, timeout=0)
    assert (tmp_path / DATABASE).read_text() == "there already"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    (tmp_path / "other").mkdir()
    copy_tables(
        tmp_path / "other", here, {}, timeout=0
    )  # not in no time at all: Label Studio will make them itself
    assert list((tmp_path / "other").iterdir()) == []
    assert list((tmp_path / "empty/cdsel").iterdir()) == []


def test_foreign_settings_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_HOST", "https://labels.hospital.example")
    monkeypatch.setenv("DJANGO_DB", "default")
    env = local_environment()
    assert "LABEL_STUDIO_HOST" not in env
    assert "DJANGO_DB" not in env
    assert env["NO_PROXY"].endswith("127.0.0.1,localhost")

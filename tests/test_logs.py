"""The log: one line a fault, JSON where it is asked for, and what each line is about."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from cdsel_backend.cli import main
from cdsel_backend.logs import Context, JsonLines, Once, TextLines, about, name_request
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings, read_server_settings


@pytest.fixture
def log():
    """A logger, the lines it wrote, and a clock."""
    now, lines = [0.0], []
    logger = logging.getLogger("cdsel_backend.a_test")
    logger.propagate = False

    class Kept(logging.Handler):
        def emit(self, record):
            lines.append((JsonLines().format(record), TextLines().format(record)))

    handler = Kept()
    handler.addFilter(Context())
    handler.addFilter(Once(lambda: now[0]))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger, lines, now
    logger.removeHandler(handler)


def test_a_fault_is_one_line_and_then_a_count(log):
    logger, lines, now = log
    for number in range(2660):
        logger.warning("the disk is full (next try in %.0f s)", number)
    assert len(lines) == 1
    logger.warning("another fault")
    now[0] += 601
    logger.warning("the disk is full (next try in %.0f s)", 60)
    assert len(lines) == 3
    assert json.loads(lines[2][0])["repeated"] == 2659
    assert lines[2][1].endswith("(2659 times more since it was said last)")
    for _ in range(3):
        logger.info("a step")  # no fault: each is said
    assert len(lines) == 6


def test_no_name_writes_a_line_of_its_own(log):
    logger, lines, _ = log
    logger.info("the labeling config has %s", 'name="a\n2026-01-01 ERROR x\r\x1b[2J\u202e\u2028"')
    assert lines[0][1].isprintable()
    assert lines[0][1].endswith(r'name="a\n2026-01-01 ERROR x\r\x1b[2J\u202e\u2028"')


def test_a_line_says_what_it_is_about_and_a_trace_stays_in_it(log):
    logger, lines, _ = log
    with about(7):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("a step failed")
    logger.info("nothing in particular")
    threading.Thread(target=lambda: (name_request("ab12", 3), logger.info("asked"))).start()
    while len(lines) < 3:
        pass
    first, second, third = (json.loads(line) for line, _ in lines)
    assert first["project"] == 7
    assert "ValueError: two" in first["exception"]
    assert "\n" not in lines[0][0]
    assert not second.keys() & {"project", "request"}
    assert (third["project"], third["request"]) == (3, "ab12")
    assert lines[2][1].endswith("asked [request ab12]")


def test_a_request_that_fails_is_named_in_the_log(store, tmp_path, log):
    logger, lines, _ = log
    app = create_app(ServerSettings(data_dir=tmp_path), store)

    @app.get("/projects/<int:pool_project>/speaks")
    def speaks(pool_project):
        logger.info("spoken")
        return "", 204

    assert app.test_client().get("/projects/12/speaks").status_code == 204
    line = json.loads(lines[0][0])
    assert line["project"] == 12
    assert re.fullmatch("[0-9a-f]{8}", line["request"])


def test_serve_writes_json_where_it_is_asked_to():
    code = (
        "import logging; from cdsel_backend.logs import start_log; from cdsel_backend.settings import ServerSettings;"
        "start_log(ServerSettings().log_format); logging.getLogger('x').warning('said')"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CDSEL_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(made.stderr)["message"] == "said"


def test_a_format_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setenv("CDSEL_LOG_FORMAT", "xml")
    done = CliRunner().invoke(main, ["serve"])
    assert done.exit_code == 1
    assert "CDSEL_LOG_FORMAT = 'xml'" in done.output


# secrets by file


def test_secrets_are_read_from_files(tmp_path, monkeypatch):
    for name in ("LABEL_STUDIO_API_KEY", "BASIC_AUTH_PASS", "CDSEL_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
        (tmp_path / name).write_text(f"secret of {name}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.setenv("BASIC_AUTH_USER", "cdsel")
    server = read_server_settings()
    assert server.label_studio_api_key == "secret of LABEL_STUDIO_API_KEY"
    assert server.basic_auth_pass == "secret of BASIC_AUTH_PASS"
    assert server.database_url == "secret of CDSEL_DATABASE_URL"
    (tmp_path / "LABEL_STUDIO_API_KEY").write_text("another")
    assert server.token_now() == "another"
    monkeypatch.setenv("BASIC_AUTH_PASS", "x")
    with pytest.raises(ValueError, match="BASIC_AUTH_PASS and BASIC_AUTH_PASS_FILE are both set"):
        read_server_settings()
    monkeypatch.delenv("BASIC_AUTH_PASS")
    (tmp_path / "BASIC_AUTH_PASS").unlink()
    with pytest.raises(
        ValueError, match=r"_PASS_FILE = .* cannot be read \(No such file or directory\): name"
    ):
        read_server_settings()

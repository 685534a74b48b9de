"""A Label Studio of one's own: started on 127.0.0.1, with a user and a token, and ended again."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from typing_extensions import Self

from cdsel_backend.demo.installation import LabelStudioMissing, find_installation
from cdsel_backend.demo.process import DidNotStart, ServerProcess, free_port, local_environment
from cdsel_backend.demo.tables import copy_tables
from cdsel_backend.labelstudio.trust import certificates
from cdsel_backend.whole_file import whole_file

__all__ = ["LabelStudioMissing", "LocalStudio"]

EMAIL = "demo@example.com"
# Migrations make the very first start the slow one: 25 s on two idle cores, several times that on busy ones.
START_TIMEOUT = 240.0


class LocalStudio:
    """A Label Studio with its own data folder, as a context manager.

    Args:
        data_dir: where Label Studio keeps its database; made if absent and kept. None: a temporary
            folder, removed at the end.
        document_root: the folder below which local files may be served; each project still needs a
            local storage on a folder strictly inside it. None: `files` in the data folder.
        legacy_token: whether to enable the old 40-character tokens as well (`.legacy_token`); to be asked
            for at the first start of a data folder. A release before personal tokens has no others.
        environment: variables of Label Studio's that shall differ, such as another database.
        python: the interpreter of the environment that it is installed in. None: this one.

    Attributes: `url`, `email`, `password`, `token` (a personal access token, where the release has them),
    `legacy_token` (None unless asked for), `data_dir`, `document_root`, `log`; after the start `release`.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        document_root: Path | None = None,
        legacy_token: bool = False,
        environment: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        self._temporary = data_dir is None
        self.data_dir = Path(data_dir or tempfile.mkdtemp(prefix="cdsel-label-studio-")).resolve()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # Label Studio compares the paths of files and storages as text, so symbolic links go first.
        self.document_root = (document_root or self.data_dir / "files").resolve()
        self.document_root.mkdir(parents=True, exist_ok=True)
        self.log = self.data_dir / "label-studio.log"
        self.url = ""
        self.email = EMAIL
        self.password = ""
        self.token = ""
        self.legacy_token = secrets.token_hex(20) if legacy_token else None
        self._differing = dict(environment or {})
        self._python = python
        self.release = ""
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Start the server, and come back once it answers and the token is there.

        Raises:
            LabelStudioMissing: label-studio is not installed.
            DidNotStart: the server ended or did not answer in time.
        """
        installation = find_installation(self._python)
        self.release = installation.release
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._read_login()
        self._write_key()
        if not installation.has_personal_tokens:
            self.token = self.legacy_token = self.token or self.legacy_token or secrets.token_hex(20)
        command = [str(installation.python), "-m", "label_studio.server", "start", "--no-browser"]
        command += ["--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", str(self.data_dir)]
        environment = self._environment()
        if environment["DJANGO_DB"] == "sqlite":
            copy_tables(self.data_dir, installation, environment, timeout=START_TIMEOUT)
        try:
            self._process = ServerProcess(
                "Label Studio", command, env=environment, cwd=self.data_dir, log=self.log
            )
            self._process.wait_until(self._answers, START_TIMEOUT)
            if not self.token:
                self.token = self._make_token()
            if not self._login_file.exists():
                self._write_login()
        except BaseException:  # Ctrl-C while it starts must not leave it running, either
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that was started; a temporary data folder goes, too."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise RuntimeError("Label Studio is not running: call start() first")
        return self._process.pid

    @contextmanager
    def session(self) -> Iterator[httpx.Client]:
        """A client logged in with e-mail and password, as a browser is.

        Raises:
            DidNotStart: the login was refused, so another server answers on our port.
        """

        def show_csrf_token(request: httpx.Request) -> None:
            request.headers["X-CSRFToken"] = client.cookies.get("csrftoken") or ""

        with httpx.Client(
            base_url=self.url, timeout=60, trust_env=False, event_hooks={"request": [show_csrf_token]}
        ) as client:
            client.get("/user/login/")
            client.post("/user/login/", data={"email": self.email, "password": self.password})
            if client.get("/api/current-user/whoami").status_code != 200:
                raise DidNotStart(
                    f"Label Studio at {self.url} refused the login of {self.email}; see {self.log}"
                )
            yield client

    def _answers(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health", timeout=5, trust_env=False, verify=certificates())
            return answer.status_code == 200
        except httpx.HTTPError:
            return False

    def _make_token(self) -> str:
        """A personal access token without a browser: log in, then ask for one."""
        with self.session() as client:
            reply = client.post("/api/token/")
        if reply.status_code != 201:
            raise DidNotStart(f"Label Studio gave no access token ({reply.status_code}): {reply.text[:200]}")
        return str(reply.json()["token"])

    @property
    def _login_file(self) -> Path:
        return self.data_dir / "login.json"

    def _read_login(self) -> None:
        """Take up the login of an earlier start: Label Studio shows a token only once."""
        if self._login_file.exists():
            login = json.loads(self._login_file.read_text(encoding="utf-8"))
            self.email, self.password, self.token = login["email"], login["password"], login["token"]
            self.legacy_token = self.legacy_token and login["legacy_token"]
        elif not self.password:
            self.password = secrets.token_urlsafe(9)

    def _write_key(self) -> None:
        """Write the key that signs tokens: one in fifty that Label Studio draws begins with $, and is not read again.

        After the next start a new one would be drawn, and all tokens refused.
        """
        file = self.data_dir / ".env"
        if not file.exists():
            with whole_file(file) as draft:
                draft.chmod(0o600)
                draft.write_text(f"SECRET_KEY={secrets.token_hex(32)}\n", encoding="utf-8")

    def _write_login(self) -> None:
        login = {
            "email": self.email,
            "password": self.password,
            "token": self.token,
            "legacy_token": self.legacy_token,
        }
        with whole_file(self._login_file) as draft:
            draft.chmod(0o600)
            draft.write_text(json.dumps(login), encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        env = local_environment()
        if self._python is not None:  # what is on this process's path belongs to this environment
            env.pop("PYTHONPATH", None)
        env |= {
            "DJANGO_DB": "sqlite",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            # From 1.23.1 on both default to on and answer 403 to a backend or webhook on 127.0.0.1.
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "LOCAL_FILES_SERVING_ENABLED": "true",
            "LOCAL_FILES_DOCUMENT_ROOT": str(self.document_root),
            "LABEL_STUDIO_HOST": self.url,
            "LABEL_STUDIO_USERNAME": self.email,
            "LABEL_STUDIO_PASSWORD": self.password,
        }
        if self.legacy_token:
            env["LABEL_STUDIO_USER_TOKEN"] = self.legacy_token
            env["LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"] = "true"
        return env | self._differing

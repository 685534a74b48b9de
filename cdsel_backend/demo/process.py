"""A server started for the demo or the tests: its own session, its log, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

TAIL_LINES = 30


class DidNotStart(RuntimeError):
    """A server ended, or did not answer in time; the message carries the tail of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One child process with all it starts in turn, run in a session of its own.

    Its own session keeps a Ctrl-C meant for the demo away from the child, so that the demo can end
    things in its own order, and gives the whole tree one process group to signal.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id, and its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child itself still lives."""
        return self.status is None

    @property
    def status(self) -> int | None:
        """The child's exit status, negative for a signal; none while it lives."""
        return self._process.poll()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of the log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "(no log was written)"
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"

    def failure(self, what: str) -> DidNotStart:
        """An error that says what went wrong and ends with the tail of the log."""
        return DidNotStart(f"{self.name} {what}. Last lines of {self.log}:\n{self.tail()}")

    def wait_until(self, healthy: Callable[[], bool], timeout: float) -> None:
        """Wait until `healthy()` holds.

        Raises:
            DidNotStart: the process ended first, or `timeout` seconds went by.
        """
        deadline = time.monotonic() + timeout
        while not healthy():
            if not self.running:
                raise self.failure(f"ended with status {self._process.returncode} instead of starting")
            if time.monotonic() > deadline:
                raise self.failure(f"did not answer within {timeout:.0f} s")
            time.sleep(0.2)

    def stop(self, timeout: float = 15) -> None:
        """End the process and everything in its group: asked first, killed after `timeout` seconds."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:  # a second Ctrl-C: no more asking, but nothing may be left behind
            self._signal(signal.SIGKILL)
            self._process.wait()
            raise
        # The child may be gone while a grandchild is not: the group outlives its leader.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Either error: nothing of the group is left (macOS answers EPERM for one made of zombies).
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def local_environment() -> dict[str, str]:
    """This process's environment without what would steer a Label Studio or a backend of the user's own.

    Label Studio reads each setting under three names; a DJANGO_DB or LABEL_STUDIO_HOST meant for another
    installation must not reach the one we start. Proxies are told to leave 127.0.0.1 alone.
    """
    foreign = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "POSTGRE_", "CDSEL_", "BASIC_AUTH_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    for key in ("NO_PROXY", "no_proxy"):
        env[key] = ",".join(filter(None, [env.get(key), "127.0.0.1", "localhost"]))
    return env

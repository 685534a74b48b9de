"""Files that were being decoded when a process died, so that no file ends one process after another.

A decoder that crashes takes its process with it, which can say nothing by then. So each process notes beforehand what
it decodes. What a dead one had noted is decoded in a process of its own first, and refused where that dies, too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from cdsel_backend.pool.decode import UnreadableImage

try:
    import fcntl
except ImportError:  # as on Windows, where nothing is kept
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

FOLDER = "decoding"  # in the data folder
CRASHED = "crashed"  # the file of the digests that ended a process of their own
DIGEST_LETTERS = 64
MOST_AT_ONCE = 1024  # files that a thread decodes together: more are not noted
TRIAL_SECONDS = 600.0


class DecodeJournal:
    """What this process decodes, and what those that died had decoded, by content hash."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a folder that other processes of this machine may use, too."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._guard = threading.Lock()
        self._used: set[int] = set()  # parts of the file, one for each thread that decodes
        self._suspects: set[str] = set()
        self._crashed_bytes = 0  # of the list of files that ended a process of their own, read so far
        # What this one tried, and what ended the process of the trial.
        self._fatal: dict[str, UnreadableImage] = {}
        self._own = folder / f"{uuid.uuid4().hex}.journal"
        draft = self._own.with_suffix(".new")
        self._file = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # it ends with this process
        draft.rename(self._own)  # only now: unlocked, another process would take it for that of a dead one
        self.collect()

    @contextmanager
    def decoding(self, digests: Sequence[str]) -> Iterator[None]:
        """Note that these files are being decoded, in this thread."""
        noted = "".join(digests[:MOST_AT_ONCE]).encode()
        with self._guard:
            part = next(number for number in count() if number not in self._used)
            self._used.add(part)
        self._write(part, noted)
        try:
            yield
        finally:
            self._write(part, b"\0" * len(noted))
            with self._guard:
                self._used.discard(part)

    def _write(self, part: int, noted: bytes) -> None:
        with suppress(OSError):  # a full disk is no reason to read no image
            os.pwrite(self._file, noted, part * MOST_AT_ONCE * DIGEST_LETTERS)

    def collect(self) -> None:
        """Take over what processes had noted that died since."""
        with suppress(OSError), (self._folder / CRASHED).open("rb") as file:
            file.seek(self._crashed_bytes)
            self._add(file.read().decode())
            self._crashed_bytes = file.tell()
        for path in self._folder.glob("*.journal"):
            if path != self._own:
                with suppress(OSError):
                    self._collect(path)

    def _collect(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._add(path.read_bytes().replace(b"\0", b"").decode())
            path.unlink()
        finally:
            os.close(file)

    def _add(self, text: str) -> None:
        starts = range(0, len(text) - DIGEST_LETTERS + 1, DIGEST_LETTERS)
        with self._guard:
            self._suspects.update(text[start : start + DIGEST_LETTERS] for start in starts)

    def suspects(self, digest: str | None) -> bool:
        """Whether a file was being decoded in a process that died."""
        return digest in self._suspects

    def try_apart(self, digest: str, data: bytes, *, max_pixels: int) -> None:
        """Decode a file of which that is so in a process of its own.

        Raises:
            UnreadableImage: that process died.
        """
        if digest in self._fatal:
            raise self._fatal[digest]
        command = [sys.executable, "-c", _TRIAL, str(max_pixels)]
        try:
            status = subprocess.run(
                command, input=data, capture_output=True, timeout=TRIAL_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        if status >= 0:  # whatever else is wrong with it comes out where it is decoded
            with self._guard:
                self._suspects.discard(digest)
            return
        # On a full disk the others find out by themselves.
        with suppress(OSError), (self._folder / CRASHED).open("a", encoding="utf-8") as file:
            file.write(digest)
        self._fatal[digest] = UnreadableImage(
            f"decoding it ends the process ({signal.Signals(-status).name}): the file is damaged in a way that the "
            "decoder does not survive, or takes too much memory; save it anew, or upgrade Pillow"
        )
        raise self._fatal[digest]


_TRIAL = """
import sys
from contextlib import suppress
from cdsel_backend.pool.decode import UnreadableImage, read_image
with suppress(UnreadableImage):
    read_image(sys.stdin.buffer.read(), max_pixels=int(sys.argv[1]))
"""

_kept: dict[str, DecodeJournal] = {}


def keep_journal(data_dir: Path) -> None:
    """Keep this process's journal in a data folder from here on, where that can be locked.

    Where it is kept already it takes over what processes had noted that died since.
    """
    if (journal := kept_journal()) is not None:
        journal.collect()
        return
    if fcntl is None:
        return
    try:
        _kept["journal"] = DecodeJournal(data_dir / FOLDER)
    except OSError as fault:
        log.warning("a file that ends this process could not be found by the next one: %s", fault)


def kept_journal() -> DecodeJournal | None:
    """This process's journal; None where none is kept."""
    return _kept.get("journal")


@contextmanager
def survived(digest: str, data: bytes, *, max_pixels: int) -> Iterator[None]:
    """Have the journal know of a file while it is decoded, which first is tried apart where a process died of it.

    Raises:
        UnreadableImage: that process died, too.
    """
    journal = kept_journal()
    if journal is None:
        yield
        return
    if journal.suspects(digest):
        journal.try_apart(digest, data, max_pixels=max_pixels)
    with journal.decoding([digest]):
        yield

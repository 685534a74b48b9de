"""Processes that embed side by side, where the interpreter's lock of one would bound a fast GPU.

One process hands some 3,500 images a second to a GPU, however fast that is (`tests/benchmarks/gpu.py`). Each of these
has a lock, a network and a decoder of its own; what started them hands out the images and takes what comes of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cdsel_backend.pool.prepare import CORES, Embedded
from cdsel_backend.pool.process_service import Load, Opening, Packed, serve, unpacked

if TYPE_CHECKING:  # torch is slow to load, and most who import this need none of it
    import torch

log = logging.getLogger(__name__)

K = TypeVar("K")
CHUNK = 256  # images that a process is handed at once
# Images that a process has: more than its stream gathers before it gives the first, which is a decoder's window, and
# four batches where all are known.
UNDER_WAY = 4096
EACH_GPU = 3
CORES_EACH = 4  # that a process keeps busy
HANGS_AFTER = 900.0  # seconds in which a process that has images gives nothing: no read may take so long
LOOK_SECONDS = 10.0  # between looks for one that hangs


def processes_for(device: torch.device) -> list[torch.device]:
    """The GPU of each of the processes that keep a device busy; none for a CPU, or with cores for one alone.

    Each GPU has one, however few the cores: this process alone would use all of them.
    """
    if device.type != "cuda":
        return []
    from cdsel_backend.pool.devices import all_gpus

    gpus = all_gpus(device)
    if CORES < 2 * CORES_EACH:
        return []
    count = max(len(gpus), min(EACH_GPU * len(gpus), CORES // CORES_EACH))
    return [gpus[number % len(gpus)] for number in range(count)]


class EmbeddingProcesses:
    """Processes with a backbone, which embed one stream after another until they are stopped."""

    def __init__(
        self, loads: Sequence[Load], opening: Opening, sample: Sequence[Any], *, max_pixels: int
    ) -> None:
        """Start a process for each of `loads`; they are ready some time later.

        Args:
            loads: see `Load`.
            opening: see `Opening`.
            sample: keys of some images, which each embeds first, so that it has found its fastest way by then.
            max_pixels: see `decode`.
        """
        self.begun = time.monotonic()
        self._guard = threading.Lock()
        self._stream: ProcessStream[Any] | None = None
        self._processes = [_Process(load, opening, sample, max_pixels) for load in loads]

    @property
    def alive(self) -> bool:
        """Whether any of them has not ended."""
        return any(process.alive for process in self._processes)

    @property
    def problems(self) -> list[str]:
        """Why processes ended by themselves, a sentence each."""
        return list(dict.fromkeys(process.problem for process in self._processes if process.problem))

    @property
    def busy(self) -> bool:
        """Whether a stream is under way."""
        return self._stream is not None and not self._stream.ended

    def stream(self, opening: Opening, keys: Iterable[K], *, ahead: int) -> ProcessStream[K] | None:
        """Embed the images of these keys (see `ProcessStream`); None while not all are ready, or one is under way."""
        with self._guard:
            alive = [process for process in self._processes if process.alive]
            if self.busy or not alive or not all(process.ready for process in alive):
                return None
            self._stream = ProcessStream(alive, opening, keys, ahead=ahead)
            return self._stream

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.stop()


class ProcessStream(Generic[K]):
    """As `embed.EmbeddingStream`, in processes; what comes of the images comes in any order.

    Where a process ends, nothing comes of the images that it had: who wants them asks again.
    """

    def __init__(
        self, processes: Sequence[_Process], opening: Opening, keys: Iterable[K], *, ahead: int
    ) -> None:
        """Begin.

        Args:
            processes: those that embed.
            opening: see `Opening`.
            keys: of the images; consumed lazily, in a thread of its own. What they raise ends the stream.
            ahead: results that may lie ready before the caller takes them.
        """
        self.ended = False
        """Whether everything was taken."""
        self._ahead = ahead
        self._out: queue.SimpleQueue[list[Embedded[K]] | BaseException | None] = queue.SimpleQueue()
        self._changed = threading.Condition()  # guards what follows
        self._untaken = 0
        self._stopped = self._finishing = False
        self._open: dict[_Process, deque[list[K]]] = {process: deque() for process in processes}
        self._processes = list(processes)
        for process in processes:
            process.begin(self, opening)
        self._feeder = threading.Thread(target=self._feed, args=(iter(keys),), name="embed", daemon=True)
        self._feeder.start()

    def __enter__(self) -> ProcessStream[K]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def next_batch(self, seconds: float | None = None) -> list[Embedded[K]]:
        """Take the next results; waits for them, at the longest `seconds`.

        Empty at the end, and where none came in time. Raises what the keys or the reading of an image raised as
        EmbeddingStream does, once all that came before it is taken.
        """
        try:
            found = self._out.get(timeout=seconds)
        except queue.Empty:
            return []
        if isinstance(found, list):
            with self._changed:
                self._untaken -= len(found)
                self._changed.notify_all()
            return found
        self.close()
        if found is not None:
            raise found
        return []

    def close(self) -> None:
        """End; what is under way is waited for, and dropped where it is not taken."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._feeder.join()
        self.ended = True

    def take(self, process: _Process, packed: Packed) -> None:
        """What a process has made of the oldest chunk that it had; of a part of it, where an error follows."""
        with self._changed:
            items = unpacked(self._open[process].popleft(), packed)
            self._untaken += len(items)
            self._changed.notify_all()
        self._out.put(items)

    def leave(self, process: _Process, error: BaseException | None) -> None:
        """A process has come to the end of the stream, raised an error there, or ended."""
        with self._changed:
            self._open.pop(process, None)
            self._stopped = self._stopped or error is not None
            self._changed.notify_all()
        if error is not None:
            self._out.put(error)

    def _feed(self, keys: Iterator[K]) -> None:
        error = None
        try:
            while not self._stopped and (chunk := list(islice(keys, CHUNK))) and self._hand_out(chunk):
                pass
        except BaseException as raised:
            error = raised
        self._finishing = True
        for process in self._processes:  # also one that has raised an error, and waits for the end
            process.finish()
        with self._changed:
            self._wait_for(lambda: not self._open)
        self._out.put(error)

    def _hand_out(self, chunk: list[K]) -> bool:
        """Give a chunk to the process that has the fewest, once it has room; False where the stream is to end."""

        def fewest() -> _Process:
            return min(self._open, key=lambda process: len(self._open[process]))

        with self._changed:
            self._wait_for(
                lambda: (
                    self._stopped
                    or not self._open
                    or (len(self._open[fewest()]) < UNDER_WAY // CHUNK and self._untaken < self._ahead)
                )
            )
            if self._stopped or not self._open:
                return False
            process = fewest()
            self._open[process].append(chunk)
        process.embed(chunk)
        return True

    def _wait_for(self, come: Callable[[], bool]) -> None:
        """Wait for a change; a process that hangs, as on a GPU that does not answer, is ended meanwhile."""
        while not self._changed.wait_for(come, LOOK_SECONDS):
            for process, chunks in self._open.items():
                if (chunks or self._finishing) and time.monotonic() - process.heard > HANGS_AFTER:
                    process.end(f"it gave nothing for {HANGS_AFTER / 60:.0f} min")


class _Process:
    """A process, as the one that started it sees it."""

    def __init__(self, load: Load, opening: Opening, sample: Sequence[Any], max_pixels: int) -> None:
        self.alive = True
        self.ready = False
        """Whether it has embedded its sample."""
        self.problem = ""
        """Why it ended by itself, as a sentence."""
        self.heard = time.monotonic()
        """When it last had a message for us, or one of ours."""
        self._stopping = False
        self._guard = threading.Lock()
        self._stream: ProcessStream[Any] | None = None
        # Spawned, not forked: torch does not survive a fork.
        spawn = multiprocessing.get_context("spawn")
        self._connection, far = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(far, load, opening, list(sample), max_pixels))
        self._process.start()
        Finalize(self, self._process.kill, exitpriority=1)  # before multiprocessing waits for it at our end
        far.close()
        threading.Thread(target=self._receive, name="embed", daemon=True).start()

    def begin(self, stream: ProcessStream[Any], opening: Opening) -> None:
        """Embed for a stream from here on."""
        with self._guard:
            if self.alive:
                self._stream = stream
        if self._stream is None:
            stream.leave(self, None)
        self._send(opening)

    def embed(self, keys: Sequence[Any]) -> None:
        """Embed images of the stream."""
        self._send(list(keys))

    def finish(self) -> None:
        """Come to the end of the stream."""
        self._send(None)

    def stop(self) -> None:
        """End it, whatever it is at."""
        self._stopping = True
        self._process.kill()
        self._process.join()

    def end(self, reason: str) -> None:
        """End it because of what it does; its images are for the others."""
        self.problem = reason
        self._process.kill()

    def _send(self, message: object) -> None:
        self.heard = time.monotonic()
        with suppress(OSError):  # it has ended, which `_receive` sees
            self._connection.send(message)

    def _receive(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = self._connection.recv()
                self.heard = time.monotonic()
                if isinstance(message, str):
                    self.problem = message
                elif not self.ready:
                    self.ready = True
                elif isinstance(message, tuple):
                    assert self._stream is not None
                    self._stream.take(self, message)
                else:
                    self._leave(message)
        with self._guard:
            self.alive = False
        self._leave(None)
        self._process.join()
        status = self._process.exitcode
        if status and not self._stopping:
            killed = f"{signal.Signals(-status).name}, as where memory runs out" if status < 0 else ""
            reason = self.problem or killed or f"status {status}"
            self.problem = f"A process that embeds ended, what it had is embedded again: {reason}"
            log.warning("%s", self.problem)

    def _leave(self, error: BaseException | None) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.leave(self, error)

"""What a run of the embedding path costs: CPU time by kind of thread, and who holds the interpreter's lock."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

HZ = 200
LOOK_SECONDS = 0.01


class Spent:
    """CPU seconds by kind of thread, also of threads that end meanwhile."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._waited = self._looks = 0.0
        self._begun, self._seen = time.process_time(), self._now()
        self._latest = dict(self._seen)
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.is_set():
            begun = time.perf_counter()
            time.sleep(LOOK_SECONDS)
            self._waited += time.perf_counter() - begun - LOOK_SECONDS
            self._looks += 1
            self._latest |= self._now()

    @staticmethod
    def _now() -> dict[tuple[int, str], float]:
        found = {}
        for thread in threading.enumerate():
            if thread.ident is not None:
                with suppress(OSError):  # it ended
                    clock = time.pthread_getcpuclockid(thread.ident)
                    found[thread.ident, re.sub(r"[-_]\d+.*", "", thread.name)] = time.clock_gettime(clock)
        return found

    def end(self) -> tuple[float, dict[str, float], float]:
        """All, by kind, and how long a thread waited that wanted the lock, each time."""
        whole = time.process_time() - self._begun
        self._ended.set()
        self._thread.join()
        kinds: Counter[str] = Counter()
        for key, seconds in (self._latest | self._now()).items():
            kinds[key[1]] += seconds - self._seen.get(key, 0.0)
        kinds["ended or native"] = whole - sum(kinds.values())
        return whole, kinds, self._waited / max(1, self._looks)


@contextmanager
def spied(file: Path) -> Iterator[None]:
    """Have py-spy write down, `HZ` times a second, where the thread is that holds the lock."""
    spy = shutil.which("py-spy")
    if spy is None:
        yield
        return
    command = [spy, "record", "--gil", "--nonblocking", "--pid", str(os.getpid()), "--rate", str(HZ)]
    command += ["--format", "raw", "--output", str(file), "--duration", "600"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)  # until it looks
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def held(file: Path, seconds: float) -> tuple[float, dict[str, float]] | None:
    """The share of the time that the lock was held, and by which of our files (the innermost)."""
    if not file.exists():
        return None
    files: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        own = re.findall(r"cdsel_backend/([\w/]+\.py)", frames) or re.findall(r"(\w+\.py)", frames)[:1]
        files[own[-1] if own else "?"] += int(count)
    looks = seconds * HZ
    return sum(files.values()) / looks, {name: count / looks for name, count in files.most_common(12)}


def _switches() -> int:
    """How often a thread of this process gave a core up so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_nvcsw + used.ru_nivcsw


def measured(
    begin: Callable[[], AbstractContextManager[Callable[[], int]]], rounds: int = 3
) -> dict[str, object]:
    """What something costs that is begun, and then returns how many images it embedded: the cheapest of some runs."""
    found = min((_measured_once(begin) for _ in range(rounds)), key=lambda one: float(str(one["cpu_us"])))
    with tempfile.TemporaryDirectory() as name, begin() as run:
        file = Path(name, "samples")
        with spied(file):
            begun = time.perf_counter()
            images = run()
            seconds = time.perf_counter() - begun
        if lock := held(file, seconds):
            found["lock_us"] = round(1e6 * lock[0] * seconds / images, 1)
            found["lock_by_file"] = {
                file: round(1e6 * share * seconds / images, 1) for file, share in lock[1].items()
            }
            found["lock_held"] = round(lock[0], 2)
    return found


def _measured_once(begin: Callable[[], AbstractContextManager[Callable[[], int]]]) -> dict[str, object]:
    with begin() as run:
        begun, spent, before = time.perf_counter(), Spent(), _switches()
        images = run()
        seconds, after = time.perf_counter() - begun, _switches()
        whole, kinds, waited = spent.end()
    return {
        "images_s": round(images / seconds),
        "cpu_us": round(1e6 * whole / images, 1),
        "switches": round((after - before) / images, 2),
        "wait_us": round(1e6 * waited),
        "cpu_by_thread": {
            name: round(1e6 * used / images, 1)
            for name, used in sorted(kinds.items(), key=lambda kind: -kind[1])
        },
    }

"""SIGKILL at instrumented points of full runs of the real worker: what is lost, doubled or beyond the budget after it.

    python tests/reliability/kills.py --kills 1000 --table kills.md

A run goes from an empty data folder to a budget that is labelled. A point lies before and after each commit of the
database, each request to Label Studio and each renaming of a file: some 2,000 in a run that nothing disturbs. The
worker dies at one of them, is started again, dies at the next one that is drawn, until the run is at its end; then the
books are compared with Label Studio, and a training must see every label. Label Studio is the tests' own.

Workers are forked from a process that has imported them, or 1,000 starts would take hours. A training runs in the
worker's own process, so that its points are among those that kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.append(str(Path(__file__).parents[1]))  # as pytest has it

STEPS = {
    *(
        "describe",
        "sync_pool",
        "sync_queues",
        "embed",
        "check_champion",
        "refill",
        "detect_confounders",
        "train",
    ),
    *("select_round", "open_queues", "push", "preannotate", "keep_layout", "take_lease", "holds"),
}
POOL, BUDGET, ROUND = 24, 12, 4
SPACING = (4.0, 9.0)  # points between two kills, as powers of two: few, and now and then many
PATIENCE = 600.0  # seconds for a run to come to its end once nothing kills it


# the worker's side


def instrument(kill_at: int, report: Callable[[str], None]) -> list[int]:
    """Let this process die at the n-th of its points (0: at none), which is reported first; returns their count."""
    import httpx
    from sqlalchemy.engine.default import DefaultDialect

    passed = [0]
    guard = threading.Lock()

    def point(name: str) -> None:
        with guard:
            passed[0] += 1
            if passed[0] == kill_at:
                report(f"{name} · {step()}")
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

    def wrap(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def wrapped(*given: Any, **options: Any) -> Any:
            point(f"before {what}")
            done = original(*given, **options)
            point(f"after {what}")
            return done

        setattr(owner, name, wrapped)

    wrap(DefaultDialect, "do_commit", "a commit")
    wrap(httpx.Client, "send", "a request")
    for name in ("rename", "replace"):
        wrap(os, name, "a renaming")
        wrap(Path, name, "a renaming")
    return passed


def step() -> str:
    """The step that this thread is at."""
    frame, found = sys._getframe(), "start"
    while frame is not None:
        if frame.f_code.co_name in STEPS:
            return frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return found


def zygote() -> None:
    """Fork a worker for each line of input, and write how it ended."""
    import fire
    from fire import EightPixels

    import cdsel_backend.pool.backbones as backbones
    from cdsel_backend.reconcile import worker as module
    from cdsel_backend.settings import ServerSettings

    backbones.load_backbone = lambda *given, **options: EightPixels()  # type: ignore[assignment]
    module.LOOK_SECONDS, module.LONGEST_REST, module.LONGEST_PAUSE = 0.05, 0.2, 0.2
    module.BEAT_SECONDS = 60.0
    import label_studio_sdk.client  # noqa: F401  # slow to import

    for line in sys.stdin:
        order = json.loads(line)
        number = os.fork()
        if number == 0:
            said = os.fdopen(os.dup(1), "w")

            def report(words: str, out: Any = said) -> None:
                print(json.dumps({"point": words}), file=out, flush=True)

            stop = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_, stop=stop: stop.set())
            server = ServerSettings(
                data_dir=Path(order["folder"]),
                label_studio_url=order["url"],
                label_studio_api_key=fire.TOKEN,
                poll_seconds=1,
                device="cpu",
            )
            worker = module.Worker(server)
            worker.trainings = fire.AtOnce(worker)
            passed = instrument(order["kill_at"], report)
            worker.run(stop)
            print(f"{passed[0]} points in a life", file=sys.stderr, flush=True)
            os._exit(0)
        print(json.dumps({"pid": number}), flush=True)
        _, status = os.waitpid(number, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


# the harness's side


@dataclass
class Tally:
    """What was tried, and what did not hold after it."""

    tried: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(fault, kind) -> how often."""
    words: list[str] = field(default_factory=list)
    runs: int = 0

    def table(self) -> str:
        """The table, as Markdown."""
        from fire import DOUBLE, LOST, OTHER, OVERRUN

        kinds = (LOST, DOUBLE, OVERRUN, OTHER)
        lines = [f"| fault | times tried | {' | '.join(kinds)} |", "| --- " * 6 + "|"]
        for name, times in sorted(self.tried.items()):
            counts = " | ".join(str(self.broken[name, kind]) for kind in kinds)
            lines.append(f"| {name} | {times:,} | {counts} |")
        return "\n".join(lines)


class Nursery:
    """Starts workers, and says how they ended."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._heard: list[dict[str, Any]] = []
        self._ended = threading.Event()
        self.pid = 0

    def start(self, **order: Any) -> None:
        """Start a worker."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self._heard, self._ended = [], threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            self._heard.append(said)
            self.pid = said.get("pid", self.pid)
            if "ended" in said:
                self._ended.set()
                return

    def wait(self, until: Callable[[], bool], seconds: float) -> str | None:
        """Wait for its death, or for what else ends the wait; returns the point at which it was killed, if it was."""
        deadline = time.monotonic() + seconds
        while not self._ended.wait(0.05):
            if until() or time.monotonic() > deadline:
                return None
        return next((said["point"] for said in self._heard if "point" in said), "its own end")

    def stop(self) -> None:
        """End the worker as an administrator does."""
        if not self._ended.is_set() and self.pid:
            os.kill(self.pid, signal.SIGTERM)
            if not self._ended.wait(30):
                os.kill(self.pid, signal.SIGKILL)
                self._ended.wait(10)

    def close(self) -> None:
        """End everything."""
        self.stop()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(120)


@contextmanager
def annotating(studio: Any, pool: int, truth: Callable[[dict[str, Any]], str], seed: int) -> Iterator[None]:
    """An annotator who labels what comes next in the queues, now and then twice or out of order."""
    from fire import SPACE

    stop, rng = threading.Event(), random.Random(seed)

    def work() -> None:
        while not stop.wait(0.03):
            with studio.lock:
                for queue in [number for number in studio.projects if number != pool]:
                    task = studio.next(queue)
                    if task is not None and rng.random() < 0.6:
                        if rng.random() < 0.1:
                            task = rng.choice(studio.of(queue))
                        studio.submit(task["id"], SPACE.result_for(truth(task)))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def one_run(nursery: Nursery, seed: int, most_kills: int, tally: Tally) -> int:
    """A run from an empty folder to the end, with kills on the way; returns how many there were."""
    from conftest import LABEL_CONFIG
    from fake_studio import fake_studio
    from fire import CLASSES, OTHER, Checks, Clock, EightPixels, House, picture

    rng, kills, faults = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory(prefix="cdsel-kills-") as folder, fake_studio() as studio:
        tasks = [
            {"image": picture(seed * 100 + one), "site": "ns"[one % 2], "patient": f"P{one // 2}"}
            for one in range(POOL)
        ]
        pool = studio.add_project("Pool", LABEL_CONFIG, tasks)
        settings = {"budget": BUDGET, "round_size": ROUND, "retrain_every": 4, "seed": seed}
        house = House(studio, Path(folder) / "data", Clock(), pool, settings=settings)
        house.folder.mkdir()
        house.open()
        checks = Checks(house, [BUDGET])
        studio.imported = checks.imported

        def truth(task: dict[str, Any]) -> str:
            return str(CLASSES[int(task["data"].get("cdsel_item", task["id"])) % len(CLASSES)])

        def done() -> bool:
            state = house.state()
            return (
                len(state.labels) == BUDGET
                and not state.open
                and not state.waiting
                and not state.changed_labels
            )

        with annotating(studio, pool, truth, seed):
            began = time.monotonic()
            while not done():
                last = kills >= most_kills
                kill_at = 0 if last else int(2 ** rng.uniform(*SPACING))
                nursery.start(folder=str(house.folder), url=studio.url, kill_at=kill_at)
                point = nursery.wait(done, PATIENCE)
                nursery.stop()
                if point is not None:
                    kills += 1
                    fault, _, where = point.partition(" · ")
                    faults.append(f"SIGKILL {fault}")
                    tally.steps[where] += 1
                if time.monotonic() - began > PATIENCE + 20 * most_kills:
                    checks.broken.append((OTHER, f"the run {seed} never came to its end"))
                    break
        items = {task["id"] for task in studio.of(pool)}
        if not checks.broken:
            house.worker.trainings = house.trainings
            # Its own worker sees images as the killed ones did.
            with patch("cdsel_backend.pool.backbones.load_backbone", lambda *given, **options: EightPixels()):
                house.settle()
            checks.at_rest((), lambda task: CLASSES if task in items else ())
        house.close()
    tally.tried.update(faults)
    tally.runs += 1
    for kind, words in checks.broken:
        tally.words.append(f"run {seed}: {kind}: {words}")
        tally.broken.update((fault, kind) for fault in set(faults))
    return kills


def run(kills: int, *, per_run: int = 10, seconds: float = 10**9, seed: int = 0) -> Tally:
    """Kill so many times, in runs of `per_run` kills each, for no longer than so many seconds."""
    tally, done, began = Tally(), 0, time.monotonic()
    nursery = Nursery()
    try:
        while (done < kills or not tally.runs) and time.monotonic() - began < seconds:
            done += one_run(nursery, seed, min(per_run, kills - done), tally)
            seed += 1
            print(
                f"{done} kills in {tally.runs} runs, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    finally:
        nursery.close()
    return tally


def main() -> None:
    """Run, print the table, and end with 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10**9, help="begin no further run after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--lives", type=int, default=0, help="of the state machine (`test_machine.py`), before the kills"
    )
    parser.add_argument("--table", type=Path, help="write the table into this file, too")
    parser.add_argument("--zygote", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.zygote:
        zygote()
        return
    import test_machine as machine

    if options.lives:
        machine.run(options.lives, always_the_same=False)  # ends here where something does not hold
    tally = run(options.kills, seconds=options.seconds, seed=options.seed)
    tally.tried.update(machine.TRIED)
    print(tally.table())
    print(f"\n{tally.runs} runs; killed in: {dict(tally.steps.most_common())}")
    print("\n".join(tally.words))
    if options.table:
        options.table.write_text(f"{tally.table()}\n", encoding="utf-8")
    raise SystemExit(bool(tally.broken))


if __name__ == "__main__":
    main()

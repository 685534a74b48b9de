"""SIGKILL at named points inside every step of the real worker: what is lost, doubled or beyond the budget after it.

    python tests/reliability/kills.py --kills 1000 [--real] [--seed 0] [--seconds 3600] [--table kills.md]

A run goes from an empty data folder to a budget that is labelled and trained on. The worker dies at a named point of a
step (`life.py` says which there are), is started again, dies at the next one, and so on to the end of the run. After
each death, and at the end, the database, the files and Label Studio are looked at. Label Studio is the tests' own,
with --real one that is started for this.

Prints one JSON line with a row for each point, ends with 1 where something did not hold. Points and lives follow from
the seed. Workers are forked from a process that has imported what they need, or 1,000 starts would take an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # as pytest has it

from life import CONFIG, STUCK, Order, live, truth

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.store import State, Store

POOL, BUDGET, ROUND = 24, 12, 4
SETTINGS = {"budget": BUDGET, "round_size": ROUND, "retrain_every": 4, "refill_at": 0.5}
HOOK = "http://127.0.0.1:9"  # the webhooks' address: nobody listens, labels are found by looking
SLOW_IMPORTS = [
    "cdsel_backend.reconcile.worker",
    "cdsel_backend.pool.backbones",
    "sklearn.linear_model",
    "scipy.stats",
]
MOST_KILLS = 30  # of one run
LIFE_CLOCK = 400.0
"""Seconds from the beginning of a life to that of the next, by their clock: more than a lease."""
LIFE_SECONDS = 600.0  # after which a life counts as hanging
LOST, DOUBLE, OVERRUN, OTHER = KINDS = ("lost labels", "duplicates", "overruns", "other")


@dataclass
class Tally:
    """What was tried, and what did not hold after it."""

    tried: Counter[str] = field(default_factory=Counter)
    """Point -> kills."""
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Point, kind -> how often."""
    sentences: list[str] = field(default_factory=list)
    runs: int = 0
    lives: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the worker's lives."""

    def note(self, points: list[str], faults: list[tuple[str, str]]) -> None:
        """Note what did not hold after kills at these points."""
        for kind, sentence in faults:
            self.sentences.append(f"{sentence} (killed {points})")
            self.broken.update((point, kind) for point in set(points))

    def row(self, name: str) -> dict[str, Any]:
        """A point's row; of a name that ends in a colon that of a step."""
        points = [point for point in self.tried if point.startswith(name)] if name.endswith(":") else [name]
        found = {kind: sum(self.broken[point, kind] for point in points) for kind in KINDS}
        return {"point": name.rstrip(":"), "kills": sum(self.tried[point] for point in points), **found}

    def table(self) -> str:
        """A row for each step, as Markdown."""
        steps = list(dict.fromkeys(point.partition(":")[0] + ":" for point in self.tried))
        lines = ["| killed in | points | kills | " + " | ".join(KINDS) + " |", "| --- " * 7 + "|"]
        for step in steps:
            row, points = self.row(step), sum(point.startswith(step) for point in self.tried)
            cells = [row["point"], points, row["kills"], *(row[kind] for kind in KINDS)]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        return "\n".join(lines)


@dataclass
class Site:
    """A Label Studio, a pool project in it and the backend's data folder."""

    url: str
    token: str
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        from inside import picture

        self.studio = LabelStudio(self.url, self.token)
        self.space = parse_label_space(CONFIG)
        self.pool = self.studio.create_project(f"Pool {self.seed}", CONFIG)
        data = [
            {
                "image": picture(self.seed * 100 + number),
                "site": "ns"[number % 2],
                "patient": f"P{number // 2}",
            }
            for number in range(POOL)
        ]
        self.studio.import_tasks(self.pool, [{"data": one} for one in data])
        self.folder.mkdir()
        self.store = Store(f"sqlite:///{self.folder / 'cdsel.sqlite3'}")
        settings = {"extra parameters": SETTINGS | {"seed": self.seed}}
        self.project = self.store.connect_project(self.url, self.pool, backend_url=HOOK, layers=settings)
        self.labels: dict[int, str] = {}
        """Task of the pool -> its label in the books, when they were looked at last."""

    def queues(self) -> list[int]:
        """The queue projects of the pool, also such as were made and not recorded."""
        mark = f"of project {self.pool}]"
        return [one["id"] for one in self.studio.projects() if mark in (one["description"] or "")]

    def look(self, *, ended: bool = False) -> list[tuple[str, str]]:
        """What does not hold now, or at the end of a run: kinds and sentences."""
        state, queues = State(self.store, self.project), self.queues()
        task_of = {row.id: row.task for row in state.items}
        labels = {task_of[item]: label for item, label in state.labels.items()}
        found = [*self._files(state), *self._studio(queues)]
        forgotten = self.labels.keys() - labels.keys()
        found += [(LOST, f"the labels of {forgotten} are gone from the books")] if forgotten else []
        wrong = {task for task, label in labels.items() if label != truth(self.space, task)}
        found += [(OTHER, f"the labels of {wrong} are others than were given")] if wrong else []
        if ended:
            found += self._end(state, labels, queues)
        self.labels = labels
        return found

    def _files(self, state: State) -> Iterator[tuple[str, str]]:
        """The database, the vectors and the model that serves."""
        from cdsel_backend.training import ModelFormatError, load

        with closing(sqlite3.connect(self.folder / "cdsel.sqlite3")) as database:
            for check in ("integrity_check", "foreign_key_check"):
                faults = [row for row in database.execute(f"PRAGMA {check}") if row != ("ok",)]
                if faults:
                    yield OTHER, f"{check}: {faults}"
        backbone, hashes = (
            state.project.backbone,
            [row.content_hash for row in state.items if row.content_hash],
        )
        if backbone and hashes:
            vectors = self.store.vectors_kept
            if len(vectors.verify(backbone)) or min(vectors.find(backbone, hashes)) < 0:
                yield OTHER, "an item has no vector, or a broken one"
        if state.project.champion:
            try:
                load(self.folder / "models" / str(self.project) / state.project.champion)
            except ModelFormatError as fault:
                yield OTHER, str(fault)

    def _studio(self, queues: list[int]) -> Iterator[tuple[str, str]]:
        """What Label Studio holds."""
        if len(queues) > 1:
            yield DOUBLE, f"there are the queues {queues}"
        tasks = [task for queue in queues for task in self.studio.tasks(queue)]
        counted = Counter(task["data"]["cdsel_item"] for task in tasks)
        if twice := [item for item, count in counted.items() if count > 1]:
            yield DOUBLE, f"the items {twice} entered a queue twice"
        if len(counted) > BUDGET:
            yield OVERRUN, f"{len(counted)} images of a budget of {BUDGET} are in the queue"
        ranks = [task["data"]["cdsel_rank"] for task in tasks]
        if ranks != sorted(ranks):
            yield OTHER, f"the ranks are {ranks}"
        if not all(task["data"]["cdsel_reason"] for task in tasks):
            yield OTHER, "a task has no reason"
        for queue in queues:
            shown = Counter((one["task"], one["model_version"]) for one in self.studio.predictions(queue))
            if again := [task for (task, _), count in shown.items() if count > 1]:
                yield DOUBLE, f"the tasks {again} have a version's prediction twice"

    def _end(self, state: State, labels: dict[int, str], queues: list[int]) -> Iterator[tuple[str, str]]:
        """What holds once all is labelled and trained on."""
        if len(labels) != BUDGET or state.open or state.waiting:
            yield OTHER, f"{len(labels)} labels, {len(state.open)} open, {len(state.waiting)} waiting"
        for queue in queues:
            for task in self.studio.tasks(queue, with_annotations=True):
                item = task["data"]["cdsel_item"]
                if labels.get(item) != truth(self.space, item) or not task["annotations"]:
                    yield LOST, f"item {item} is {labels.get(item)} in the books"
        for project in (self.pool, *queues):
            ours = [hook for hook in self.studio.webhooks(project) if hook["url"].startswith(HOOK)]
            if len(ours) != 1:
                yield DOUBLE if ours else OTHER, f"project {project} has {len(ours)} webhooks of ours"
        trained = state.trained_labels
        if trained != state.labels:
            yield LOST, f"the last training saw {len(trained)} of {len(labels)} labels, or others"
        versions = [training.version for training in state.trainings if training.version]
        if len(set(versions)) != len(versions):
            yield DOUBLE, f"a version was recorded twice: {versions}"
        if strays := list((self.folder / "models").glob("*/.*")):
            yield OTHER, f"{strays} were left behind"
        if state.project.problems:
            yield OTHER, str(state.project.problems)

    def close(self) -> None:
        """Remove the projects."""
        for project in (*self.queues(), self.pool):
            self.studio.request("DELETE", f"/api/projects/{project}/")
        self.store.close()


def one_run(url: str, token: str, seed: int, most: int, tally: Tally) -> int:
    """A run from an empty folder to the end; returns how often the worker was killed on the way."""
    start = get_context("forkserver")
    killed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cdsel-kills-", ignore_cleanup_errors=True) as name:
        site = Site(url, token, Path(name).resolve() / "data", seed)
        begun, ended = time.time(), False
        while not ended:
            last = len(killed) == min(most, MOST_KILLS)
            order = Order(
                site.folder,
                url,
                token,
                BUDGET,
                begins_at=begun + LIFE_CLOCK * len(killed),
                seed=seed * 1000 + len(killed),
                tried=None if last else dict(tally.tried),
            )
            tally.lives += 1
            near, far = start.Pipe(duplex=False)
            process = start.Process(target=live, args=(order, far))
            process.start()
            far.close()
            process.join(LIFE_SECONDS)
            if process.exitcode is None:
                process.kill()
                process.join()
            point, cpu_seconds = near.recv() if near.poll() else (None, None)
            near.close()
            tally.cpu_seconds += cpu_seconds or 0.0
            ended = point is None
            if point is not None:
                killed.append(point)
                tally.tried[point] += 1
                tally.note([point], site.look())
            elif cpu_seconds is None:
                how = "came to no end" if process.exitcode == STUCK else f"ended with {process.exitcode}"
                tally.note(killed or ["none"], [(OTHER, f"run {seed}: a life {how}")])
            else:
                tally.note(killed or ["none"], site.look(ended=True))
        site.close()
    tally.runs += 1
    return len(killed)


def run(kills: int, url: str, token: str, *, seconds: float = 1e9, seed: int = 0) -> Tally:
    """Kill so many times, in runs, and begin none after so many seconds."""
    get_context("forkserver").set_forkserver_preload(SLOW_IMPORTS)
    tally, done, began = Tally(), 0, time.monotonic()
    while done < kills and time.monotonic() - began < seconds:
        done += one_run(url, token, seed + tally.runs, kills - done, tally)
        tally.seconds = round(time.monotonic() - began, 1)
        print(
            f"{done} kills, {tally.runs} runs, {tally.seconds:.0f} s, CPU {tally.cpu_seconds:.0f} s",
            file=sys.stderr,
        )
    return tally


@contextmanager
def label_studio(real: bool) -> Iterator[tuple[str, str, str]]:
    """A Label Studio: its address, a token, and what it is."""
    if real:
        from cdsel_backend.demo.studio import LocalStudio

        with LocalStudio(legacy_token=True) as studio:
            yield studio.url, studio.token, f"Label Studio {studio.release}"
    else:
        from fake_studio import TOKEN, fake_studio

        with fake_studio() as played:
            yield played.url, TOKEN, "the tests' own"


def main() -> None:
    """Run, print the line, and end with 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--real", action="store_true", help="on a Label Studio that is started for this")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further run after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="write a table of the steps into this file, too")
    options = parser.parse_args()
    with label_studio(options.real) as (url, token, what):
        tally = run(options.kills, url, token, seconds=options.seconds, seed=options.seed)
    print(
        json.dumps(
            {
                "benchmark": "kills",
                "label_studio": what,
                "seed": options.seed,
                "kills": tally.tried.total(),
                "points": len(tally.tried),
                "runs": tally.runs,
                "lives": tally.lives,
                "seconds": tally.seconds,
                "cpu_seconds": round(tally.cpu_seconds, 1),
                **{kind: sum(tally.broken[point, kind] for point in tally.tried) for kind in KINDS},
                "rows": [tally.row(point) for point in sorted(tally.tried)],
                "sentences": tally.sentences,
            }
        )
    )
    if options.table:
        options.table.write_text(f"{tally.table()}\n", encoding="utf-8")
    raise SystemExit(bool(tally.sentences))


if __name__ == "__main__":
    main()

"""A state machine drives the backend and its Label Studio through faults, and looks whether the promises hold.

    python tests/reliability/machine.py [--lives 60] [--seed 0]

takes 50 steps in each of 60 lives and prints one JSON line: how often each fault was tried, and what did not hold.
`test_machine.py` takes a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # as pytest has it

import hypothesis
import hypothesis.strategies as st
import pytest
from conftest import LABEL_CONFIG
from fake_studio import fake_studio
from fire import (
    ANNOTATORS,
    BAD_IMAGE,
    CLASSES,
    SPACE,
    Checks,
    Clock,
    Crash,
    House,
    Wire,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inside import EightPixels, picture

from cdsel_backend.labelstudio.connection import Connection

NUMBERS = st.integers(0, 1000)
USERS = st.sampled_from(sorted(ANNOTATORS))
LABELS = st.sampled_from(CLASSES)
FAULTS = st.sampled_from([500, 429, 503, "cut", "lost", "slow", "crash before", "crash after"])
STEPS = 50  # of one life
TRIED: Counter[str] = Counter()
"""How often each fault was tried, and how many lives and steps there were."""
LIVES, MOVES = "lives", "steps"


class Fire(RuleBasedStateMachine):
    """One pool project of some twenty images, one backend, one Label Studio, two annotators."""

    ends = float("inf")
    """When nothing more is tried, by `time.monotonic`: a busy machine takes fewer steps, not longer."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cdsel-fire-"))
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patch.setattr(time, "time", self.clock)
        # What is tried again is tried again at once.
        self.patch.setattr("label_studio_sdk.core.http_client.time.sleep", lambda _: None)
        self.played = fake_studio()
        self.studio = self.played.__enter__()
        self.ahead = 0.0  # seconds by which Label Studio's clock is
        self.studio.time = lambda: self.clock() + self.ahead
        self.wire = Wire(self.studio, self.clock)
        wire = self.wire
        self.patch.setattr(Connection, "request", lambda *given, **options: wire.request(*given, **options))
        self.ever: dict[int, set[str]] = {}
        self.uncertain: set[int] = set()
        self.step = 0
        self.house = None
        self.backup = self.studio_backup = None

    # what is there

    @initialize(images=st.integers(6, 20), seed=NUMBERS, rounds=st.integers(2, 6), data=st.data())
    def begin(self, images, seed, rounds, data):
        """Connect a project."""
        TRIED[LIVES] += 1
        tasks = [self._task(seed * 100 + number) for number in range(images)]
        if data.draw(st.booleans()):
            tasks[0]["image"] = BAD_IMAGE
        pool = self.studio.add_project("Pool", LABEL_CONFIG, tasks)
        (self.folder / "data").mkdir()
        self.house = House(self.studio, self.folder / "data", self.clock, pool)
        self.house.settings = {
            "budget": data.draw(st.integers(1, images)),
            "round_size": rounds,
            "retrain_every": 4,
            "refill_at": data.draw(st.sampled_from([0.0, 0.5])),
            "seed": seed,
        }
        self.house.open()
        self._backbone()
        self.checks = Checks(self.house, [self.house.settings["budget"]])
        self.studio.imported = self.checks.imported

    def _backbone(self):
        self.patch.setattr(
            "cdsel_backend.pool.backbones.load_backbone", lambda *given, **options: EightPixels()
        )

    def _task(self, number):
        site = "north" if number % 3 else "south"
        return {
            "image": picture(number),
            "site": site,
            "patient": f"P{number // 2}",
            "device": f"D{number % 4}",
        }

    def _of(self, found, number):
        return found[number % len(found)] if found else None

    def _count(self, what):
        TRIED[what] += 1

    @property
    def queue_tasks(self):
        return [task for queue in self.checks.queues() for task in self.studio.of(queue)]

    def _item(self, task):
        return task["data"].get("cdsel_item", task["id"])

    # what the backend does

    @rule(times=st.integers(1, 5))
    def turns(self, times):
        """It works."""
        self._work(times)

    @rule(times=st.integers(2, 6), faults=st.lists(st.one_of(st.none(), FAULTS), min_size=1, max_size=12))
    def turns_on_a_broken_wire(self, times, faults):
        """It works while requests fail."""
        self._break(faults, times)

    def _work(self, times):
        for _ in range(times if time.monotonic() < self.ends else 0):
            self.checks.budgets[:] = [self.house.settings["budget"]]
            try:
                self.house.turn()
            except Crash:
                self.house.crash(lease_stays=bool(times % 2))
            assert not self.checks.broken, self.checks.broken

    @rule(fate=st.sampled_from(["whole", "whole", "before", "after"]))
    def training_ends(self, fate):
        """A training that was started comes to its end, or is killed."""
        if self.house.trainings.started and fate != "whole":
            self._count(f"training killed {fate} its work")
        self.house.trainings.finish(self.house.worker, fate)

    # what people do

    @rule(user=USERS, number=NUMBERS, label=LABELS, skip=st.sampled_from([False, False, False, True]))
    def label_next(self, user, number, label, skip):
        """Somebody labels, or skips, what comes next in a queue."""
        queue = self._of(self.checks.queues(), number)
        task = self.studio.next(queue) if queue else None
        if task:
            self._submit(task, label, user, skip)

    @rule(user=USERS, number=NUMBERS, label=LABELS)
    def label_again(self, user, number, label):
        """A late or double submission."""
        task = self._of(self.queue_tasks, number)
        if task:
            self._count("late or double submission" if task["annotations"] else "submission out of order")
            self._submit(task, label, user)

    @rule(user=USERS, number=NUMBERS, label=LABELS)
    def label_in_the_pool(self, user, number, label):
        """Somebody labels an image in the pool project."""
        task = self._of(self.studio.of(self.house.pool), number)
        if task:
            self._submit(task, label, user)

    def _submit(self, task, label, user, skip=False):
        if not skip:
            self.ever.setdefault(self._item(task), set()).add(label)
        self.studio.submit(task["id"], [] if skip else SPACE.result_for(label), skip=skip, user=user)

    @rule(number=NUMBERS, label=LABELS, delete=st.booleans())
    def change_annotation(self, number, label, delete):
        """Somebody changes or deletes an annotation."""
        found = self._of(self.studio.annotations([self.house.pool, *self.checks.queues()]), number)
        if found and delete:
            self._count("annotation deleted (no task id in the webhook)")
            self.studio.delete_annotation(found[0]["id"], found[1]["id"])
        elif found:
            self.ever.setdefault(self._item(found[0]), set()).add(label)
            self.studio.change_annotation(found[0]["id"], found[1]["id"], SPACE.result_for(label))

    @rule(number=NUMBERS)
    def delete_queue_task(self, number):
        """Somebody deletes a task from a queue."""
        task = self._of(self.queue_tasks, number)
        if task:
            self._count("task deleted from a queue")
            self._deleted([task])
            self.studio.delete_tasks([task["id"]])

    @rule(number=NUMBERS)
    def delete_pool_task(self, number):
        """Somebody deletes a task from the pool."""
        task = self._of(self.studio.of(self.house.pool), number)
        if task:
            self._count("task deleted from the pool")
            self._deleted([task])
            self.studio.delete_tasks([task["id"]])

    @precondition(lambda self: self.step % 7 == 0)
    @rule(number=NUMBERS)
    def delete_queue(self, number):
        """Somebody deletes a queue project."""
        queue = self._of(self.checks.queues(), number)
        if queue:
            self._count("queue project deleted")
            self._deleted(self.studio.of(queue))
            self.studio.delete_project(queue)

    def _deleted(self, tasks):
        self.uncertain |= {self._item(task) for task in tasks}

    @rule(number=NUMBERS, count=st.integers(1, 4), site=st.sampled_from(["north", "south", "west"]))
    def change_pool(self, number, count, site):
        """Images are added, and one's metadata is edited."""
        if len(self.studio.of(self.house.pool)) < 40:
            self.studio.add_tasks(self.house.pool, [self._task(number * 10 + one) for one in range(count)])
        task = self._of(self.studio.of(self.house.pool), number)
        self.studio.change_task(task["id"], {**task["data"], "site": site})

    # settings

    @rule(budget=st.integers(0, 25))
    def change_budget(self, budget):
        """The budget is lowered or raised."""
        self._count("budget changed")
        self.house.change(budget=budget)

    @rule(
        quotas=st.dictionaries(
            st.sampled_from([*ANNOTATORS.values(), "eve@example.org"]), st.integers(0, 10)
        ),
        overlap=st.sampled_from([0.0, 0.0, 0.5]),
    )
    def change_annotators(self, quotas, overlap):
        """Others label."""
        self._count("annotators changed midway")
        self.house.change(annotators=quotas, overlap=overlap)

    @rule(group=st.sampled_from([None, "patient", "device"]), rounds=st.integers(1, 6), paused=st.booleans())
    def change_settings(self, group, rounds, paused):
        """Groups, rounds and the pause."""
        self._count("group changed midway")
        self.house.change(group=group, round_size=rounds, paused=paused)

    @rule()
    def start_training(self):
        """Somebody presses Start Training."""
        self.house.hear({"action": "START_TRAINING", "project": {"id": self.house.pool}})

    # webhooks

    @rule(seed=NUMBERS, how=st.sampled_from(["in order", "reordered", "twice", "lost"]))
    def deliver(self, seed, how):
        """Webhooks come."""
        waiting = list(self.studio.outbox)[-8:]
        self.studio.outbox.clear()
        if how == "lost":
            self._count("webhooks lost")
            return
        if how == "reordered":
            Random(seed).shuffle(waiting)
            self._count("webhooks reordered")
        if how == "twice":
            waiting += waiting
            self._count("webhooks duplicated")
        for hook in waiting:
            assert self.house.hear(hook["json"], hook["headers"]) in (201, 202)

    # faults

    @rule(
        faults=st.lists(st.one_of(st.none(), st.none(), FAULTS), min_size=1, max_size=12),
        times=st.integers(1, 4),
    )
    def break_the_wire(self, faults, times):
        """The next requests fail, here and there."""
        self._break(faults, times)

    def _break(self, faults, times):
        self.wire.faults = list(faults)
        self._work(times)
        self.wire.faults = []

    @rule(after=st.integers(0, 12), budget=st.integers(0, 25), group=st.sampled_from([None, "patient"]))
    def change_within(self, after, budget, group):
        """Settings change while the backend is at work."""

        def change():
            self.checks.budgets.append(budget)
            self.house.change(budget=budget, group=group)

        self.wire.faults = [None] * after + [change]
        self._work(3)
        self.wire.faults = []

    @rule(seconds=st.sampled_from([31, 400, 90_000, -50, -4000, -90_000]), theirs=st.booleans())
    def set_clock(self, seconds, theirs):
        """The clock jumps: ours, or Label Studio's."""
        whose = "Label Studio's clock" if theirs else "clock"
        self._count(f"{whose} set {'back' if seconds < 0 else 'forward'}")
        if theirs:
            self.ahead += seconds
        else:
            self.clock.offset += seconds

    @precondition(lambda self: self.step % 5 == 0)
    @rule()
    def back_up(self):
        """Both databases are backed up."""
        self.house.copy_folder(self.folder / "backup")
        self.backup = self.folder / "backup"
        self.studio_backup = self.studio.snapshot()

    @precondition(lambda self: self.backup and self.step % 5 == 0)
    @rule(lost=st.booleans())
    def restore_the_books(self, lost):
        """The data folder is restored, or lost."""
        self._count("data folder lost" if lost else "data folder restored")
        # What was deleted since is not known any more.
        self.house.replace_folder(None if lost else self.backup)

    @precondition(lambda self: self.studio_backup and self.step % 11 == 0)
    @rule()
    def restore_the_studio(self):
        """Label Studio's database is restored."""
        self._count("Label Studio's database restored")
        self._deleted(list(self.studio.tasks.values()))
        self.studio.restore(self.studio_backup)
        self.studio_backup = None
        self._deleted(list(self.studio.tasks.values()))

    @precondition(lambda self: self.step % 6 == 0)
    @rule()
    def come_to_rest(self):
        """Nothing is wrong any more: what must hold at the end holds now."""
        self._rest()

    def _rest(self):
        if time.monotonic() > self.ends:
            return
        self.wire.faults = []
        self.checks.budgets[:] = [self.house.settings["budget"]]
        self.house.settle()
        self.checks.at_rest(self.uncertain, lambda task: self.ever.get(task, set()))
        assert not self.checks.broken, self.checks.broken

    def check_invariants(self, *given, **options):
        """Count the steps."""
        self.step += 1
        TRIED[MOVES] += 1
        super().check_invariants(*given, **options)

    def teardown(self):
        """Come to rest once more, and clean up."""
        try:
            if self.house is not None:
                self._rest()
                TRIED.update(self.wire.tried)
        finally:
            if self.house is not None:
                self.house.close()
            self.played.__exit__(None, None, None)
            self.patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)


def run(lives, *, seed=None, seconds=float("inf")):
    """Take `STEPS` steps in each of so many lives, and stop where a promise is broken; `seed` None: always the same."""
    Fire.ends = time.monotonic() + seconds
    run_state_machine_as_test(
        Fire if seed is None else hypothesis.seed(seed)(Fire),
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=seed is None,
            phases=[Phase.generate] if seed is None else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def main():
    """Run it, print how often each fault was tried, and end with 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lives", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, broken = time.monotonic(), None
    try:
        run(options.lives, seed=options.seed)
    except AssertionError as fault:
        broken = str(fault)
    found = {
        "benchmark": "state machine",
        "seed": options.seed,
        "lives": TRIED.pop(LIVES, 0),
        "steps": TRIED.pop(MOVES, 0),
        "seconds": round(time.monotonic() - began),
        "broken": broken,
        "faults": dict(sorted(TRIED.items())),
    }
    print(json.dumps(found))
    raise SystemExit(broken is not None)


if __name__ == "__main__":
    main()

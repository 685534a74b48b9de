"""Two real workers on one PostgreSQL database: one trains, dies in the middle, and the other goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from backend import Backend, eventually
from conftest import LABEL_CONFIG
from sqlalchemy import select

from cdsel_backend.demo.process import ServerProcess
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.store import State, Store, schema
from cdsel_backend.store.leases import training_lease

BUDGET, ROUND = 16, 8
SPACE = parse_label_space(LABEL_CONFIG)


@contextmanager
def worker(backend, name):
    """A `cdsel worker` with the environment of a backend."""
    command = [sys.executable, "-m", "cdsel_backend.cli", "worker"]
    log = backend.folder / f"{name}.log"
    process = ServerProcess(name, command, env=backend.environment, cwd=backend.folder, log=log)
    try:
        yield process
    finally:
        process.stop()


def processes_of(group):
    """The process ids of a process group."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[2]) == group:
            found.add(int(path.parent.name))
    return found


def holder_of_training(store, project):
    table = schema.leases.c
    with store.engine.connect() as connection:
        return connection.scalar(select(table.holder).where(table.name == training_lease(project)))


def trainer_of(store, project, workers):
    """The `cdsel worker` that trains: a process of its group holds the lease."""
    holder = holder_of_training(store, project)
    if holder is None:
        return None
    number = int(holder.split(":")[-2])
    return next(one for one in workers if number in processes_of(one.pid))


def submit(client, queue, truth):
    """Label whatever Label Studio hands out; returns how many that were."""
    done = 0
    while (task := client.next_task(queue)) is not None:
        client.submit(task["id"], SPACE.result_for(truth[task["data"]["cdsel_item"]]))
        done += 1
    return done


@pytest.mark.slow
def test_one_trains_while_the_other_does_not_select_and_when_it_is_killed_the_other_goes_on(
    studio, pool_project, tmp_path, new_postgresql
):
    url = new_postgresql()
    client = LabelStudio(studio.url, studio.token)
    serve = Backend(
        tmp_path,
        studio.url,
        studio.token,
        options=["--no-worker"],
        CDSEL_DATABASE_URL=url,
        CDSEL_POLL_SECONDS="2",
    )
    with serve, worker(serve, "ann") as ann, worker(serve, "bob") as bob:

        def tails():
            return f"{serve.tail()}\nann: {ann.tail()}\nbob: {bob.tail()}"

        client.connect_backend(
            pool_project.id,
            serve.url,
            title="cdsel",
            extra_params=json.dumps({"budget": BUDGET, "round_size": ROUND, "retrain_every": 100}),
        )
        store = Store(url)
        project = eventually(
            lambda: store.project_of(pool_project.id), "it was not connected", details=tails
        ).id

        def state():
            return State(store, project)

        eventually(lambda: len(state().open) == ROUND, "no round was pushed", details=tails)
        assert submit(client, state().project.queue_project, pool_project.truth) == ROUND

        # Whoever trains is stopped in the middle, worker and training process both, as a machine that hangs.
        trainer = eventually(lambda: trainer_of(store, project, (ann, bob)), "nobody trains", details=tails)
        os.killpg(trainer.pid, signal.SIGSTOP)
        holder = holder_of_training(store, project)
        assert store.renew_lease(training_lease(project), holder)

        # The other has its turns meanwhile: it takes up labels, but it selects nothing and trains nothing.
        other_images = [task for task in pool_project.task_ids if task not in pool_project.unusable]
        selected = {row.item for row in state().selections}
        tasks = {row.task: row.id for row in state().items}
        fresh = [task for task in other_images if tasks[task] not in selected][:2]
        for number, task in enumerate(fresh, start=1):
            client.submit(task, SPACE.result_for(pool_project.truth[task]))

            def taken_up(number=number):
                assert store.renew_lease(
                    training_lease(project), holder
                )  # the training goes on, as far as one knows
                return len(state().labels) == ROUND + number

            eventually(taken_up, "the other worker stands still", details=tails)
        synced = state().project.queue_synced_at

        def another_turn():
            assert store.renew_lease(training_lease(project), holder)
            return state().project.queue_synced_at > synced + 2

        eventually(another_turn, "the other worker stands still", details=tails)
        assert store.training_runs(project)
        assert (len(state().rounds), len(state().trainings)) == (1, 0)
        assert holder_of_training(store, project) == holder

        # The one that trained is killed: its lease ends, and the other trains, selects and pushes.
        os.killpg(trainer.pid, signal.SIGKILL)
        eventually(lambda: state().trainings, "the other worker never trained", details=tails)
        eventually(
            lambda: len(state().open) == BUDGET - ROUND - 2, "the next round never came", details=tails
        )
        (training,) = state().trainings
        second = state().rounds[1]
        assert training.label_count == ROUND + 2
        assert second.created_at > training.created_at
        assert second.model_version == state().project.champion == training.version
        assert len(state().used) == BUDGET
        assert len(list(client.tasks(state().project.queue_project))) == BUDGET - 2
        store.close()

        survivor = bob if trainer is ann else ann
        os.kill(survivor.pid, signal.SIGINT)
        eventually(lambda: not survivor.running, "it did not end", details=tails)
        assert survivor.status == 0

"""What it costs Label Studio to be listed: whole, and by what changed; and what the backend spends meanwhile.

    python tests/benchmarks/listing.py --tasks 20000

starts a Label Studio with that many tasks and prints one JSON line. CPU in seconds, Label Studio's as `studio`, ours as
`own`: `whole`: the first listing of all tasks; `idle`: a look where nothing changed; `changed`: a look after one task
was imported, one edited, one annotated, one skipped and one deleted; `times_less`: `whole` over `changed`, Label
Studio's. `changed_tasks`: how many tasks that look listed. Above 2,000 tasks deletions are found by counting.
`queue_whole`: the first listing of a queue of `--queue` tasks, every other one labelled; `queue_label`: after a label.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from counting import Counting
from cpu import cpu_of

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio import changes
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.intake import list_tasks
from cdsel_backend.reconcile.queue_listing import QueueListing, tasks_of_queue
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

CONFIG = (Path(__file__).parents[2] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
CHOICE = {"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": ["benign"]}}
PART = 2500  # tasks imported at once


def measure(studio: LocalStudio, folder: Path, n: int) -> dict[str, float]:
    """List a new project of n tasks as the loop does; see above."""
    client = Counting(studio.url, studio.token)
    project = client.create_project(f"{n} tasks", CONFIG)
    tasks: list[int] = []
    began, spent = time.perf_counter(), cpu_of(studio.pid)
    for start in range(0, n, PART):
        rows = range(start, min(n, start + PART))
        tasks += client.import_tasks(
            project,
            [{"data": {"image": f"/{row}.png", "site": "ns"[row % 2], "age": row % 90}} for row in rows],
        )
    results = {
        "tasks": float(n),
        "import_s": time.perf_counter() - began,
        "import_studio": cpu_of(studio.pid) - spent,
    }
    store = Store(f"sqlite:///{folder / 'listing.sqlite3'}")
    ours = store.connect_project(studio.url, project, label_config=CONFIG)
    context = Context(store, ServerSettings(data_dir=folder, label_studio_api_key="0" * 40), client)
    # All tasks are as new as the import: the overlap would list the last of them again.
    overlap, changes.OVERLAP = changes.OVERLAP, timedelta(0)

    def list_pool() -> None:
        state = State(store, ours)
        list_tasks(context, state, space_of(state))

    def look(name: str) -> None:
        results.update(cost_of(name, list_pool, studio, client))

    def change() -> None:
        client.import_tasks(project, [{"data": {"image": "/new.png", "site": "n", "age": 1}}])
        client.send("PATCH", f"/api/tasks/{tasks[1]}/", {"data": {"image": "/1.png", "site": "n", "age": 99}})
        client.submit(tasks[2], [CHOICE])
        client.submit(tasks[3], [], skip=True)
        client.request("DELETE", f"/api/tasks/{tasks[n // 2]}/")

    try:
        look("whole")
        look("idle")
        change()
        look("changed")
        here = {row.task: row.data["age"] for row in store.items(ours) if not row.gone}
        assert len(here) == n, "one came and one went"
        assert tasks[n // 2] not in here
        assert here[tasks[1]] == 99
        assert sorted(one.skipped for one in store.labels(ours)) == [False, True]
    finally:
        changes.OVERLAP = overlap
        store.close()
    results["times_less"] = results["whole_studio"] / max(results["changed_studio"], 0.01)
    return results


def measure_queue(studio: LocalStudio, n: int) -> dict[str, float]:
    """List a queue of n tasks as the loop does; see above."""
    client = Counting(studio.url, studio.token)
    queue = client.create_project(f"queue of {n} tasks", CONFIG)
    tasks: list[int] = []
    for start in range(0, n, PART):
        given = [[], [{"result": [CHOICE]}]]
        rows = range(start, min(n, start + PART))
        tasks += client.import_tasks(
            queue,
            [{"data": {"image": f"/{row}.png", "site": "n"}, "annotations": given[row % 2]} for row in rows],
        )
    kept: dict[int, QueueListing] = {}
    overlap, changes.OVERLAP = changes.OVERLAP, timedelta(0)

    def look() -> None:
        assert len(tasks_of_queue(kept, client, queue, n)[0]) == n

    try:
        results = cost_of("queue_whole", look, studio, client)
        client.submit(tasks[0], [CHOICE])
        return results | cost_of("queue_label", look, studio, client)
    finally:
        changes.OVERLAP = overlap


def cost_of(name: str, look: Callable[[], None], studio: LocalStudio, client: Counting) -> dict[str, float]:
    """What a look costs; see above."""
    client.listed = 0
    start, studio_cpu, own_cpu = time.perf_counter(), cpu_of(studio.pid), time.process_time()
    look()
    return {
        f"{name}_studio": cpu_of(studio.pid) - studio_cpu,
        f"{name}_own": time.process_time() - own_cpu,
        f"{name}_s": time.perf_counter() - start,
        f"{name}_tasks": float(client.listed),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tasks", type=int, default=20_000)
    options.add_argument("--queue", type=int, default=5_000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalStudio() as studio:
        found = measure(studio, Path(folder), args.tasks) | measure_queue(studio, args.queue)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()

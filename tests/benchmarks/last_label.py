"""Time from the last label of a round to the next image, as an annotator meets it: prints one JSON line.

    python tests/benchmarks/last_label.py --labels 45                          # the demo's pool on a real Label Studio
    python tests/benchmarks/last_label.py --labels 45 -- --metadata m.csv --images . --label malignant --limit 1000
    python tests/benchmarks/last_label.py --drawn 100000                       # drawn vectors, without a Label Studio

The first two run `cdsel demo` and label through Label Studio's API, one image a `--pace` seconds: a wait is the time
from a submission to the next task, where there was none at once. The `cdsel demo` on the path is run, so that an older
tree can be measured by PYTHONPATH. The third measures the steps between, in one process that has begun already:
`refill` (choose by the model there is), `detect` and `train`, and `select` (by the new model). `explain` and `report`,
on the labels and on the new model, come after that.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

PATIENCE = 240.0  # seconds without a task, after which there is none


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, default=45, help="images to label, of rounds of 20")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds an image")
    parser.add_argument("--drawn", type=int, help="so many drawn vectors, without a Label Studio")
    parser.add_argument("demo", nargs="*", help="options of cdsel demo, after --")
    args = parser.parse_args()
    found = drawn(args.drawn) if args.drawn else labelled(args.labels, args.pace, args.demo)
    print(json.dumps(found))


def labelled(labels: int, pace: float, options: list[str]) -> dict[str, object]:
    """Label in the demo's Label Studio."""
    command = [sys.executable, "-m", "cdsel_backend.cli", "demo", "--budget", str(labels + 40), *options]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    began, waits, done = time.monotonic(), [], 0
    try:
        told = dict(said(demo.stdout))
        ready = time.monotonic() - began
        with httpx.Client(base_url=told["url"], timeout=60, trust_env=False) as browser:
            page = browser.get("/user/login/")
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert token is not None
            form = {"email": told["email"], "password": told["password"], "csrfmiddlewaretoken": token[1]}
            browser.post("/user/login/", data=form, headers={"Referer": f"{told['url']}/user/login/"})
            while done < labels:
                submitted = time.monotonic()
                task = next_task(browser, told["queue"])
                while task is None and time.monotonic() - submitted < PATIENCE:
                    time.sleep(0.2)
                    task = next_task(browser, told["queue"])
                if task is None:
                    break
                waited = time.monotonic() - submitted
                if done and waited > 0.5:
                    waits.append({"after": done, "seconds": round(waited, 1)})
                answer = answer_of(told["config"](browser, told["queue"]), done)
                browser.post(
                    f"/api/tasks/{task}/annotations/",
                    json={"result": answer, "lead_time": pace},
                    headers={"X-CSRFToken": browser.cookies.get("csrftoken", "")},
                ).raise_for_status()
                done += 1
                time.sleep(max(0.0, pace - (time.monotonic() - submitted - waited)))
    finally:
        demo.terminate()  # SIGINT is ignored by what a script starts in the background
        demo.wait(60)
    return {
        "labels": done,
        "ready_seconds": round(ready, 1),
        "longest_wait": max([w["seconds"] for w in waits], default=0.0),
        "waits": waits,
        "demo": options,
    }


def said(lines: Iterator[str]) -> Iterator[tuple[str, object]]:
    """What the demo prints, until its queue is ready."""
    for line in lines:
        print(line.rstrip(), file=sys.stderr)
        if match := re.match(r"Label Studio\s+(\S+)", line):
            yield "url", match[1]
        elif match := re.match(r"login\s+(\S+)\s+password (\S+)", line):
            yield "email", match[1]
            yield "password", match[2]
        elif match := re.match(r"queue project\s+\S+/projects/(\d+)/", line):
            yield "queue", match[1]
        elif line.startswith("queue ready"):
            yield (
                "config",
                lambda browser, queue: browser.get(f"/api/projects/{queue}/").json()["label_config"],
            )
            return


def next_task(browser: httpx.Client, queue: object) -> int | None:
    """The next task that Label Studio hands out, None for none."""
    answer = browser.get(f"/api/projects/{queue}/next")
    return int(answer.json()["id"]) if answer.status_code == 200 else None


def answer_of(config: str, number: int) -> list[dict[str, object]]:
    """One class after the other."""
    name = re.search(r'<Choices[^>]*name="([^"]+)"', config)
    classes = re.findall(r'<Choice [^>]*value="([^"]+)"', config)
    assert name is not None
    value = {"choices": [classes[number % len(classes)]]}
    return [{"from_name": name[1], "to_name": "image", "type": "choices", "value": value}]


def drawn(size: int) -> dict[str, object]:
    """The steps from the last label to the next image on drawn vectors."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import numpy as np
    from world import World

    from cdsel_backend.reconcile.confounders import detect_confounders, update_report
    from cdsel_backend.reconcile.insight import explain
    from cdsel_backend.reconcile.rounds import select_round
    from cdsel_backend.reconcile.training import train

    rng = np.random.default_rng(0)
    malignant = np.arange(size) % 2 == 0
    north = rng.random(size) < np.where(malignant, 0.8, 0.2)
    vectors = rng.normal(size=(size, 384)).astype(np.float32)
    vectors[:, 0] += 3 * north
    vectors[:, 1] += 3 * malignant
    given = (
        vectors,
        [{"site": "north" if one else "south"} for one in north],
        ["malignant" if one else "benign" for one in malignant],
    )
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), given=given, budget=200, round_size=20, refill_at=0.5)
        assert world.round()
        world.step(select_round)
        world.push()
        world.label(sorted(world.state().open)[:10])
        seconds: dict[str, float] = {}
        cpus: dict[str, float] = {}

        def timed(name: str, step: object) -> None:
            before, cpu = time.perf_counter(), time.process_time()
            world.step(step)
            seconds[name] = round(time.perf_counter() - before, 2)
            cpus[name] = round(time.process_time() - cpu, 2)

        timed("refill", select_round)
        world.push()
        world.label(sorted(world.state().open)[:20])
        timed("detect", detect_confounders)
        timed("train", train)
        timed("select", select_round)
        world.push()
        timed("explain", explain)
        timed("report", update_report)
    new_model = round(seconds["detect"] + seconds["train"] + seconds["select"], 2)
    return {"drawn": size, "seconds": seconds, "new_model_in_queue": new_model, "cpu_seconds": cpus}


if __name__ == "__main__":
    main()

"""How long healthy projects wait for their first round, with and without one whose image host never answers.

    python tests/benchmarks/slow_host.py [healthy projects]

Prints one JSON line. Label Studio is the tests' fake; the worker, the images and the backbone are real.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "reliability")]

from fake_studio import fake_studio
from test_slow import BUDGET, IMAGES, connect, host, picture, pushed, working

from cdsel_backend.store import Store


def seconds(healthy: int, *, hangs: bool) -> float:
    """Until every healthy project has its round."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        host(b"") as (url, _),
        fake_studio() as studio,
    ):
        store = Store(f"sqlite:///{folder}/cdsel.sqlite3")
        if hangs:
            connect(studio, store, "slow", [f"{url}/{number}.png" for number in range(100)])
        projects = [
            connect(studio, store, f"p{one}", [picture(IMAGES * one + number) for number in range(IMAGES)])
            for one in range(healthy)
        ]
        begun = time.monotonic()
        with working(studio, Path(folder)):
            while not all(pushed(store, project) == BUDGET for project in projects):
                time.sleep(0.1)
            took = time.monotonic() - begun
        store.close()
    return took


def main() -> None:
    """Measure both in one process, after a run that loads what both need."""
    healthy = int(sys.argv[1]) if len(sys.argv) > 1 else 19
    seconds(1, hangs=False)
    without, beside = seconds(healthy, hangs=False), seconds(healthy, hangs=True)
    print(
        json.dumps(
            {
                "benchmark": "slow host",
                "healthy_projects": healthy,
                "seconds_without": round(without, 1),
                "seconds_with": round(beside, 1),
                "ratio": round(beside / without, 2),
            }
        )
    )


if __name__ == "__main__":
    main()

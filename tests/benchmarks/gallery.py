"""What a look at a large pool costs: a page of the gallery, an image, a CSV file, and a frame of the map.

    python tests/benchmarks/gallery.py --items 100000 [--labels 50000]

prints one JSON line. There is no Label Studio and no picture: what is measured is what the server does, and a headless
Chromium where there is one. Milliseconds of CPU, the median of several looks: `first_ms` the first page after a start,
`page_ms` a page in the middle, `filter_ms` one of three facets, `search_ms` one of a text, `image_ms` the page of one
image, `area_ms` an area of the map; `status_ms` the status that every page shows, `overview_ms`, `confounders_ms`,
`queue_ms`, `models_ms`, `settings_ms` and `activity_ms` those pages; `csv_s` the file of all; `exclude_s`
all images excluded at once, `undo_s` that taken back; `map_bytes_ms` the points of the map; `drawn_ms` from the
navigation to the map; `paint_ms` the script's time for a frame of it, `point_ms` to find the image under the pointer,
`listed_ms` to choose a level of the legend. `statements`: database statements of a page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from playwright.sync_api import sync_playwright
from serving import running_app
from sqlalchemy import event, insert

from cdsel_backend.project.layout import keep_layout
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Selected, State, Store, schema
from cdsel_backend.store.database import writing
from cdsel_backend.store.records import Directive

CONFIG = (Path(__file__).parents[2] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
PART, POOL, QUEUE, DIM, LABELS, LOOKS = 20_000, 12, 13, 16, 2_000, 5


def filled(folder: Path, n: int, labels: int) -> tuple[ServerSettings, Store, int]:
    """A pool of n embedded images of four sites, nine tenths of `labels` of them labelled."""
    server = ServerSettings(data_dir=folder, label_studio_url="http://127.0.0.1:9", label_studio_api_key="t")
    store = Store.open(server)
    project = store.connect_project(
        server.label_studio_url, POOL, label_config=CONFIG, queue_project=QUEUE, backbone="b"
    )
    rng = np.random.default_rng(0)
    for start in range(0, n, PART):
        rows = range(start, min(n, start + PART))
        sites = rng.integers(4, size=len(rows))
        vectors = rng.normal(size=(len(rows), DIM)).astype(np.float32)
        vectors[:, 0] += 2 * sites
        items = [
            {
                "project": project,
                "task": 1 + row,
                "image": f"/{row}.jpg",
                "data": {
                    "image": f"/{row}.jpg",
                    "site": "nesw"[site],
                    "age": row % 90,
                    "sex": "fm"[row % 2],
                    "patient": f"P{row // 3}",
                },
            }
            for row, site in zip(rows, sites.tolist(), strict=True)
        ]
        with writing(store.engine) as connection:
            connection.execute(insert(schema.items), items)
        ids = [1 + row for row in rows]
        store.add_vectors(
            "b",
            [(item, hashlib.sha256(b"%d" % item).hexdigest(), vectors[at]) for at, item in enumerate(ids)],
        )
    store.update_project(project, pool_version=1, item_count=n)
    chosen = rng.choice(n, labels, replace=False) + 1
    store.add_round(
        project,
        1,
        [Selected(int(item), rank, 1.0, "Drawn by chance.", {}) for rank, item in enumerate(chosen, start=1)],
        strategy="random",
        seed=0,
        model_version=None,
    )
    store.mark_selections(project, {int(item): {"queue_task": 5_000_000 + int(item)} for item in chosen})
    label = {"problem": None, "skipped": False, "annotator": "1", "updated_at": "2026-01-01"}
    rows = [
        {"annotation": int(item), "item": int(item), "label": ("benign", "malignant")[int(item) % 2], **label}
        for item in chosen[: labels * 9 // 10]
    ]
    store.replace_labels(project, QUEUE, rows)
    keep_layout(server, State(store, project))
    return server, store, project


def milliseconds(ask: Callable[[], object]) -> float:
    """The median CPU time of several calls, which other programs on the machine do not lengthen."""
    times = []
    for _ in range(LOOKS):
        start = time.process_time()
        ask()
        times.append(1000 * (time.process_time() - start))
    return round(statistics.median(times), 1)


def measure_pages(server: ServerSettings, store: Store, project: int, n: int) -> dict[str, float]:
    """Ask the app as a browser does."""
    client = create_app(server, store).test_client()

    def get(path: str) -> None:
        answer = client.get(f"/projects/{POOL}{path}")
        assert answer.status_code == 200, answer.text[:500]
        answer.get_data()  # a file that is sent part by part is made only now

    start = time.process_time()
    get("/gallery")
    results = {"first_ms": round(1000 * (time.process_time() - start), 1)}
    statements: list[str] = []
    event.listen(store.engine, "after_cursor_execute", lambda *given: statements.append(given[2]))
    get("/gallery?page=50")
    results["statements"] = float(len([one for one in statements if one.startswith("SELECT")]))
    results |= {
        "page_ms": milliseconds(lambda: get("/gallery?page=50")),
        "status_ms": milliseconds(lambda: get("/status.json")),
        "filter_ms": milliseconds(lambda: get("/gallery?variable.site=n&variable.sex=f&label=not+labelled")),
        "search_ms": milliseconds(lambda: get("/gallery?search=P1234")),
        "area_ms": milliseconds(lambda: get("/gallery?area=" + ",".join(_circle(80)))),
        "image_ms": milliseconds(lambda: get(f"/gallery/{n // 2}")),
        "map_bytes_ms": milliseconds(lambda: get("/map.bin")),
        "overview_ms": milliseconds(lambda: get("")),
    }
    for page in ("confounders", "queue", "models", "settings", "activity"):
        results[f"{page}_ms"] = milliseconds(partial(get, f"/{page}"))
    start = time.process_time()
    get("/gallery.csv")
    results["csv_s"] = round(time.process_time() - start, 2)
    start = time.process_time()
    store.direct(project, range(1, n + 1), Directive.EXCLUDED, who="benchmark")
    results["exclude_s"] = round(time.process_time() - start, 2)
    start = time.process_time()
    store.undo_directives(project, who="benchmark")
    results["undo_s"] = round(time.process_time() - start, 2)
    return results


def _circle(corners: int) -> list[str]:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    places = 32_768 + 15_000 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [str(int(number)) for number in places.ravel()]


def measure_map(server: ServerSettings, store: Store) -> dict[str, float]:
    """Draw the map in a browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        return {}
    with running_app(create_app(server, store)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/projects/{POOL}/map")
        page.wait_for_selector("#map-points[data-drawn]", timeout=120_000)
        page.reload()
        page.wait_for_selector("#map-points[data-drawn]", timeout=120_000)
        results: dict[str, float] = {
            "drawn_ms": float(page.locator("#map-points").get_attribute("data-drawn") or 0)
        }
        script = """(what) => { const map = window.cdselMap, times = [];
            const acts = {
              paint: (i) => { map.view.k = 1 + i / 4; map.draw();
                map.canvas.getContext("2d").getImageData(0, 0, 1, 1); },
              point: (i) => map.nearest(300 + i, 300),
              listed: (i) => { map.only.clear(); map.only.add(i % 2); map.arrange(); map.draw(); },
            };
            for (let i = 0; i < 11; i++) {
              const start = performance.now();
              acts[what](i);
              times.push(performance.now() - start);
            }
            return times.sort((a, b) => a - b)[5]; }"""
        for what in ("paint", "point", "listed"):
            results[f"{what}_ms"] = round(page.evaluate(script, what), 1)
        browser.close()
    return results


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=LABELS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, store, project = filled(Path(folder), given.items, given.labels)
        results = measure_pages(server, store, project, given.items) | measure_map(server, store)
        store.close()
    print(json.dumps({"items": given.items, "labels": given.labels, **results}))


if __name__ == "__main__":
    main()

"""A project whose pool is a table of drawn images: really read, embedded, labelled and trained on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from world import rows_of

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.embedding import embed
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

POOL = 7
NETWORK = "test_efficientnet"  # sees 160 pixels; its weights are drawn from a seed


def draw(number: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, str], tuple[bool, bool]]:
    """A picture of any size, its metadata, and whether it shows stripes and a spot; the site is a tint."""
    striped, spotted = bool(number % 2), bool(number % 3 == 0)
    north = bool(rng.random() < (0.8 if striped else 0.2))
    height, width = (int(side) for side in rng.integers(40, 260, 2))
    picture = rng.normal(110, 12, (height, width, 3))
    if striped:
        picture += 40 * np.sin(np.arange(width) / width * 60)[None, :, None]
    if spotted:
        y, x = np.mgrid[:height, :width]
        picture += 70 * (np.hypot(y / height - 0.5, x / width - 0.5) < 0.2)[..., None]
    picture[..., 0] += 30 * north
    return picture.clip(0, 255).astype(np.uint8), {"site": "north" if north else "south"}, (striped, spotted)


def draw_folder(folder: Path, n: int) -> tuple[Path, list[tuple[bool, bool]]]:
    """Draw n images of several modes, and the table that names them; returns it, and what each image shows."""
    rng = np.random.default_rng(4)
    folder.mkdir(parents=True, exist_ok=True)
    rows, shown = [], []
    for number in range(n):
        pixels, data, truth = draw(number, rng)
        name = f"{number:03}.png"
        picture = Image.fromarray(pixels)
        match number % 6:
            case 1:
                picture.convert("L").save(folder / name)
            case 2:
                grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
                Image.fromarray(grey).save(folder / name)
            case 3:
                exif = Image.Exif()
                exif[0x0112] = 6
                name = f"{number:03}.jpg"
                picture.save(folder / name, exif=exif, quality=90)
            case 4:
                picture.putalpha(200)
                picture.save(folder / name)
            case _:
                picture.save(folder / name)
        rows.append({"image": name, "patient": f"P{number // 2}", **data})
        shown.append(truth)
    table = folder / "pool.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return table, shown


class Pictured:
    """The project, two rounds of which are labelled and trained on."""

    def __init__(
        self, folder: Path, *, label_config: str, label: object, n: int = 96, **settings: object
    ) -> None:
        """`label` makes a label of what an image shows."""
        self.images = folder / "images"
        self.table, shown = draw_folder(self.images, n)
        self.server = ServerSettings(data_dir=folder / "data", label_studio_api_key="0" * 40, device="cpu")
        self.store = Store.open(self.server)
        self.context = Context(
            self.store, self.server, LabelStudio("http://127.0.0.1:9", "0" * 40)
        )  # nobody is asked
        layers: Mapping[str, object] = {
            "backbone": NETWORK,
            "backbone_weights": "random",
            "budget": n,
            "round_size": n // 2,
            "retrain_every": 1000,
            "group": "patient",
            "view": "fast",
            **settings,
        }
        self.project = self.store.connect_project(
            "http://127.0.0.1:9",
            POOL,
            title="Drawn | <b>",
            label_config=label_config,
            queue_project=POOL,
            layers={"extra parameters": layers},
        )
        for _ in take_in(
            self.store, self.store.add_source(self.project, str(self.table), {}), self.server.data_dir
        ):
            pass
        while embed(self.context, self.state()):
            pass
        items = self.store.items(self.project)
        assert [row.problem for row in items] == [None] * n
        self.truth = {row.id: label(shown[int(Path(row.key or "").stem)]) for row in items}  # type: ignore[operator]
        self.labels: dict[int, str] = {}

    def state(self) -> State:
        return State(self.store, self.project)

    def round(self) -> None:
        detect_confounders(self.context, self.state())
        assert select_round(self.context, self.state())
        waiting = self.state().waiting
        self.store.mark_selections(
            self.project, {row.item: {"queue_task": 900 + row.rank} for row in waiting}
        )
        self.labels |= {item: self.truth[item] for item in self.state().open}
        rows = rows_of({item: (label, "2026-01-01") for item, label in self.labels.items()})
        self.store.replace_labels(self.project, POOL, rows)
        detect_confounders(self.context, self.state())
        assert train(self.context, self.state())
        state = self.state()
        assert state.trainings[-1].version, state.trainings[-1].outcome

"""The sample pool: drawn images with a confounder built in, and the table that goes with them.

Two sites photograph skin lesions. `riverside` is sent the suspicious ones, so most of its images are
malignant; `hillside` screens, so most of its images are benign. Their cameras differ as well, and a model
that learns the camera scores well on the pool while it fails on the benign lesions of the one site and the
malignant ones of the other. Sex and age depend on neither.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cdsel_backend.demo.drawing import Camera, Lesion, NoiseBank, Skin, draw

METADATA = "metadata.csv"
IMAGE_COLUMN, LABEL_COLUMN, GROUP_COLUMN = "file", "diagnosis", "patient_id"
CLASSES = ("benign", "malignant")
CAMERAS = {
    "riverside": Camera(gains=(1.06, 1.00, 0.86), lift=0.0, field_radius=0.585, flash=0.0, scale=False),
    "hillside": Camera(gains=(0.98, 0.97, 1.07), lift=0.05, field_radius=None, flash=0.35, scale=True),
}
MALIGNANT_SHARE = {"riverside": 0.85, "hillside": 0.15}
REPEAT_SHARE = 0.03  # share of the images that show a lesion a second time


@dataclass(frozen=True)
class Row:
    """One line of the table, and what to draw for it."""

    file: str
    diagnosis: str
    site: str
    sex: str
    age: int | None
    patient_id: str
    lesion: Lesion
    skin: Skin
    shot: int


def draw_sample(
    folder: Path, n: int = 600, seed: int = 0, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Draw the sample pool into `folder`, and give the path of its `metadata.csv`.

    Columns: file (below `folder`), diagnosis (benign, malignant), site (riverside, hillside), sex, age
    (empty for a few), patient_id. With 20 images or more, one file is truncated and one is missing, as
    happens to real pools. The same n and seed give the same pictures; a folder that holds them already is
    drawn anew.

    Args:
        folder: made if absent.
        n: number of rows, 1 or more.
        seed: of everything drawn.
        progress: called with (done, total) as pictures are finished.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"a sample needs at least one image, n is {n}")
    rows = _rows(n, seed)
    bank = NoiseBank(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)

    def paint(row: Row) -> None:
        picture = draw(row.lesion, row.skin, CAMERAS[row.site], bank, shot=row.shot)
        picture.save(folder / row.file, quality=88)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for done, _ in enumerate(threads.map(paint, rows), start=1):
            if progress is not None:
                progress(done, n)
    if n >= 20:
        truncated, missing = np.random.default_rng([seed, 3]).choice(n, 2, replace=False)
        whole = (folder / rows[truncated].file).read_bytes()
        (folder / rows[truncated].file).write_bytes(whole[: len(whole) // 3])
        (folder / rows[missing].file).unlink()
    table = folder / METADATA
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([IMAGE_COLUMN, LABEL_COLUMN, "site", "sex", "age", GROUP_COLUMN])
        for row in rows:
            age = "" if row.age is None else row.age
            writer.writerow([row.file, row.diagnosis, row.site, row.sex, age, row.patient_id])
    return table


def _rows(n: int, seed: int) -> list[Row]:
    """Patients of one to six images, each patient at one site; then the order of the files is shuffled."""
    rng = np.random.default_rng([seed, 0])
    rows: list[Row] = []
    patient = 0
    while len(rows) < n:
        patient += 1
        site = str(rng.choice(list(CAMERAS)))
        sex = str(rng.choice(["female", "male"]))
        age = None if rng.random() < 0.03 else int(np.clip(rng.normal(52, 16), 16, 90))
        skin = Skin(
            tone=float(rng.beta(1.6, 2.2)),
            redness=float(rng.random()),
            furrows=float(rng.random()),
            hairs=int(rng.choice([0, 0, 1, 3, 7, 12])),
            hair_shade=float(rng.random() * 0.7),
        )
        for _ in range(int(rng.integers(1, 7))):
            malignant = rng.random() < MALIGNANT_SHARE[site]
            lesion = _lesion(bool(malignant), rng)
            for shot in range(2 if rng.random() < REPEAT_SHARE else 1):
                rows.append(
                    Row("", CLASSES[malignant], site, sex, age, f"P{patient:04d}", lesion, skin, shot)
                )
    order = rng.permutation(n)
    return [
        replace(rows[index], file=f"images/lesion_{number:04d}.jpg")
        for number, index in enumerate(order, start=1)
    ]


def _lesion(malignant: bool, rng: np.random.Generator) -> Lesion:
    """Signs that are mostly, not always, those of the class: some melanomas look harmless, some moles do not."""
    suspicion = rng.beta(4.0, 1.8) if malignant else rng.beta(1.8, 4.0)
    signs = np.clip(suspicion + rng.normal(0, 0.13, 4), 0, 1)
    asymmetry, border, colour, size = map(float, signs)
    return Lesion(asymmetry, border, colour, size, seed=int(rng.integers(2**31)))

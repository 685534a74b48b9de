"""The sample pool: what it promises to whoever reads its table or opens its files."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdsel_backend.demo.drawing import HEIGHT, WIDTH, NoiseBank, draw
from cdsel_backend.demo.sample import CAMERAS, _rows, draw_sample


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.*"))}


def cramers_v(rows: list[dict[str, str]], one: str, other: str) -> float:
    a, b = (np.unique([row[c] for row in rows], return_inverse=True)[1] for c in (one, other))
    counts = np.histogram2d(a, b, bins=(a.max() + 1, b.max() + 1))[0]
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    return float(
        np.sqrt(((counts - expected) ** 2 / expected).sum() / counts.sum() / (min(counts.shape) - 1))
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sample(tmp_path_factory.mktemp("sample"), n=24, seed=3)


def test_same_seed_same_files(small: Path, tmp_path: Path) -> None:
    again = draw_sample(tmp_path / "again", n=24, seed=3)
    other = draw_sample(tmp_path / "other", n=24, seed=4)
    assert digests(again.parent) == digests(small.parent)
    assert digests(other.parent) != digests(small.parent)


def test_one_file_is_truncated_and_one_is_missing(small: Path) -> None:
    paths = [small.parent / row["file"] for row in table(small)]
    assert len(paths) == 24
    assert sum(not path.exists() for path in paths) == 1
    unreadable = 0
    for path in filter(Path.exists, paths):
        with Image.open(path) as image:
            assert image.size == (WIDTH, HEIGHT)
            try:
                image.load()
            except OSError:
                unreadable += 1
    assert unreadable == 1


def test_table_is_confounded_by_site_and_by_nothing_else() -> None:
    rows = [
        {"diagnosis": row.diagnosis, "site": row.site, "sex": row.sex, "age": str((row.age or 0) // 15)}
        for row in _rows(600, seed=0)
    ]
    assert cramers_v(rows, "diagnosis", "site") > 0.6
    assert cramers_v(rows, "diagnosis", "sex") < 0.15
    assert cramers_v(rows, "diagnosis", "age") < 0.2
    for site in CAMERAS:
        for diagnosis in ("benign", "malignant"):
            assert sum(row["site"] == site and row["diagnosis"] == diagnosis for row in rows) >= 20


def test_patients_have_several_images_at_one_site() -> None:
    rows = _rows(600, seed=0)
    patients = {row.patient_id: [r for r in rows if r.patient_id == row.patient_id] for row in rows}
    assert all(len({r.site for r in images}) == 1 for images in patients.values())
    assert all(len({(r.sex, r.age) for r in images}) == 1 for images in patients.values())
    assert np.mean([len(images) for images in patients.values()]) > 2
    assert 5 <= sum(row.shot > 0 for row in rows) <= 40


def test_second_shot_is_near_the_first_and_not_equal() -> None:
    row, stranger = (r for r in _rows(40, seed=1)[:2])
    bank = NoiseBank(1)

    def small_picture(lesion, shot):
        picture = draw(lesion, row.skin, CAMERAS["hillside"], bank, shot=shot)
        return np.asarray(picture.convert("L").resize((24, 18)), float)

    first, second = small_picture(row.lesion, 0), small_picture(row.lesion, 1)
    other = small_picture(stranger.lesion, 0)
    near, far = np.abs(first - second).mean(), np.abs(first - other).mean()
    assert 0 < near < 0.8 * far


def test_empty_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n is 0"):
        draw_sample(tmp_path, n=0)

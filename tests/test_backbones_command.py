"""Which backbone: the list with sizes and speeds, and how well each ranks the label and what it betrays."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cdsel_backend.cli import main
from cdsel_backend.pool.catalogue import KNOWN
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.network import _timm
from cdsel_backend.simulate.backbones import rate
from cdsel_backend.simulate.dataset import Dataset


def test_networks_are_listed_with_what_they_see_and_how_fast_they_are():
    done = CliRunner().invoke(main, ["backbones", "test_resnet", "test_vit", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "test_resnet" in done.output
    assert "768" in done.output  # of the transformer: four blocks, three vectors of 64 each
    unknown = CliRunner().invoke(main, ["backbones", "resnet51"])
    assert unknown.exit_code == 1
    assert "timm has no model named 'resnet51'" in unknown.output


def test_every_known_backbone_is_one_of_timm_with_weights_of_its_own():
    assert set(KNOWN) <= set(_timm().list_models(pretrained=True)) | set(_timm().list_models())
    shown = CliRunner().invoke(main, ["backbones", "--no-speed"])
    assert all(name in shown.output for name in KNOWN)


def test_several_backbones_are_compared_on_the_images(tmp_path):
    """Light or dark is the site; a bright spot the disease."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        site, sick = rng.integers(0, 2), rng.integers(0, 2)
        pixels = rng.integers(0, 60, (48, 48, 3)) + 120 * site
        if sick:
            pixels[20:30, 20:30] += 70
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"file": f"{i}.png", "site": "ab"[site], "sick": str(sick), "patient": str(i // 2)})
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main,
        ["simulate", "--metadata", str(tmp_path / "t.csv"), "--label", "sick", "--confounder", "site",
         "--group", "patient", "--backbone", "test_resnet=random,test_vit=random", "--out", str(out),
         "--cache", str(tmp_path / "cache")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((out / "backbones.json").read_text())
    assert set(found) == {"test_resnet=random", "test_vit=random"}
    for rating in found.values():
        assert rating["items"] == 120
        assert rating["encodes"]["site"] > 0.95
        assert rating["ranks"] > 0.6
    assert not (out / "results.csv").exists()


@pytest.mark.parametrize("strong", [True, False])
def test_a_rating_tells_signal_from_noise(strong):
    rng = np.random.default_rng(1)
    labels, site = rng.integers(0, 2, 600), rng.integers(0, 2, 600)
    vectors = rng.standard_normal((600, 20)).astype(np.float32)
    if strong:
        vectors[:, 0] += 3 * labels
        vectors[:, 1] += 3 * site
    column = Column("site", "categorical", ("a", "b"), site)
    data = Dataset("d", vectors, labels, ("no", "yes"), np.arange(600) // 3, (column,), np.arange(600))
    rating = rate(data)
    assert rating.width == 20
    for value in (rating.ranks, rating.encodes["site"]):
        assert value > 0.9 if strong else 0.4 < value < 0.6

"""A backbone adapted to unlabelled images: the weights change, are kept as a file, and load as a project loads them."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cdsel_backend.cli import main
from cdsel_backend.pool.adapt import Adaptation, adapt
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import load_network

needs_lightly = pytest.mark.skipif(
    importlib.util.find_spec("lightly") is None,
    reason="needs the extra adapt (lightly)",
)


def picture(number: int) -> Image.Image:
    """A blot of its own colour and place on noise."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(90, 160, (80, 80, 3), dtype=np.uint8)
    top, left = rng.integers(0, 50, 2)
    pixels[top : top + 30, left : left + 30] = rng.integers(0, 255, 3, dtype=np.uint8)
    return Image.fromarray(pixels)


@needs_lightly
def test_views_of_a_picture_become_alike_and_the_same_seed_gives_the_same_weights():
    losses: list[float] = []

    def adapted() -> dict[str, torch.Tensor]:
        network = load_network("test_resnet", weights="random")
        losses.clear()
        adapt(
            network, picture, 16, Adaptation(epochs=4, batch=16, rate=1e-3),
            progress=lambda done, total, loss: losses.append(loss),
        )  # fmt: skip
        return network.model.state_dict()

    first, second = adapted(), adapted()
    before = load_network("test_resnet", weights="random").model.state_dict()
    assert losses[-1] < losses[0]
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], before[key]) for key in first)
    means = [key for key in first if key.endswith("running_mean")]
    assert means
    assert all(torch.equal(first[key], before[key]) for key in means)


@needs_lightly
def test_the_command_writes_weights_that_a_project_can_name(tmp_path):
    for number in range(9):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "weights" / "adapted.safetensors"
    command = ["adapt", str(tmp_path), "--backbone", "test_resnet", "--weights", "random", "--out", str(out)]
    done = CliRunner().invoke(main, [*command, "--epochs", "1", "--batch", "8", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "Left out: broken.png" in done.output
    assert "adapted to 9 images" in done.output
    own, adapted = (
        load_backbone("test_resnet", weights=weights, device="cpu") for weights in ("random", str(out))
    )
    assert own.fingerprint != adapted.fingerprint
    assert adapted.embed([picture(0)]).shape == own.embed([picture(0)]).shape
    assert not np.allclose(own.embed([picture(0)]), adapted.embed([picture(0)]))
    few = CliRunner().invoke(main, [*command, "--batch", "16", "--device", "cpu"])
    assert few.exit_code == 1
    assert "9 pictures are fewer than the 16 of one step" in few.output


def test_what_cannot_be_done_is_said_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(BackboneError, match=r"cdsel-backend\[adapt\]"):
        adapt(load_network("test_resnet", weights="random"), picture, 64)
    with pytest.raises(ValueError, match="epochs must be 1 or more"):
        Adaptation(epochs=0)
    nowhere = CliRunner().invoke(main, ["adapt", str(tmp_path), "--out", str(tmp_path / "weights.pth")])
    assert nowhere.exit_code == 2
    assert "must end in .safetensors" in nowhere.output

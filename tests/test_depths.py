"""What is read of a network: several depths, or its last layer; a close look, or a fast one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cdsel_backend.pool import network
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.depths import Encoder, find_depths
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import load_network

CPU = torch.device("cpu")


def speckle(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 2 * (128 + 256)),  # the levels of 8 and 16 pixels a cell, without the last
        ("convnext_atto", 2 * (80 + 160)),
        ("mobilenetv3_small_050", None),
        ("densenet121", None),
        ("pvt_v2_b0", 2 * (64 + 160)),
        ("test_vit", 4 * 3 * 64),  # four blocks: the class token, the mean patch and the middle ones
        ("test_vit2", 4 * 2 * 64),  # without a class token
        ("vit_tiny_patch16_224", 4 * 3 * 192),
        ("xcit_nano_12_p16_224", None),
    ],
)
def test_every_kind_of_network_gives_its_depths(name, width):
    backbone = load_backbone(name, weights="random", device="cpu")
    assert backbone.encoder.depths is not None
    assert width in (None, backbone.dim)
    vectors = backbone.embed([speckle(seed) for seed in range(3)])
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 0
    assert np.abs(vectors[1:2] - backbone.embed([speckle(1)])).max() < 1e-4


def test_the_depths_are_averages_of_what_the_network_computes():
    """Against the maps of the network itself, read by hooks."""
    loaded = load_network("resnet18", weights="random")
    model = loaded.model.eval()
    maps = {}
    for name in ("layer2", "layer3"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: maps.update({name: out})
        )
    pixels = torch.randint(0, 255, (2, *loaded.size, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (loaded.mean, loaded.std))
    with torch.no_grad():
        found = Encoder(model, loaded.mean, loaded.std, find_depths(model, loaded.size))(pixels)
        model((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    expected = []
    for grid in maps.values():
        at = (np.arange(grid.shape[2]) + 0.5) / grid.shape[2] * 2 - 1
        bell = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 0.28**2))
        expected += [grid.mean((2, 3)), (grid * torch.tensor(bell / bell.sum())).sum((2, 3))]
    assert torch.allclose(found, torch.cat(expected, dim=1).float(), rtol=1e-3, atol=1e-4)


def test_a_network_that_gives_but_its_last_layer_is_read_there():
    class Plain(torch.nn.Module):
        def forward(self, batch):
            return batch.mean((2, 3))

    class Refusing(Plain):
        weight = torch.nn.Parameter(torch.zeros(1))

        def forward_intermediates(self, batch, indices=None):
            raise RuntimeError("no")

    for model in (Plain(), Refusing()):
        assert find_depths(model, (32, 32)) is None
    pixels = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    assert torch.allclose(Encoder(Plain(), [0.5] * 3, [0.5] * 3, None)(pixels), torch.ones(1, 3))


def test_a_close_look_has_twice_the_pixels_where_the_network_takes_them():
    def size(name, **options):
        return load_backbone(name, weights="random", device="cpu", **options).size

    assert size("resnet18") == (320, 320)
    assert size("resnet18", view="fast") == (224, 224)
    assert size("vit_tiny_patch16_224") == (224, 224)  # made for one size
    assert size("vit_tiny_patch16_384") == (384, 384)  # close enough


def test_a_finding_at_the_rim_changes_the_vector():
    """A crop of the middle would not see it."""
    backbone = load_backbone("resnet18", weights="random", device="cpu")
    clean, marked = speckle(), speckle()
    ImageDraw.Draw(marked).rectangle([110, 40, 119, 50], fill="white")
    vectors = backbone.embed([clean, marked])
    whole = np.concatenate(
        [np.arange(128), np.arange(256, 512)]
    )  # the averages of layer 2 and 3 over all of it
    assert np.abs(vectors[0, whole] - vectors[1, whole]).max() > 1e-3


def test_the_fingerprint_tells_what_is_read_and_how_closely():
    choices = [{}, {"features": "last"}, {"view": "fast"}, {"features": "last", "view": "fast"}]
    found = [load_backbone("resnet18", weights="random", device="cpu", **one).fingerprint for one in choices]
    assert len(set(found)) == 4
    # The last layer at the network's own size is what a fine-tune starts from, and what earlier versions stored.
    assert found[3] == load_network("resnet18", weights="random").fingerprint


def kept_network(folder, name, *, without=()):
    """A network in a folder, as timm reads it by `local-dir:`, whose checkpoint lacks weights that begin so."""
    timm = network._timm()
    from safetensors.torch import load_file, save_file
    from timm.models import save_for_hf

    torch.manual_seed(7)
    save_for_hf(timm.create_model(name), str(folder), safe_serialization=True)
    file = folder / "model.safetensors"
    weights = {key: one for key, one in load_file(file).items() if not key.startswith(tuple(without) or "\0")}
    save_file(weights, file)
    return f"local-dir:{folder}"


@pytest.mark.slow
def test_a_network_in_a_folder_gives_the_same_vectors_in_every_process(tmp_path):
    name = kept_network(tmp_path, "test_vit")
    code = (
        "import sys, torch; from cdsel_backend.pool.backbones import load_backbone;"
        f"torch.manual_seed(int(sys.argv[1]));b = load_backbone({name!r}, device='cpu');print(b.fingerprint, "
        "b.embed_prepared(b.example + 90).tobytes().hex())"
    )
    said = [
        subprocess.run([sys.executable, "-c", code, seed], capture_output=True, text=True, check=True).stdout
        for seed in "12"
    ]
    assert len(said[0]) > 100
    assert said[0] == said[1]
    assert load_network(name).untrained == ()


def test_a_network_of_the_hub_is_read_from_its_cache_or_refused_with_what_to_do(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    # As the hub's own client lays files out.
    repository, commit = tmp_path / "models--own--net", "0" * 40
    kept_network(repository / "snapshots" / commit, "test_vit")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    found = [load_backbone("hf-hub:own/net", device="cpu", view="fast") for _ in range(2)]
    assert found[0].fingerprint == found[1].fingerprint
    assert (found[0].embed([speckle()]) == found[1].embed([speckle()])).all()
    assert load_network("hf-hub:own/net").untrained == ()
    for weights in (None, "random"):
        with pytest.raises(BackboneError, match=r"hf-hub:own/other: .*set backbone to local-dir:FOLDER"):
            load_network("hf-hub:own/other", weights=weights)
    with pytest.raises(BackboneError, match=r"must be a folder on this machine with config\.json"):
        load_network(f"local-dir:{tmp_path / 'nowhere'}")


def test_weights_that_a_checkpoint_lacks_are_refused_where_vectors_depend_on_them(tmp_path):
    name = kept_network(tmp_path, "test_efficientnet", without=["conv_head.", "classifier."])
    assert load_network(name).untrained == ("conv_head.weight",)
    load_backbone(name, device="cpu", features="depths")  # does not read the last layer
    with pytest.raises(BackboneError, match=r"(?s)setting backbone: .*conv_head\.weight.*features"):
        load_backbone(name, device="cpu", features="last")
    name = kept_network(tmp_path, "test_efficientnet", without=["blocks.0."])
    with pytest.raises(BackboneError, match=r"drawn at random"):
        load_backbone(name, device="cpu", features="depths")


@pytest.mark.slow
def test_clips_attention_pool_is_refused_where_it_is_random_and_read(tmp_path):
    """Without a classifier timm may leave it as it was made: two workers gave two vectors for one picture."""
    name = kept_network(tmp_path, "resnet50_clip", without=["head."])
    assert load_network(name).untrained
    with pytest.raises(BackboneError, match=r"head\."):
        load_backbone(name, device="cpu", features="last", view="fast")
    found = [load_backbone(name, device="cpu", features="depths", view="fast") for _ in range(2)]
    assert found[0].fingerprint == found[1].fingerprint
    assert (found[0].embed([speckle()]) == found[1].embed([speckle()])).all()

"""Decoding, backbones and the embedding stream."""

from __future__ import annotations

import contextlib
import csv
import errno
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from made import encode
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from cdsel_backend.pool import network
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.decode import UnreadableImage, decode
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.folding import fold_batch_norm
from cdsel_backend.pool.patience import AGAIN_SECONDS
from cdsel_backend.pool.prepare import content_hash
from cdsel_backend.pool.source import SourceError

HAM = Path(__file__).parents[2] / "shared" / "data" / "ham10000_site"
SMALL = "test_resnet.r160_in1k"  # timm's own miniature network for tests


@pytest.fixture(scope="module")
def lite0():
    return load_backbone()


@pytest.fixture(scope="module")
def tiny():
    return load_backbone(SMALL, weights="random")


def picture(seed: int = 0, size: tuple[int, int] = (60, 40), mode: str = "RGB") -> Image.Image:
    """A picture with smooth shapes, so that JPEG keeps it."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(map(int, rng.integers(60, 255, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
        colour = tuple(map(int, rng.integers(0, 255, 3)))
        draw.ellipse([x, y, x + size[0] // 3, y + size[1] // 3], fill=colour)
    return image.convert(mode)


# Decoding


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [("PNG", "RGB", 0), ("JPEG", "RGB", 12), ("BMP", "RGB", 0), ("TIFF", "RGB", 0), ("WEBP", "RGB", 16),
     ("JPEG2000", "RGB", 2), ("PPM", "RGB", 0), ("PNG", "RGBA", 0), ("JPEG", "CMYK", 12), ("TIFF", "CMYK", 0)],
)  # fmt: skip
def test_formats_give_the_same_picture(kind, mode, tolerance):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    got = decode(encode(picture(mode=mode), kind, **options))
    assert got.mode == "RGB"
    difference = np.abs(np.asarray(got, dtype=int) - np.asarray(picture(), dtype=int))
    assert difference.mean() <= tolerance


def test_grey_palette_and_one_bit():
    grey = np.asarray(decode(encode(picture(mode="L"))))
    assert (grey == np.asarray(picture(mode="L"))[..., None]).all()
    palette = picture().quantize(32)
    assert (np.asarray(decode(encode(palette))) == np.asarray(palette.convert("RGB"))).all()
    assert set(np.unique(np.asarray(decode(encode(picture(mode="1")))))) == {0, 255}


def test_transparency_lies_on_white():
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(decode(encode(layer))).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    keyed = Image.new("P", (1, 1), 0)
    assert np.asarray(decode(encode(keyed, "GIF", transparency=0))).tolist() == [[[255, 255, 255]]]


def test_twelve_bits_in_sixteen_are_stretched_and_keep_their_order():
    ramp = np.linspace(100, 4000, 64 * 64).reshape(64, 64)
    for array in (ramp.astype(np.uint16), ramp.astype(np.int32), ramp.astype(np.float32)):
        got = np.asarray(decode(encode(Image.fromarray(array), "TIFF")))[..., 0].ravel().astype(int)
        assert (got[0], got[-1]) == (0, 255)
        assert (np.diff(got) >= 0).all()
        assert len(np.unique(got)) == 256
    sixteen = np.asarray(decode(encode(Image.fromarray(ramp.astype(np.uint16)))))
    assert sixteen[0, 0, 0] == 0
    assert sixteen[-1, -1, 0] == 255


def test_a_flat_or_partly_undefined_sixteen_bit_image_decodes():
    assert np.unique(np.asarray(decode(encode(Image.fromarray(np.full((4, 4), 700, np.uint16)))))).size == 1
    holed = np.full((8, 8), np.nan, np.float32)
    holed[0] = np.arange(8)
    got = np.asarray(decode(encode(Image.fromarray(holed), "TIFF")))
    assert got[0, 7, 0] == 255
    assert (got[1:] == 0).all()
    with pytest.raises(UnreadableImage, match="finite"):
        decode(encode(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


def test_rotation_by_exif_is_undone():
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn clockwise to see it upright
    got = decode(encode(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    assert (np.asarray(got) == np.asarray(image)).all()


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (encode(picture(size=(300, 200)), "JPEG")[:2000], "truncated or damaged"),
        (encode(picture(size=(300, 200)))[:600], "truncated or damaged"),
        (encode(picture(size=(300, 200)), "TIFF", compression="tiff_lzw")[:600], "image"),
        (b"\0" * 128 + b"DICM" + b"\0" * 100, "DICOM"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_what_is_no_image_is_refused_in_words(data, words):
    with pytest.raises(UnreadableImage, match=words):
        decode(data)


def test_large_images_are_refused_before_their_pixels_are_read():
    with pytest.raises(UnreadableImage, match=r"60 x 40 is over 2,399 pixels"):
        decode(encode(picture()), max_pixels=2399)
    assert decode(encode(picture()), max_pixels=2400).size == (60, 40)
    header = bytearray(encode(Image.new("1", (1, 1))))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(UnreadableImage, match=r"too large|not an image"):
        decode(bytes(header))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow comments on damage
def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = encode(picture(), kind)
        for _ in range(60):
            data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for position in rng.integers(0, len(data), rng.integers(0, 8)):
                data[position] = rng.integers(0, 256)
            with contextlib.suppress(UnreadableImage):
                assert decode(bytes(data), max_pixels=10_000).mode == "RGB"


# Backbones


def test_the_default_backbone_needs_no_hub(lite0):
    # The third to the sixth of its seven blocks, each over the whole picture and over its middle.
    wide = 2 * (40 + 80 + 112 + 192)
    assert (lite0.name, lite0.dim, lite0.size) == ("tf_efficientnet_lite0", wide, (320, 320))
    vectors = lite0.embed([picture(seed) for seed in range(3)])
    assert vectors.shape == (3, wide)
    assert vectors.dtype == np.float32
    assert lite0.embed([]).shape == (0, wide)


@pytest.fixture(scope="module")
def last_layer():
    """The default backbone as it was read before."""
    return load_backbone(features="last", view="fast")


def test_the_default_backbone_gives_the_reference_vectors(last_layer):
    """Weights, mapping, folding, channel order, mean and deviation, against vectors computed elsewhere.

    Those were cropped to a central square; ours squash the sides, so the crop is made here.
    """
    if not HAM.is_dir():
        pytest.skip("the HAM10000 sample (../shared/data/ham10000_site) is not here")
    with (HAM / "metadata.csv").open(newline="") as file:
        files = [row["file"] for row in csv.DictReader(file)][::700]
    reference = np.load(HAM / "efficientnet_lite0_embeddings.npy", mmap_mode="r")[::700].astype(np.float32)
    crops = []
    for name in files:
        image = decode((HAM / name).read_bytes())
        wide = image.resize((224 * image.width // image.height, 224), Image.Resampling.BICUBIC)
        left = (wide.width - 224) // 2
        crops.append(wide.crop((left, 0, left + 224, 224)))
    assert (last_layer.dim, last_layer.size) == (1280, (224, 224))
    ours = last_layer.embed(crops)
    assert cosine(ours, reference).min() > 0.9999
    squashed = last_layer.embed([decode((HAM / name).read_bytes()) for name in files])
    assert cosine(squashed, reference).mean() > 0.85


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_a_vector_does_not_depend_on_its_batch(lite0):
    images = [picture(seed) for seed in range(11)]
    whole = lite0.embed(images)
    alone = np.concatenate([lite0.embed([image]) for image in images])
    assert np.abs(whole - alone).max() < 1e-5
    assert np.abs(whole - lite0.embed(images[::-1])[::-1]).max() < 1e-5
    assert (whole == lite0.embed(images)).all()


def test_the_fingerprint_is_the_same_in_another_process_and_tells_backbones_apart(lite0, tiny):
    code = (
        "from cdsel_backend.pool.backbones import load_backbone as load;"
        f"print(load().fingerprint, load({SMALL!r}, weights='random').fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [lite0.fingerprint, tiny.fingerprint]
    assert lite0.fingerprint != tiny.fingerprint
    untrained = load_backbone("tf_efficientnet_lite0", weights="random")
    assert untrained.fingerprint != lite0.fingerprint


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_from_a_local_file(tmp_path, tiny, kind):
    timm = network._timm()
    torch.manual_seed(3)
    trained = timm.create_model(SMALL, num_classes=4).eval()
    file = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save({"state_dict": trained.state_dict()}, file)
    else:
        save_file(trained.state_dict(), file)
    loaded = load_backbone(SMALL, weights=str(file), device="cpu", features="last", view="fast")
    assert loaded.fingerprint not in (
        "",
        load_backbone(SMALL, weights="random", features="last", view="fast").fingerprint,
    )
    pixels = np.stack([loaded.prepare(picture(seed)) for seed in range(3)])
    config = timm.data.resolve_model_data_config(trained)
    mean, std = (np.array(config[key], dtype=np.float32) for key in ("mean", "std"))
    batch = torch.from_numpy(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = trained.forward_head(trained.forward_features(batch), pre_logits=True).numpy()
    assert np.abs(loaded.embed_prepared(pixels) - expected).max() < 1e-4


def test_backbones_that_cannot_be_had_say_why(tmp_path, monkeypatch):
    with pytest.raises(BackboneError, match=r"setting backbone: timm has no model named 'resnet51'.*resnet"):
        load_backbone("resnet51")
    with pytest.raises(BackboneError, match="there is no file"):
        load_backbone(SMALL, weights=str(tmp_path / "absent.pth"))
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, wrong)
    with pytest.raises(BackboneError, match=f"does not fit {SMALL}"):
        load_backbone(SMALL, weights=str(wrong))
    with pytest.raises(
        BackboneError, match=r"CDSEL_DEVICE, or --device: .*cannot be used here .*set it to auto"
    ):
        load_backbone(SMALL, weights="random", device="nonsense")
    # The variable HF_HUB_OFFLINE is read once, when the library is imported: too late here.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match=r"no pretrained weights for test_vit.*local checkpoint"):
        load_backbone("test_vit.r160_in1k")


def test_a_pickle_that_runs_code_is_not_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path(tmp_path / "gone off").touch, ())

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(BackboneError, match="does not fit"):
        load_backbone(SMALL, weights=str(tmp_path / "bomb.pth"))
    assert not (tmp_path / "gone off").exists()


@pytest.mark.parametrize(
    ("name", "folds"),
    [
        ("tf_efficientnet_lite0", True),
        ("resnet18", True),
        ("mobilenetv3_small_100", True),
        ("regnetx_002", True),
        ("densenet121", True),
        ("test_convnext", False),
        ("test_vit", False),
    ],
)
def test_folding_changes_no_vector(name, folds):
    torch.manual_seed(0)
    model = network._timm().create_model(name, num_classes=0)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # as training leaves them, not the identity of a new one
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, -0.5, 0.5)
            torch.nn.init.uniform_(part.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
    model.eval()
    size = 160 if name.startswith("test") else 96
    batch = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = model(batch)
        folded = fold_batch_norm(model)
        after = model(batch)
    assert (folded > 0) == folds
    assert (after - before).abs().max() < 1e-4 * before.abs().max()


@pytest.mark.slow
def test_timm_is_importable_beside_a_cpu_torch():
    code = "from cdsel_backend.pool.network import _timm; _timm(); import torchvision, timm; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


# The stream


def test_one_bad_image_costs_itself_only(tiny):
    good = {number: encode(picture(number)) for number in range(20)}
    items: list[tuple[int, bytes]] = list(good.items())
    items.insert(0, (100, b""))
    items.insert(9, (101, good[3][:50]))
    items.insert(12, (102, b"nothing"))
    items.append((103, b""))
    done = list(embed_images(tiny, items))
    assert [item.key for item in done] == [key for key, _ in items]
    for item, (key, data) in zip(done, items, strict=True):
        assert item.content_hash == content_hash(data)
        if key < 100:
            assert item.error is None
            assert np.abs(item.vector - tiny.embed([picture(key)])[0]).max() < 1e-5
        else:
            assert item.vector is None
            assert item.error


def test_what_the_machine_lacks_is_no_fault_of_an_image(tiny, monkeypatch):
    def lacking(error):
        def read():
            try:
                raise error
            except Exception as cause:
                raise UnreadableImage("x.png cannot be read") from cause

        return read

    items = {
        "files": lacking(OSError(errno.EMFILE, "Too many open files")),
        "memory": lacking(MemoryError()),
        "memory of torch": lacking(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
        "threads": lacking(RuntimeError("can't start new thread")),
        "gone": lacking(FileNotFoundError(errno.ENOENT, "No such file")),
        "fine": encode(picture(1)),
    }
    found = {item.key: item for item in embed_images(tiny, items.items())}
    for key in ("files", "memory", "memory of torch", "threads"):
        assert found[key].error.startswith("this machine has too little"), found[key].error
        assert found[key].retry_after == AGAIN_SECONDS
    assert (found["gone"].error, found["gone"].retry_after) == ("x.png cannot be read", None)
    assert found["fine"].vector is not None
    monkeypatch.setattr("cdsel_backend.pool.decode._decoded", exhaust)
    [item] = embed_images(tiny, [("png", items["fine"])])
    assert "too little memory" in item.error


def exhaust(*given):
    raise MemoryError


def test_nothing_and_nothing_but_bad_images(tiny):
    assert list(embed_images(tiny, [])) == []
    done = list(embed_images(tiny, ((number, b"") for number in range(100))))
    assert [item.key for item in done] == list(range(100))
    assert {item.error for item in done} == {"the file is empty (0 bytes)"}


def test_images_read_by_a_function_and_known_ones_skipped(tiny):
    data = encode(picture())

    def fails() -> bytes:
        raise UnreadableImage("answered 404")

    done = list(embed_images(tiny, [("a", lambda: data), ("b", fails), ("c", lambda: data)]))
    assert [item.error for item in done] == [None, "answered 404", None]
    assert (done[0].vector == done[2].vector).all()
    assert done[1].content_hash is None
    (known,) = embed_images(tiny, [("a", data)], known=lambda digests: {content_hash(data)})
    assert (known.content_hash, known.vector, known.error) == (content_hash(data), None, None)


def test_a_reader_that_finds_the_source_away_ends_the_stream(tiny):
    def away() -> bytes:
        raise SourceError("Label Studio is away")

    with pytest.raises(SourceError):
        list(embed_images(tiny, [(number, away) for number in range(50)]))


def test_what_came_before_a_reader_that_fails_is_not_lost(tiny):
    data = encode(picture())

    def away() -> bytes:
        raise SourceError("Label Studio is away")

    stream = embed_images(tiny, [(0, data), (1, lambda: data), (2, away), (3, data)])
    assert [next(stream).key, next(stream).key] == [0, 1]
    with pytest.raises(SourceError):
        next(stream)


def test_few_images_are_held_at_once_and_all_threads_end(tiny):
    data, taken = encode(picture()), 0

    def items():
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number, data

    before = threading.active_count()
    stream = embed_images(tiny, items())
    for seen, _ in enumerate(stream, 1):
        assert taken - seen <= 64 + 3 * 8
        if seen == 50:
            break
    stream.close()
    assert threading.active_count() == before


def test_a_vector_that_is_not_finite_is_an_error():
    class Broken:
        batch, parallel = 8, 1

        def prepare(self, image):
            return np.asarray(image)

        def embed_prepared(self, pixels):
            out = np.ones((len(pixels), 2), dtype=np.float32)
            out[pixels[:, 0, 0, 0] == 0] = np.nan
            return out

    images = [encode(Image.new("RGB", (4, 4), colour)) for colour in ("white", "black", "white")]
    done = list(embed_images(Broken(), enumerate(images)))
    assert [item.vector is None for item in done] == [False, True, False]
    assert "not finite" in done[1].error


def test_several_devices_work_at_once_however_large_their_batches():
    """A pass waits for three others: were they to wait for the caller, it would wait in vain."""

    class Devices:
        batch, parallel = 64, 4
        meet = threading.Barrier(4, timeout=60)

        def prepare(self, image):
            return np.zeros((4, 4, 3), dtype=np.uint8)

        def embed_prepared(self, pixels):
            self.meet.wait()
            return np.ones((len(pixels), 2), dtype=np.float32)

    image = encode(Image.new("RGB", (4, 4)))
    done = list(embed_images(Devices(), ((number, image) for number in range(256))))
    assert [item.error for item in done] == [None] * 256


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_the_cpu(lite0):
    there = load_backbone(device="cuda")
    images = [picture(seed, (300, 200)) for seed in range(9)]
    here = load_backbone(device="cpu")
    assert there.fingerprint == here.fingerprint
    assert cosine(there.embed(images), here.embed(images)).min() > 0.999


def test_untrained_networks_are_the_same_though_several_threads_load_them_at_once():
    with ThreadPoolExecutor(4) as threads:
        loads = threads.map(lambda _: network.load_network("test_efficientnet", weights="random"), range(12))
        assert len({loaded.fingerprint for loaded in loads}) == 1

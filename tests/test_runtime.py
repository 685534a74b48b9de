"""Runtimes agree with plain timm, take over when they may, and retreat when they must."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch
from made import encode
from PIL import Image
from test_pool import picture
from torch import nn

from cdsel_backend.pool import runtime, runtime_cuda, runtime_ways
from cdsel_backend.pool import runtime_openvino as openvino
from cdsel_backend.pool.backbones import Backbone, load_backbone
from cdsel_backend.pool.devices import DeviceFails
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.network import load_network
from cdsel_backend.pool.runtime import CLOSE, SAME, Adaptive, TorchRuntime, agreement
from cdsel_backend.pool.runtime_choice import make_runtime
from cdsel_backend.pool.runtime_cuda import DeviceRuntime, Way
from cdsel_backend.pool.runtime_ways import find_cuda
from cdsel_backend.whole_file import LEFT_SECONDS

CPU = torch.device("cpu")
SMALL = "test_efficientnet"
needs_openvino = pytest.mark.skipif(not openvino.available(), reason="no OpenVINO on this machine")


def pixels_for(backbone: Backbone, n: int) -> np.ndarray:
    return np.stack([backbone.prepare(picture(seed, (300, 200))) for seed in range(n)])


@pytest.fixture(scope="module")
def small():
    return load_backbone(SMALL, weights="random", device="cpu", features="last", view="fast")


NETWORKS = [
    "tf_efficientnet_lite0",
    pytest.param("vit_small_patch16_224", marks=pytest.mark.slow),
    pytest.param("vit_small_patch14_dinov2", marks=pytest.mark.slow),
    pytest.param("convnext_tiny", marks=pytest.mark.slow),
]


@needs_openvino
@pytest.mark.parametrize("name", NETWORKS)
def test_every_runtime_of_the_cpu_agrees_with_plain_timm(name):
    backbone = load_backbone(name, weights="random", device="cpu", features="last", view="fast")
    pixels = pixels_for(backbone, 4)
    network = load_network(name, weights="random")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.mean, network.std))
    with torch.inference_mode():
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        plain = network.model.eval()((batch - mean) / std).numpy()
    assert agreement(backbone.embed_prepared(pixels), plain) >= SAME  # folded torch
    for precision, least in (("float32", SAME), ("auto", CLOSE)):
        found = openvino.find(backbone.encoder, "key", None, pixels, plain, precision)
        assert found is not None
        assert agreement(found(pixels), plain) >= least


@needs_openvino
def test_a_network_is_converted_once_and_found_again(small, tmp_path, monkeypatch):
    pixels = pixels_for(small, 9)
    vectors = TorchRuntime(small.encoder)(pixels)
    found = openvino.find(small.encoder, small.fingerprint, tmp_path, pixels, vectors, "float32")
    monkeypatch.setattr(openvino, "_convert", None)  # would raise
    again = make_runtime(small.encoder, CPU, key=small.fingerprint, precision="float32", cache=tmp_path)
    assert (again.name, again.batch) == (found.name, found.batch)
    np.testing.assert_allclose(again(pixels), found(pixels), atol=1e-6)
    assert agreement(again(pixels[:5]), vectors[:5]) >= SAME  # no multiple of its batch
    assert openvino.load("another", tmp_path, "float32") is None
    (weights,) = tmp_path.glob("*.bin")
    whole = weights.read_bytes()
    # As after a power cut: some of the weights are 0, and the network gives vectors all the same.
    weights.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert openvino.load(small.fingerprint, tmp_path, "float32") is None
    weights.write_bytes(whole)
    assert openvino.load(small.fingerprint, tmp_path, "float32") is not None
    for file in tmp_path.glob("*.xml"):
        file.write_text("damaged")
    assert openvino.load(small.fingerprint, tmp_path, "float32") is None


@needs_openvino
def test_a_network_that_cannot_be_kept_is_used_all_the_same(small, tmp_path, monkeypatch, caplog):
    """OpenVINO has an error of its own where the disk is full, and leaves what it had written."""

    def fill(model, path, **how):
        path.write_bytes(b"a part")
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino._openvino(), "save_model", fill)
    pixels = pixels_for(small, 4)
    vectors = TorchRuntime(small.encoder)(pixels)
    assert openvino.find(small.encoder, "key", tmp_path, pixels, vectors, "float32") is not None
    assert "is not kept, and will be made again" in caplog.text
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_drafts_of_a_compiled_network_are_of_one_process_and_removed_where_it_was_killed(
    small, tmp_path, monkeypatch
):
    """A large network is of hundreds of megabytes."""
    monkeypatch.setattr(openvino._openvino(), "save_model", lambda model, path, **how: None)
    monkeypatch.setattr(openvino, "_crc", lambda file: 0)
    for name, age in ((".old.1.bin", 2 * LEFT_SECONDS), (".new.2.bin", 0)):
        (tmp_path / name).write_bytes(b"a part")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    file = tmp_path / "network.json"
    for suffix in (".xml", ".bin"):
        (tmp_path / f".network-{os.getpid()}{suffix}").touch()
    openvino._keep(file, None, openvino.Plan("float32", 0, 1))
    assert {one.name for one in tmp_path.iterdir()} == {
        ".new.2.bin",
        "network.json",
        "network.xml",
        "network.bin",
    }


@needs_openvino
def test_an_openvino_without_its_plugin_for_cpus_leaves_torch_at_work(small, tmp_path, monkeypatch, caplog):
    """As where the image of a container lacks a library of it: the network could not be loaded at all."""

    class Core:
        def get_property(self, *names):
            raise RuntimeError('Device with "CPU" name is not registered in the OpenVINO Runtime')

    monkeypatch.setattr(openvino._openvino(), "Core", Core)
    found = make_runtime(small.encoder, CPU, key=small.fingerprint, cache=tmp_path)
    pixels = pixels_for(small, 8)
    vectors = TorchRuntime(small.encoder)(pixels)
    for _ in range(runtime.WORTH // 8 + 1):
        np.testing.assert_array_equal(found(pixels), vectors)
    assert "no faster runtime could be made" in caplog.text


@needs_openvino
def test_a_network_that_comes_out_otherwise_is_not_used(small):
    pixels = pixels_for(small, 4)
    wrong = TorchRuntime(small.encoder)(pixels)[::-1].copy()
    assert openvino.find(small.encoder, "key", None, pixels, wrong, "float32") is None


@needs_openvino
def test_openvino_does_not_report_to_its_makers():
    code = (
        "from cdsel_backend.pool import runtime_openvino as o; o._openvino();"
        "import sys, openvino.tools.ovc.telemetry_utils as t; print(t.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"], done.stderr


def test_rounding_to_bfloat16_keeps_the_sum_of_each_kernel():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, groups=16)
    before = conv.weight.detach().clone()
    openvino.round_weights(conv)
    after = conv.weight.detach()
    assert torch.equal(after, after.bfloat16().float())
    assert (after - before).abs().max() <= before.abs().max() * 2**-7  # one step of bfloat16

    def sums_off(weights):
        return (weights - before).sum((2, 3)).abs().mean()

    assert sums_off(after) < sums_off(before.bfloat16().float()) / 3


def test_a_faster_runtime_takes_over_after_enough_real_pictures(small):
    class Faster:
        name, batch, parallel = "faster", 3, 2

        def __call__(self, pixels):
            return np.full((len(pixels), 2), 7.0, dtype=np.float32)

    seen = []

    def find(pixels, vectors):
        seen.append((len(pixels), len(vectors)))
        return Faster()

    now = Adaptive(TorchRuntime(small.encoder), find)
    pixels = pixels_for(small, 8)
    for _ in range(runtime.WORTH // 8 - 1):
        now(pixels)
    assert (seen, now.batch, now.parallel) == ([], 8, 1)
    assert now(pixels).shape[1] == small.dim
    assert seen == [(runtime.TRIAL, runtime.TRIAL)]
    assert (now.name, now.batch, now.parallel, now(pixels)[0, 0]) == ("faster", 3, 2, 7.0)


def test_many_pictures_lose_none_where_a_runtime_of_another_batch_takes_over():
    class Plain:
        name, parallel = "plain", 1

        def __init__(self, batch):
            self.batch = batch

        def __call__(self, pixels):
            return pixels[:, 0, 0].astype(np.float32)

    pixels = np.random.default_rng(0).integers(0, 255, (2 * runtime.WORTH, 2, 2, 3), dtype=np.uint8)
    found = runtime.run_all(Adaptive(Plain(32), lambda pixels, vectors: Plain(8)), pixels)
    np.testing.assert_array_equal(found, Plain(1)(pixels))


def test_where_no_faster_runtime_can_be_made_the_first_goes_on(small, caplog):
    def find(pixels, vectors):
        raise RuntimeError("no compiler")

    now = Adaptive(TorchRuntime(small.encoder), find)
    pixels = np.concatenate([pixels_for(small, 8)] * (runtime.WORTH // 8))
    first = now(pixels)
    np.testing.assert_array_equal(now(pixels), first)
    assert caplog.text.count("no faster runtime could be made") == 1


# What a GPU does, on the CPU


class Hungry(nn.Module):
    """A network with memory for so many pictures at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return pixels.float().mean((1, 2))


def test_out_of_memory_makes_batches_smaller_and_then_the_cpu_go_on(caplog):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 4, 4, 3), dtype=np.uint8)
    expected = pixels.astype(np.float32).mean((1, 2))
    tight = DeviceRuntime(Hungry(10), [Way(CPU), Way(CPU)], fallback=lambda: TorchRuntime(Hungry(99)))
    np.testing.assert_allclose(tight(pixels), expected, rtol=1e-6)
    assert (tight.batch, tight.parallel) == (8, 6)
    assert "batches are now of 8 images" in caplog.text
    none = DeviceRuntime(Hungry(0), [Way(CPU)], fallback=lambda: TorchRuntime(Hungry(99)))
    np.testing.assert_allclose(none(pixels), expected, rtol=1e-6)
    assert "the CPU goes on" in caplog.text
    assert "too little memory" in none.name


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"]
)
def test_memory_that_runs_out_in_a_library_of_cuda_counts_too(text):
    class Library(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if len(pixels) > 8:
                raise RuntimeError(text)
            return pixels.float().mean((1, 2))

    pixels = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    tight = DeviceRuntime(Library(), [Way(CPU)], fallback=lambda: TorchRuntime(Library()))
    assert (tight(pixels).shape, tight.batch) == ((20, 3), 8)


def test_an_error_that_is_not_memory_is_no_reason_for_smaller_batches():
    class Broken(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("CUDA error: device-side assert triggered")

    broken = DeviceRuntime(Broken(), [Way(CPU)], fallback=lambda: TorchRuntime(Broken()))
    with pytest.raises(RuntimeError, match="device-side"):
        broken(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    assert broken.batch == 64


class Cards(nn.Module):
    """A network that runs on so many GPUs, each with its own `does`: pictures -> None, or what it raises or gives."""

    def __init__(self, *does) -> None:
        super().__init__()
        self.does = list(does)
        self.ran = Counter()
        self.number = None  # of the card that it was copied to; None: the CPU

    def __deepcopy__(self, memo):
        copied = Cards()
        copied.does, copied.ran, copied.number = self.does, self.ran, len(self.ran)
        self.ran[copied.number] = 0
        if self.does[copied.number] is full:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return copied

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors = pixels.float().mean((1, 2))
        if self.number is None:
            return vectors
        found = self.does[self.number](len(pixels), self.ran[self.number])
        self.ran[self.number] += len(pixels)
        return vectors if found is None else found(vectors)


def sound(count, before):
    time.sleep(0.001)


def slow(count, before):
    time.sleep(0.3)  # also beside tests that take the cores


def full(count, before):
    """Somebody else has all memory of it."""


def tight(count, before):
    if count > 4:
        raise torch.OutOfMemoryError("CUDA out of memory")


def lost(count, before):
    if before >= 100:
        raise getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: unspecified launch failure")


def wrong(count, before):
    return lambda vectors: vectors.flip(1)


def damaged(count, before):
    return (lambda vectors: vectors * torch.nan) if before >= 100 else None


def cards(*does, **options):
    network = Cards(*does)
    ways = [Way(torch.device("cpu", number), batch=16) for number in range(len(does))]
    return network, DeviceRuntime(network, ways, **options)


def test_of_several_gpus_each_fails_for_itself_and_no_picture_is_lost(caplog):
    pixels = np.random.default_rng(0).integers(0, 255, (3000, 4, 4, 3), dtype=np.uint8)
    expected = pixels.astype(np.float32).mean((1, 2))
    network, gpus = cards(full, sound, tight, lost, wrong, damaged, slow)
    np.testing.assert_allclose(runtime.run_all(gpus, pixels), expected, rtol=1e-5)
    assert {way.device.index: way.batch for way in gpus.ways} == {1: 16, 2: 4, 6: 16}
    assert network.ran[0] == 0
    assert network.ran[1] > network.ran[6] > 0, "a fast one has more of them"
    reasons = ["cpu:0 embeds no more", "cosine", "unspecified launch failure", "cosine"]
    assert len(gpus.problems) == len(reasons)
    assert all(any(reason in problem for problem in gpus.problems) for reason in reasons)
    assert all(problem in caplog.text for problem in gpus.problems)
    assert gpus.batch == 16


def test_where_no_gpu_is_left_the_cpu_goes_on_and_says_so():
    pixels = np.random.default_rng(0).integers(0, 255, (800, 4, 4, 3), dtype=np.uint8)
    expected = pixels.astype(np.float32).mean((1, 2))
    for does in ((lost, lost), (full, full), (wrong, lost)):
        network, gpus = cards(*does)
        with pytest.raises(DeviceFails, match="embeds no more"):
            runtime.run_all(gpus, pixels)
        gpus.fallback = lambda network=network: TorchRuntime(network)
        np.testing.assert_allclose(runtime.run_all(gpus, pixels), expected, rtol=1e-5)
        assert "the CPU goes on" in gpus.problems[-1]
        assert (gpus.batch, gpus.parallel) == (TorchRuntime.batch, TorchRuntime.parallel)


class Played:
    """A backbone whose pictures are its own input."""

    def __init__(self, runtime) -> None:
        self.runtime = runtime

    batch = property(lambda self: self.runtime.batch)
    parallel = property(lambda self: self.runtime.parallel)

    def prepare(self, image):
        return np.array(image)

    def embed_prepared(self, pixels):
        return self.runtime(pixels)


def failing(chance: random.Random):
    """What a card does that fails in one of several ways, at some time, now and then or always."""
    kind, after, share = chance.randrange(5), chance.choice((0, 20, 200)), chance.choice((0.05, 0.5, 1.0))
    errors = (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        ValueError("out of resource: shared memory"),  # as Triton's, which is no RuntimeError
    )

    def does(count, before):
        if before < after or chance.random() > share:
            return None
        if kind == len(errors):
            return lambda vectors: vectors * torch.nan
        raise errors[kind]

    return does


@pytest.mark.parametrize("seed", range(40))
def test_whatever_gpus_do_each_image_has_its_vector_or_the_stream_ends(seed):
    chance = random.Random(seed)
    kinds = (sound, full, tight, lost, wrong, damaged)
    network, gpus = cards(
        *(
            failing(chance) if chance.random() < 0.6 else chance.choice(kinds)
            for _ in range(chance.randint(1, 5))
        )
    )
    if chance.random() < 0.7:
        gpus.fallback = lambda: TorchRuntime(network)
    pictures = [Image.new("RGB", (4, 4), tuple(chance.randbytes(3))) for _ in range(chance.choice((1, 300)))]
    items = [(number, encode(image)) for number, image in enumerate(pictures)]
    try:
        found = list(embed_images(Played(gpus), items))
    except DeviceFails:
        assert gpus.fallback is None
        assert not gpus.ways
        return
    assert [(item.key, item.error) for item in found] == [(number, None) for number, _ in items]
    due = [image.getpixel((0, 0)) for image in pictures]
    np.testing.assert_allclose(np.stack([item.vector for item in found]), due, rtol=1e-4)


def test_what_is_not_finite_on_the_cpu_either_is_no_fault_of_a_gpu():
    class Overflows(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            means = pixels.float().mean((1, 2))
            return torch.where(means[:, :1] > 254, torch.inf, means)

    pixels = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    pixels[7] = 255
    gpu = DeviceRuntime(Overflows(), [Way(CPU)])
    assert np.flatnonzero(~np.isfinite(gpu(pixels)).all(axis=1)).tolist() == [7]
    assert gpu.problems == []


def test_each_kind_of_gpu_finds_its_own_way(monkeypatch):
    """Two that compute in bfloat16, an old one that does not, and one that fails while ways are tried."""
    encoder = Cards(sound, sound, sound, sound)
    monkeypatch.setattr(Cards, "__deepcopy__", None)
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3), dtype=np.uint8)
    vectors = TorchRuntime(encoder)(pixels)
    kinds = {0: "H100", 1: "T4", 2: "H100", 3: "K80"}
    monkeypatch.setattr(runtime_ways, "described", lambda device: f"{device} ({kinds[device.index]})")
    monkeypatch.setattr(runtime_ways, "has_bfloat16", lambda device: device.index in (0, 2))
    calls = runtime_cuda._calls

    def copied(encoder, way):
        if kinds[way.device.index] == "K80" and way.batch != 16:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        return calls(encoder, way)

    monkeypatch.setattr(runtime_cuda, "_calls", copied)
    monkeypatch.setattr(runtime_ways, "_BATCHES", (2, 4))
    start = DeviceRuntime(encoder, [Way(torch.device("cpu", number), batch=2) for number in range(3)])
    start.add(Way(torch.device("cpu", 3), batch=16))
    start.problems.append("as before")
    found = find_cuda(encoder, start, pixels, vectors, "auto", compiling=False)
    assert [(way.device.index, way.half) for way in found.ways] == [
        (0, True),
        (1, False),
        (2, True),
        (3, False),
    ]
    assert found.problems == ["as before"]
    many = np.concatenate([pixels] * 20)
    assert agreement(runtime.run_all(found, many), np.concatenate([vectors] * 20)) >= CLOSE


def test_the_way_of_a_gpu_agrees_with_float32(small, monkeypatch):
    monkeypatch.setattr(runtime_ways, "_BATCHES", (2, 4))
    monkeypatch.setattr(runtime_ways, "has_bfloat16", lambda device: True)
    pixels = pixels_for(small, 6)
    vectors = TorchRuntime(small.encoder)(pixels)
    start = DeviceRuntime(small.encoder, [Way(CPU)])
    found = find_cuda(small.encoder, start, pixels, vectors, "auto", compiling=False)
    assert agreement(found(pixels), vectors) >= CLOSE
    exact = find_cuda(small.encoder, start, pixels, vectors, "float32", compiling=False)
    assert agreement(exact(pixels), vectors) >= SAME


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_agrees_with_the_cpu():
    there = load_backbone(device="cuda")
    here = load_backbone(device="cpu")
    assert there.fingerprint == here.fingerprint
    pixels = np.concatenate([pixels_for(here, 8)] * (runtime.WORTH // 8))
    first = there.embed_prepared(pixels)
    assert agreement(first, here.embed_prepared(pixels)) >= SAME
    assert "bfloat16" in there.runtime.name
    assert agreement(there.embed_prepared(pixels), first) >= CLOSE

"""Decoding on a GPU, tried on a CPU: the same code, its codec nvImageCodec's decoder for CPUs, or Pillow."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from made import encode
from PIL import Image
from test_pool import picture

from cdsel_backend.pool.backbones import Backbone, fit_to, load_backbone
from cdsel_backend.pool.codec import File, NvImageCodec
from cdsel_backend.pool.decode import read_image
from cdsel_backend.pool.decode_gpu import GpuDecoder, Shrunk, find_decoder
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.gpu_pictures import look_at, shrink
from cdsel_backend.pool.jpeg import read_head
from cdsel_backend.pool.measures import look
from cdsel_backend.pool.prepare import CHUNK, Embedded, Preparation
from cdsel_backend.pool.runtime import CLOSE, SAME, TRIAL, agreement

CPU = torch.device("cpu")


class PillowCodec:
    """A codec; `alter` is what it does wrong."""

    def __init__(self, alter=lambda pixels: pixels) -> None:
        self.alter = alter
        self.decoded = 0

    def __call__(self, files: Sequence[File]) -> list[torch.Tensor | None]:
        self.decoded += len(files)
        pictures = [np.array(Image.open(io.BytesIO(data)).convert("RGB")) for data, _ in files]
        return [torch.from_numpy(np.ascontiguousarray(self.alter(pixels))) for pixels in pictures]


@pytest.fixture(scope="module")
def small() -> Backbone:
    return load_backbone("test_efficientnet", weights="random", device="cpu", features="last", view="fast")


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image, "JPEG", exif=exif)


def described(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return encode(image, "JPEG", exif=exif)


ONE = picture(1, (61, 47))
PLAIN = {
    "baseline": encode(ONE, "JPEG", quality=90),
    "progressive": encode(ONE, "JPEG", progressive=True, quality=75, subsampling=0),
    "grey": encode(ONE.convert("L"), "JPEG", quality=30),
    "EXIF data without a turn": described(ONE),
}
OTHERS = {
    "PNG": encode(ONE),
    "turned": turned(ONE),
    "CMYK": encode(ONE.convert("CMYK"), "JPEG"),
    "RGB": encode(ONE, "JPEG", keep_rgb=True),
    "its end is missing": PLAIN["baseline"][:-40],
    "two pictures": encode(ONE, "MPO", save_all=True, append_images=[ONE]),
    "12 bits": PLAIN["baseline"].replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
    "lossless": PLAIN["baseline"].replace(b"\xff\xc0\x00\x11", b"\xff\xc3\x00\x11"),
    "damaged EXIF data": turned(ONE).replace(b"MM\x00\x2a", b"MM\x00\x2b", 1),
    "nothing but ends": b"\xff\xd8\xff\xd9",
    "empty": b"",
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_head_of_a_plain_jpeg_is_read_as_pillow_reads_it(name: str) -> None:
    head, decoded = read_head(PLAIN[name]), read_image(PLAIN[name])
    assert head is not None
    assert (head.size, head.quality) == (decoded.size, decoded.quality)
    assert head.progressive == (name == "progressive")


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_stay_with_the_cpu(name: str) -> None:
    assert read_head(OTHERS[name]) is None


@pytest.mark.parametrize("size", [(60, 40), (301, 203), (700, 500), (2, 2), (257, 1)])
def test_pictures_are_made_smaller_and_measured_as_on_the_cpu(size: tuple[int, int]) -> None:
    pictures = [picture(seed, size) for seed in range(3 if min(size) > 4 else 0)]
    pictures += [Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))]
    batch = torch.from_numpy(np.stack([np.asarray(image) for image in pictures])).permute(0, 3, 1, 2)
    for image, pixels in zip(pictures, shrink(batch, (32, 48)), strict=True):
        assert np.abs(pixels.astype(int) - fit_to(image, (32, 48))).max() <= 1
    np.testing.assert_allclose(look_at(batch), [look(image) for image in pictures], atol=0.05)


def pool() -> list[bytes]:
    """JPEG files of two sizes, among them some that stay with the CPU or cannot be used."""
    files = [encode(picture(n, (90, 70) if n % 3 else (64, 80)), "JPEG") for n in range(2 * TRIAL)]
    return [*files, *OTHERS.values(), b"text", files[0]]


def embedded(backbone: Backbone, files: Sequence[bytes], decoder: GpuDecoder | None) -> list[Embedded[int]]:
    return list(embed_images(backbone, enumerate(files), decoder=decoder))


def tried(backbone: Backbone, codec) -> GpuDecoder:
    """A decoder that has seen enough to decide, beside a CPU that seems slow."""
    decoder = GpuDecoder([codec], backbone.size, backbone.embed_prepared, cores=1)
    fed(decoder, backbone)
    return decoder


def fed(decoder: GpuDecoder, backbone: Backbone) -> None:
    for data in pool()[:TRIAL]:
        decoder.learn(data, backbone.prepare(read_image(data).image), 1.0)


def assert_alike(found: list[Embedded[int]], due: list[Embedded[int]], least: float = SAME) -> None:
    assert [(one.key, one.content_hash, one.error, one.note) for one in found] == [
        (one.key, one.content_hash, one.error, one.note) for one in due
    ]
    vectors = [np.stack([one.vector for one in part if one.vector is not None]) for part in (found, due)]
    assert agreement(*vectors) >= least
    for one, other in zip(found, due, strict=True):
        assert one.measures.keys() == other.measures.keys()
        for name, value in other.measures.items():
            assert one.measures[name] == (
                pytest.approx(value, abs=0.2) if isinstance(value, float) else value
            )


def test_a_decoder_that_agrees_takes_over_and_leaves_to_the_cpu_what_it_does_not_read(
    small: Backbone,
) -> None:
    codec = PillowCodec()
    decoder = tried(small, codec)
    assert decoder.chosen
    tries = codec.decoded
    found = embedded(small, pool(), decoder)
    assert codec.decoded - tries == 2 * TRIAL + 1
    assert_alike(found, embedded(small, pool(), None))


def test_nvimagecodec_decodes_as_pillow_does(small: Backbone) -> None:
    """The codec itself: here by its libjpeg-turbo, on a GPU by nvJPEG (`test_a_gpu_decodes_as_the_cpu`)."""
    pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed")
    decoder = tried(small, NvImageCodec(CPU))
    assert decoder.chosen
    assert_alike(embedded(small, pool(), decoder), embedded(small, pool(), None))


def test_what_an_engine_does_not_decode_goes_to_the_rest_of_the_gpu(small: Backbone) -> None:
    """The engine is played here: on a GPU it is a decoder of the same kind, with the backend of its hardware alone."""
    pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed")

    class Engine:
        """Decodes what it is made for, and keeps what it was asked for."""

        def __init__(self, decoder, decodes) -> None:
            self.decoder, self.decodes, self.asked = decoder, decodes, []

        def decode(self, files, **options):
            self.asked += files
            return [
                image if data in self.decodes else None
                for data, image in zip(files, self.decoder.decode(files, **options), strict=True)
            ]

    plain = [encode(picture(n, (64, 48)), "JPEG") for n in range(9)]
    files = [(data, read_head(data)) for data in [plain[0], PLAIN["progressive"], *plain[1:]]]
    due = NvImageCodec(CPU)(files)

    codec = NvImageCodec(CPU)
    codec._engine = engine = Engine(codec._decoder, set(plain[::2]))
    found = codec(files)
    assert engine.asked == plain  # nothing progressive
    for one, other in zip(found, due, strict=True):
        assert torch.equal(one, other)

    engine.decodes, engine.asked = set(), []
    assert all(one is not None for one in codec(files))
    codec(files)
    assert engine.asked == plain  # it decoded nothing, and is not asked again


def test_of_two_codecs_that_agree_the_faster_one_decodes(small: Backbone) -> None:
    class Timed(GpuDecoder):
        """Does not look at a clock, which depends on what else the machine does: a codec says how fast it is."""

        def _speed(self, codecs, which, trial):
            return codecs[0].speed if super()._speed(codecs, which, trial) else 0.0

    def codec(speed: float, alter=lambda pixels: pixels) -> PillowCodec:
        made = PillowCodec(alter)
        made.speed = speed
        return made

    def fails(files):
        raise RuntimeError("the driver is too old")

    for first, second, due in (
        (codec(2.0), codec(3.0), 1),
        (codec(3.0), codec(2.0), 0),
        (codec(2.0), fails, 0),
        (codec(2.0), codec(3.0, lambda pixels: 255 - pixels), 0),
        (fails, codec(2.0), 1),
    ):
        decoder = Timed([first], small.size, small.embed_prepared, cores=1, others=[second])
        fed(decoder, small)
        assert decoder.chosen
        chosen = (first, second)[due]
        before = chosen.decoded
        assert decoder.read([pool()[0]]) != [None]
        assert chosen.decoded == before + 1


@pytest.mark.parametrize(
    "codec",
    [
        PillowCodec(lambda pixels: 255 - pixels),
        PillowCodec(lambda pixels: pixels[:-1]),  # of another size: none of them counts
        lambda files: [None] * len(files),
        lambda files: 1 / 0,
    ],
    ids=["negative", "another size", "nothing", "an error"],
)
def test_a_decoder_that_differs_is_not_used(small: Backbone, codec) -> None:
    assert not tried(small, codec).chosen


def test_a_decoder_that_is_slower_is_not_used(small: Backbone) -> None:
    decoder = GpuDecoder([PillowCodec()], small.size, small.embed_prepared, cores=1)
    for data in pool()[:TRIAL]:
        decoder.learn(data, small.prepare(read_image(data).image), 1e-9)
    assert not decoder.chosen


def test_a_decoder_that_fails_later_costs_nothing(small: Backbone) -> None:
    codec = PillowCodec()
    decoder = tried(small, codec)
    codec.alter = lambda pixels: 1 / 0
    assert_alike(embedded(small, pool(), decoder), embedded(small, pool(), None))
    while decoder.chosen:
        assert decoder.read([pool()[0]]) == [None]
    assert decoder.read([pool()[0]]) == [None]


def test_of_several_gpus_one_that_does_not_decode_is_left_out(small: Backbone) -> None:
    sound, broken = PillowCodec(), PillowCodec()
    wrong = PillowCodec(lambda pixels: 255 - pixels)

    def full(files):
        raise torch.OutOfMemoryError("CUDA out of memory")

    decoder = GpuDecoder([full, sound, wrong, broken], small.size, small.embed_prepared, cores=1)
    fed(decoder, small)
    assert decoder.chosen
    assert decoder._serving == {1, 3}
    broken.alter = lambda pixels: 1 / 0  # it falls off the bus
    before = sound.decoded, wrong.decoded
    files = pool()[: 2 * TRIAL]
    with ThreadPoolExecutor(8) as threads:  # what fails is quick: by itself it would get most of the files
        for _ in range(20):
            shrunk = list(threads.map(lambda data: decoder.read([data])[0], files))
            if not any(one is None for one in shrunk):
                break
    assert not any(one is None for one in shrunk)
    assert decoder.chosen
    assert decoder._serving == {1}
    assert sound.decoded > before[0]
    assert wrong.decoded == before[1]
    [problem] = decoder.problems
    assert "the rest of the GPUs decode" in problem


def test_few_chunks_are_read_at_once_and_many_wait_for_a_gpu_only_where_reading_is_quick() -> None:
    class Ready(GpuDecoder):
        def read(self, files, **options):
            return [Shrunk(np.zeros((8, 8, 3), np.uint8), {}) for _ in files]

    decoder = Ready([], (8, 8), lambda pixels: pixels)
    decoder.chosen = True
    prepare: Preparation[int] = Preparation(
        np.asarray, known=lambda digests: (), once=False, max_pixels=100, decoder=decoder
    )
    reading, most, guard = 0, 0, threading.Lock()

    def read(data: bytes) -> bytes:
        nonlocal reading, most
        with guard:
            reading += 1
            most = max(most, reading)
        time.sleep(0.0002)
        with guard:
            reading -= 1
        return data

    assert prepare.under_way(10) == decoder.window
    chunk = [(number, partial(read, bytes(100))) for number in range(CHUNK)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(prepare, [chunk] * 32))
    assert 1 <= most <= 3
    for _ in range(16):
        prepare([(number, partial(time.sleep, 0.002)) for number in range(2)])
    assert prepare.chunk() < CHUNK
    assert prepare.under_way(10) == 10


def test_without_a_gpu_there_is_none() -> None:
    assert find_decoder(CPU, (32, 32), lambda pixels: pixels) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_decodes_as_the_cpu() -> None:
    pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed")
    backbone = load_backbone(
        "test_efficientnet", weights="random", features="last", view="fast", precision="float32"
    )
    decoder = find_decoder(torch.device("cuda"), backbone.size, backbone.embed_prepared)
    assert decoder is not None
    fed(decoder, backbone)
    assert decoder.chosen
    assert_alike(embedded(backbone, pool(), decoder), embedded(backbone, pool(), None), CLOSE)

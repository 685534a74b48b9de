"""Decoding: equal pictures are equal whatever holds them, and files that browsers show are used."""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from made import encode
from PIL import Image, ImageCms, PngImagePlugin

from cdsel_backend.pool import depth
from cdsel_backend.pool.browser import for_browser, to_png, why_not_shown
from cdsel_backend.pool.decode import UnreadableImage, bytes_a_pixel, decode, jpeg_quality, read_image
from cdsel_backend.pool.depth import Layout, to_eight_bits
from cdsel_backend.pool.measures import measure
from cdsel_backend.pool.room import Room

W, H = 96, 64


def scene(seed: int = 0, width: int = W, height: int = H) -> np.ndarray:
    """A grey picture (h, w) uint8 with smooth shapes and a dark left side, so that a turn or a negative shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    values = (
        60
        + 120 * x / width
        + sum(
            rng.uniform(-60, 60)
            * np.exp(-((x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2) / 200)
            for _ in range(6)
        )
    )
    return np.clip(values, 0, 255).astype(np.uint8)


def grey_of(data: bytes) -> np.ndarray:
    return np.asarray(decode(data)).astype(int).mean(axis=2)


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: (h, w) grey, (h, w, 2) grey and alpha, 3 RGB, 4 RGBA."""
    height, width = values.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.size // (width * height)]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(
    values: np.ndarray, order: str, bits: int, photometric: int = 1, orientation: int = 1, extra=(), planes=1
) -> bytes:
    """An uncompressed TIFF of (h, w) or (h, w, c) whole numbers; 12 bits are packed as the standard says."""
    height, width = values.shape[:2]
    samples = values.size // (width * height)
    if bits == 12:
        pairs = [
            np.unpackbits(row.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:] for row in values
        ]
        raw = b"".join(np.packbits(pair.ravel()).tobytes() for pair in pairs)
    else:
        raw = values.astype(f"{order}u{bits // 8}").tobytes()
    shorts = {
        256: [width],
        257: [height],
        258: [bits] * samples,
        259: [1],
        262: [photometric],
        274: [orientation],
    }
    shorts |= {277: [samples], 278: [height], 284: [planes], 339: [1] * samples}
    shorts |= {338: list(extra)} if extra else {}
    longs = {273: [0], 279: [len(raw)]}
    count = len(shorts) + len(longs)
    beyond = 8 + 2 + 12 * count + 4
    long_values = b"".join(struct.pack(f"{order}{len(v)}H", *v) for v in shorts.values() if len(v) > 2)
    longs[273] = [beyond + len(long_values)]
    entries, after = b"", beyond
    for tag in sorted({**shorts, **longs}):
        numbers = shorts.get(tag) or longs[tag]
        kind, letter = (3, "H") if tag in shorts else (4, "I")
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            after, packed = after + len(packed), struct.pack(f"{order}I", after)
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    # Longer values follow in the order of their tags, as they were numbered.
    ordered = b"".join(struct.pack(f"{order}{len(v)}H", *v) for _, v in sorted(shorts.items()) if len(v) > 2)
    return head + struct.pack(f"{order}H", count) + entries + bytes(4) + ordered + raw


# More than 8 bits


def holders(grey: np.ndarray) -> dict[str, bytes]:
    """One grey picture of 8 bits in files of many kinds, none of which loses any of it."""
    deep = grey.astype(np.uint32)
    rgb = np.repeat(deep[..., None], 3, axis=2)
    opaque = np.full_like(deep, 255)
    twelve = np.rint(deep * 4095 / 255)
    found = {
        "PNG 16": png16(deep * 257),
        "PNG 16, shifted": png16(deep * 256),
        "PNG 16 RGB": png16(rgb * 257),
        "PNG 16 grey and alpha": png16(np.stack([deep, opaque], axis=2) * 257),
        "PNG 16 RGBA": png16(np.dstack([rgb, opaque]) * 257),
        "PGM 16": encode(Image.fromarray((deep * 257).astype(np.uint16)), "PPM"),
        "PGM 12": b"P5\n%d %d\n4095\n" % (W, H) + twelve.astype(">u2").tobytes(),
        "PPM 16": b"P6\n# made\n%d %d\n65535\n" % (W, H) + (rgb * 257).astype(">u2").tobytes(),
        "TIFF float 0 to 1": encode(Image.fromarray((grey / 255).astype(np.float32)), "TIFF"),
        "TIFF float 0 to 255": encode(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        "JPEG 2000 16": encode(
            Image.fromarray((deep * 257).astype(np.uint16)), "JPEG2000", irreversible=False
        ),
        "JPEG 2000 16 RGB": cv2.imencode(".jp2", (rgb * 257).astype(np.uint16))[1].tobytes(),
        "JPEG 2000 16 RGBA": cv2.imencode(".jp2", (np.dstack([rgb, opaque]) * 257).astype(np.uint16))[
            1
        ].tobytes(),
        "TIFF 16 LZW": encode(
            Image.fromarray((deep * 257).astype(np.uint16)), "TIFF", compression="tiff_lzw"
        ),
    }
    for order in "<>":
        name = "little" if order == "<" else "big"
        for photometric in (0, 1):
            for bits, scaled in ((8, deep), (12, twelve.astype(np.uint32)), (16, deep * 257)):
                values = 2**bits - 1 - scaled if photometric == 0 else scaled
                found[f"TIFF {bits} {name} photometric {photometric}"] = tiff(
                    values, order, bits, photometric
                )
        found[f"TIFF 16 RGB {name}"] = tiff(rgb * 257, order, 16, 2)
        found[f"TIFF 16 RGBA {name}"] = tiff(np.dstack([rgb, opaque]) * 257, order, 16, 2, extra=(2,))
        found[f"TIFF 8 grey and alpha {name}"] = tiff(np.stack([deep, opaque], axis=2), order, 8, extra=(2,))
    return found


@pytest.mark.parametrize("name", holders(scene()))
def test_a_picture_is_the_same_however_many_bits_hold_it(name):
    grey = scene()
    got = np.asarray(decode(holders(grey)[name])).astype(int)
    assert got.shape == (H, W, 3)
    assert np.abs(got - grey[..., None]).max() <= 1
    assert (got == grey[..., None]).mean() > 0.95


@pytest.mark.parametrize("brightest", [12, 60, 255])
def test_dark_pictures_of_8_bits_stay_dark_in_16(brightest):
    grey = (scene() * (brightest / 255)).astype(np.uint8)
    assert (grey_of(png16(grey.astype(np.uint32) * 257)) == grey).all()


def test_pools_of_8_and_of_16_bits_cannot_be_told_apart():
    """CASES 1: half as 8-bit PNG, half as 16-bit PNG; a probe told them apart with AUROC .98."""
    for seed in range(60):
        grey = scene(seed)
        eight, sixteen = decode(encode(Image.fromarray(grey))), decode(png16(grey.astype(np.uint32) * 257))
        assert (np.asarray(eight) == np.asarray(sixteen)).all()


@pytest.mark.parametrize("opaque", [65535.0, 4095.0])  # the latter in a file all of whose values have 12 bits
@pytest.mark.parametrize("shape", ["grey", "grey and alpha", "RGB", "RGBA"])
def test_12_bits_in_16_are_windowed(shape, opaque):
    """CASES 2 and 4."""
    twelve = (scene().astype(np.float64) / 255 * 4095).round()
    alpha = np.full((H, W), opaque)
    planes = {
        "grey": twelve,
        "grey and alpha": np.stack([twelve, alpha], axis=2),
        "RGB": np.stack([twelve] * 3, axis=2),
        "RGBA": np.stack([twelve] * 3 + [alpha], axis=2),
    }
    found = read_image(png16(planes[shape]))
    grey = np.asarray(found.image).astype(float).mean(axis=2)
    assert found.windowed
    assert (grey.min(), grey.max()) == (0, 255)
    assert np.corrcoef(grey.ravel(), scene().ravel())[0, 1] > 0.995


def test_transparency_of_16_bits_lies_on_white():
    values = np.zeros((H, W, 4))
    values[: H // 2, :, 3] = 65535
    grey = grey_of(png16(values))
    assert (grey[: H // 2] == 0).all()
    assert (grey[H // 2 :] == 255).all()


def test_every_kind_of_colour_becomes_rgb():
    colours = Image.merge("RGB", [Image.fromarray(np.roll(scene(i), 7 * i)) for i in range(3)])
    wanted = np.asarray(colours).astype(int)
    lab = ImageCms.profileToProfile(
        colours, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    images = {"LAB": lab} | {mode: colours.convert(mode) for mode in ("CMYK", "YCbCr", "RGBA")}
    if int(PIL.__version__.split(".")[0]) < 13:  # it cannot read what it writes of this one
        del images["YCbCr"]
    for mode, image in images.items():
        got = np.asarray(decode(encode(image, "TIFF"))).astype(int)
        assert np.abs(got - wanted).mean() < 4, mode
    one_bit = Image.fromarray(scene() > 128)
    for photometric in (0, 1):
        data = encode(one_bit, "TIFF", tiffinfo={262: photometric})
        assert (grey_of(data) > 128).mean() == pytest.approx((scene() > 128).mean(), abs=1e-9)
    palette = colours.quantize(64)
    assert (np.asarray(decode(encode(palette, "TIFF"))) == np.asarray(palette.convert("RGB"))).all()


# Files that lack their end


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_that_lacks_only_its_end_is_used(progressive, colour):
    """CASES 5."""
    grey = scene(1, 400, 300) + np.random.default_rng(0).integers(0, 12, (300, 400), dtype=np.uint8)
    image = Image.fromarray(grey)
    image = Image.merge("RGB", [image, image.rotate(180), image]) if colour else image
    whole = encode(image, "JPEG", quality=88, progressive=progressive)
    wanted = np.asarray(decode(whole)).astype(int)
    assert read_image(whole).note is None
    for missing in (1, 2, 3, 40, len(whole) // 10):
        found = read_image(whole[:-missing])
        assert found.note is not None
        assert "end of the JPEG file is missing" in found.note
        differ = np.abs(np.asarray(found.image).astype(int) - wanted)
        assert np.median(differ) <= 3
        assert differ[:200].mean() < 4
    for kept in (0.5, 0.3, 0.1):
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            decode(whole[: int(len(whole) * kept)])


def test_a_png_that_lacks_only_its_end_is_used():
    grey = scene(1, 400, 300) + np.random.default_rng(0).integers(0, 12, (300, 400), dtype=np.uint8)
    for whole in (encode(Image.fromarray(grey)), png16(grey.astype(np.uint32) * 257)):
        for missing in (2, 12, 16, len(whole) // 10):
            found = read_image(whole[:-missing])
            assert "end of the PNG file is missing" in str(found.note)
            assert (np.asarray(found.image)[:240] == grey[:240, :, None]).all()
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            decode(whole[: len(whole) // 2])


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("colour", [False, True])
def test_a_gif_that_lacks_only_its_end_is_used(interlace, colour):
    grey = scene(1, 400, 300) + np.random.default_rng(0).integers(0, 12, (300, 400), dtype=np.uint8)
    image = Image.fromarray(grey)
    image = Image.merge("RGB", [image, image.rotate(180), image]).quantize(200) if colour else image
    whole = encode(image, "GIF", interlace=interlace, **({"transparency": 5} if colour else {}))
    wanted = np.asarray(decode(whole)).astype(int)
    for missing in (2, 3, 4, 40, len(whole) // 10, len(whole) // 5):
        found = read_image(whole[:-missing])
        assert "end of the GIF file is missing" in str(found.note)
        assert (found.format, found.size) == ("GIF", (400, 300))
        differ = np.abs(np.asarray(found.image).astype(int) - wanted).max(axis=2)
        assert (differ == 0).all(axis=1).sum() >= 300 * (1 - missing / len(whole)) - 15
        assert differ.mean() < (8 if interlace else 25), (
            "rows are missing, and what is above them stands there"
        )
    for kept in (0.5, 0.1, 0.01):
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            decode(whole[: int(len(whole) * kept)])
    frames = [image, image.rotate(90), image.rotate(180)]
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = read_image(animated[: len(animated) * 2 // 3])  # the first is whole
    assert found.note is None
    assert (np.asarray(found.image) == np.asarray(decode(animated))).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_that_lacks_only_its_end_is_used(mode):
    grey = scene(1, 401, 300) + np.random.default_rng(0).integers(0, 12, (300, 401), dtype=np.uint8)
    whole = encode(Image.fromarray(grey).convert("RGB").convert(mode), "BMP")
    wanted = np.asarray(decode(whole))
    for missing in (1, 40, len(whole) // 10, len(whole) // 5):
        found = read_image(whole[:-missing])
        assert "end of the BMP file is missing" in str(found.note)
        rows = int(300 * missing / len(whole)) + 2  # which are the upper ones
        assert (np.asarray(found.image)[rows:] == wanted[rows:]).all()
        assert (np.asarray(found.image)[0] == np.asarray(found.image)[max(0, rows - 4)]).all()
    for kept in (0.5, 0.1):
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            decode(whole[: int(len(whole) * kept)])


def test_what_browsers_do_not_show_without_its_end_is_refused():
    for kind in ("WEBP", "AVIF"):
        whole = encode(Image.fromarray(scene(1, 400, 300)), kind)
        for missing in (2, len(whole) // 10):
            with pytest.raises(UnreadableImage):
                decode(whole[:-missing])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_zeros_that_a_broken_copy_left_are_no_part_of_a_picture(kind):
    """The file has its full size from the beginning, as copies over networks often make it."""
    data = encode(Image.fromarray(scene(2, 400, 300)), kind)
    for share, used in ((0.5, False), (0.95, True)):
        kept = int(share * len(data))
        copied = data[:kept] + bytes(len(data) - kept)
        if used:
            assert "the end of the" in str(read_image(copied).note)
        else:
            with pytest.raises(UnreadableImage, match="truncated or damaged"):
                decode(copied)
    assert read_image(data + bytes(4096)).note is None  # blocks of a disk are filled up
    with pytest.raises(UnreadableImage, match="nothing but zeros: it was not copied whole"):
        decode(bytes(len(data)))


def test_long_texts_beside_a_picture_keep_nobody_from_reading_it():
    """As the XMP that programs for photographs write; browsers read past it."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    out = io.BytesIO()
    Image.fromarray(scene()).save(out, "PNG", pnginfo=text)
    assert decode(out.getvalue()).size == (W, H)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"PK\3\4" + bytes(300), "unpack it"),
        (b"\x1f\x8b" + bytes(300), "unpack it"),
    ],
)
def test_what_stands_for_an_image_is_named(data, words):
    with pytest.raises(UnreadableImage, match=words):
        decode(data)


# Orientation, frames


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "AVIF", "TIFF", "WEBP", "PNG 16", "TIFF 16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_where_browsers_apply_it(kind, orientation):
    """Chromium turns JPEG, PNG and AVIF, and leaves WebP as it is; viewers turn TIFF."""
    upright = scene()
    back = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
            6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1)}  # fmt: skip
    stored = np.ascontiguousarray(back[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "TIFF 16":
        data = tiff(stored.astype(np.uint32) * 257, ">", 16, orientation=orientation)
    elif kind == "PNG 16":
        data = encode(Image.fromarray(stored.astype(np.uint16) * 257), "PNG", exif=exif)
    else:
        data = encode(Image.fromarray(stored), kind, exif=exif, quality=95)
    wanted = stored if kind == "WEBP" else upright
    found = read_image(data)
    assert found.size == wanted.shape[::-1] == found.image.size
    assert np.abs(grey_of(data) - wanted).mean() < 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_give_the_first(kind):
    frames = [Image.fromarray(scene(seed)).convert("RGB") for seed in (1, 2, 3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(np.asarray(decode(data)).astype(int) - np.asarray(frames[0])).mean() < 6
    if kind == "PNG":  # an image for old viewers that is no part of the animation
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], default_image=True)
        assert np.abs(np.asarray(decode(data)).astype(int) - np.asarray(frames[1])).mean() < 6


def test_the_bytes_count_and_not_the_name():
    assert decode(encode(Image.fromarray(scene()), "GIF")).size == (W, H)
    with pytest.raises(UnreadableImage, match="not an image"):
        decode(b"this is text that somebody named picture.jpg")


# Size


def test_a_bound_above_pillows_own_is_obeyed_within_memory():
    """CASES 26: 195 megapixels with CDSEL_MAX_IMAGE_PIXELS=400000000; a larger picture is reduced to 80."""
    code = (
        "import io, re\nfrom PIL import Image\n"
        "from cdsel_backend.pool.decode import read_image, UnreadableImage\n"
        "out = io.BytesIO(); Image.new('L', (15000, 13000), 77).save(out, 'PNG', compress_level=1)\n"
        "found = read_image(out.getvalue(), max_pixels=400_000_000)\n"
        "print(found.size, found.image.size, found.image.getpixel((5, 5)))\n"
        # Not ru_maxrss, which starts with what the parent had in memory when it started this process.
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
        "try: read_image(out.getvalue())\nexcept UnreadableImage as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, memory, refusal = done.stdout.splitlines()
    assert size == "(15000, 13000) (7500, 6500) (77, 77, 77)"
    assert int(memory) < 1000  # MB; the picture as RGB would have 780
    assert "is over 80,000,000 pixels" in refusal


MEMORY = """
import ctypes, io, re
import cv2, numpy as np
from PIL import Image
from cdsel_backend.pool.decode import UnreadableImage, bytes_a_pixel, decode, jpeg_quality, read_image

SIDE = 2400

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def drawn(mode, kind, side=SIDE, **how):
    image = Image.new(mode, (side, side), 77 if len(mode) == 1 else tuple([77] * len(mode)))
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()

def deep(channels):
    return cv2.imencode(".png", np.full((SIDE, SIDE, channels), 900, np.uint16))[1].tobytes()

fast, packed = {"compress_level": 1}, {"compression": "tiff_adobe_deflate"}
files = {
    "L JPEG": drawn("L", "JPEG"), "RGB JPEG": drawn("RGB", "JPEG", progressive=True),
    "CMYK JPEG": drawn("CMYK", "JPEG"), "RGB PNG": drawn("RGB", "PNG", **fast),
    "RGBA PNG": drawn("RGBA", "PNG", **fast),
    "P PNG": drawn("P", "PNG", transparency=0, **fast), "RGBA TIFF": drawn("RGBA", "TIFF", **packed),
    "L GIF": drawn("L", "GIF"), "RGB BMP": drawn("RGB", "BMP"), "RGB PPM": drawn("RGB", "PPM"),
    "RGB WEBP": drawn("RGB", "WEBP", quality=10, method=0), "RGBA WEBP": drawn("RGBA", "WEBP", quality=10, method=0),
    "RGB AVIF": drawn("RGB", "AVIF", speed=10), "RGB JPEG2000": drawn("RGB", "JPEG2000", side=6500),
    "deep grey PNG": deep(1), "deep RGB PNG": deep(3), "deep RGBA PNG": deep(4),
}
found, libc = None, ctypes.CDLL(None)
for name, data in files.items():
    del found
    libc.malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = memory("VmRSS")
    found = read_image(data)
    print(name, (memory("VmHWM") - before - 32e6) / (found.size[0] * found.size[1]), sep=": ")
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are those of Linux")
def test_no_format_takes_more_memory_than_it_is_let_in_for():
    """A JPEG 2000 file of a few kilobytes that is 9000 x 8800 took 1.5 GB; it is decoded at half its size."""
    environment = os.environ | {"OPENCV_IO_MAX_IMAGE_PIXELS": str(2**40), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    taken = {line.split(": ")[0]: float(line.split(": ")[1]) for line in done.stdout.splitlines()}
    assert len(taken) == 17
    for name, found in taken.items():
        *_, mode, kind = name.split()
        layout = Layout((1, 1), 16, 65535.0) if name.startswith("deep") else None
        bound = 6 if kind == "JPEG2000" else bytes_a_pixel(kind, 1 if mode == "grey" else len(mode), layout)
        assert found < bound + 1, taken


def test_threads_share_the_memory_for_pictures():
    room, held, most, together = Room(100), [0], [0], threading.Lock()

    def use(needed: int) -> None:
        with room.taken(needed):
            with together:
                held[0] += needed
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with together:
                held[0] -= needed

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [30, 60, 10, 90, 20, 45, 5] * 6))
    assert 60 < most[0] <= 100
    with room.taken(250):  # alone
        pass
    with pytest.raises(ZeroDivisionError), room.taken(100):
        raise ZeroDivisionError
    with room.taken(100):
        pass


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "PGM"])
def test_a_header_that_claims_a_huge_picture_costs_nothing(kind):
    side = 60_000
    if kind == "PGM":
        data = b"P5\n60000 60000\n65535\n" + bytes(100)
    elif kind == "TIFF":
        data = tiff(np.zeros((4, 4), int), "<", 16)
        data = data.replace(struct.pack("<HHIHH", 256, 3, 1, 4, 0), struct.pack("<HHIHH", 256, 3, 1, side, 0))
        data = data.replace(struct.pack("<HHIHH", 257, 3, 1, 4, 0), struct.pack("<HHIHH", 257, 3, 1, side, 0))
    else:
        whole = bytearray(encode(Image.new("L", (1, 1)), kind))
        place, form = {"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<ii")}[kind]
        whole[place : place + struct.calcsize(form)] = struct.pack(form, side, side)
        data = bytes(whole)
    with pytest.raises(UnreadableImage, match=r"60000 x 60000 is over|not an image"):
        decode(data)


# What the file says


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once():
    """A file of some kilobytes, of which every scan goes over all its 79 million pixels."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(out, "JPEG", progressive=True)
    data = bytearray(out.getvalue())
    frame, last = data.index(b"\xff\xc2"), data.rindex(b"\xff\xda")
    data[frame + 5 : frame + 9] = (8900).to_bytes(2, "big") * 2
    begun = time.process_time()
    with pytest.raises(UnreadableImage, match=r"5,\d\d\d scans, which would take too long: save it again"):
        read_image(bytes(data[:-2] + data[last:-2] * 5000 + data[-2:]))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("quality", [10, 35, 50, 75, 92])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality):
    found = read_image(encode(Image.fromarray(scene()), "JPEG", quality=quality))
    assert found.quality == pytest.approx(quality, abs=1)
    assert found.format == "JPEG"
    assert jpeg_quality(None) is None


def test_what_a_file_says_of_itself():
    grey = Image.fromarray(scene(0, 300, 200))
    eight, sixteen = (
        measure(read_image(data)) for data in (encode(grey), png16(np.asarray(grey).astype(np.uint32) * 257))
    )
    assert eight == {
        "image: width x height": "300 x 200",
        "image: bit depth": 8.0,
        "image: colour": "grey",
        "image: brightness": pytest.approx(np.asarray(grey).mean(), abs=0.6),
        "image: contrast": pytest.approx(np.asarray(grey).std(), abs=1),
        "image: sharpness": pytest.approx(eight["image: sharpness"]),
        "image: JPEG quality": None,
        "image: format": "PNG",
    }
    assert {key for key in eight if eight[key] != sixteen[key]} == {"image: bit depth"}
    jpeg = measure(read_image(encode(grey.convert("RGB"), "JPEG", quality=70)))
    assert (jpeg["image: JPEG quality"], jpeg["image: colour"]) == (pytest.approx(70, abs=1), "grey")
    coloured = Image.merge("RGB", [grey, grey.rotate(180), grey])
    assert measure(read_image(encode(coloured)))["image: colour"] == "colour"
    blurred = measure(read_image(encode(grey.resize((30, 20)).resize((300, 200)))))
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300), dtype=np.uint8))
    assert (
        blurred["image: sharpness"]
        <= eight["image: sharpness"] + 0.5
        < measure(read_image(encode(noisy)))["image: sharpness"]
    )


# What browsers show


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF", "JPEG2000", "PPM", "MPO"]
)
def test_what_no_browser_shows_is_said_and_rendered(kind):
    """CASES 6. Chromium was asked for each of these."""
    data = encode(Image.fromarray(scene()).convert("RGB"), kind)
    shown = why_not_shown(read_image(data)) is None
    assert shown == (kind not in ("TIFF", "JPEG2000", "PPM"))
    picture = Image.open(io.BytesIO(to_png(decode(data))))
    assert picture.format == "PNG"
    assert np.abs(np.asarray(picture.convert("L")).astype(int) - scene()).mean() < 8


def with_words(kind: str) -> bytes:
    """A file that says who the patient is, wherever its format has a place for words, and how it is turned."""
    picture, name, exif = Image.fromarray(scene()).convert("RGB"), b"Doe^Jane", Image.Exif()
    exif[0x010E], exif[0x0112] = name.decode(), 6
    how: dict[str, object] = {"exif": exif, "xmp": name}
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Patient", name.decode())
        how = {"exif": exif, "pnginfo": texts}
    elif kind == "GIF":
        how = {"comment": name, "save_all": True, "append_images": [picture.rotate(180)], "loop": 0}
    elif kind in ("JPEG", "progressive", "MPO"):
        how |= {"comment": name, "progressive": kind == "progressive", "icc_profile": b"of a screen" * 9}
        how |= {"save_all": True, "append_images": [picture]} if kind == "MPO" else {}
        kind = "MPO" if kind == "MPO" else "JPEG"
    return encode(picture, kind, **how) + name


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "MPO", "PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_annotators_get_the_picture_and_not_what_its_file_says_beside_it(kind):
    data = with_words(kind)
    assert data.count(b"Doe^Jane") > 1
    shown, ending = for_browser(data)
    assert b"Doe" not in shown
    assert np.array_equal(np.asarray(decode(shown)), np.asarray(decode(data)))
    given, found = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(shown))
    if kind in ("AVIF", "TIFF"):
        assert ending == ".png"
        return
    assert len(shown) < len(data)
    assert found.format == {"progressive": "JPEG", "MPO": "JPEG"}.get(kind, kind)
    assert found.info.get("icc_profile") == given.info.get("icc_profile")
    assert getattr(found, "n_frames", 1) == (2 if kind == "GIF" else 1)
    assert for_browser(shown)[0] == shown  # nothing but the picture: given as it is


def test_of_a_file_that_is_built_in_another_way_annotators_get_a_png():
    data = with_words("JPEG")
    at = data.index(b"\xff\xe1")
    broken = data[:at] + b"\xff\xe1\xff\xff" + data[at + 4 :]  # a length beyond the end of the file
    for file in (broken, with_words("GIF")[:-20]):
        try:
            picture = decode(file)
        except UnreadableImage:
            continue
        shown, _ = for_browser(file)
        assert b"Doe" not in shown
        assert np.array_equal(np.asarray(decode(shown)), np.asarray(picture))


LOSSLESS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAACAAgBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAABQj/2gAIAQEAAQAAn9BBBBBBCgEEEEEEEP/Z"
)
"""The values 0, 16, 32 ... in two rows, as JPEG without loss: Pillow reads it, Chromium does not."""


def test_kinds_of_jpeg_that_browsers_do_not_know_are_rendered_or_named():
    decoded = read_image(LOSSLESS)
    values = np.arange(0, 256, 16).reshape(2, 8)
    assert np.array_equal(np.asarray(decoded.image)[..., 0], values)
    assert why_not_shown(decoded) == "browsers do not show lossless JPEG files"
    picture, ending = for_browser(LOSSLESS)
    assert ending == ".png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture))), values)

    common = encode(Image.fromarray(scene()), "JPEG")
    at = common.index(b"\xff\xc0") + 4
    for bits, marker, words in (
        (12, b"\xc1", "a JPEG file of 12 bits a channel, which is not read: save it as PNG"),
        (16, b"\xc3", "a lossless JPEG file of 16 bits"),
        (8, b"\xf7", "a JPEG-LS file of 8 bits"),
    ):
        with pytest.raises(UnreadableImage, match=words):
            decode(common[: at - 3] + marker + common[at - 2 : at] + bytes([bits]) + common[at + 1 :])


def test_whole_numbers_of_32_bits_without_a_sign_are_read_as_such():
    grey = scene()
    file = tiff(grey.astype(np.uint64) * (2**32 - 1) // 255, "<", 32)
    assert np.array_equal(np.asarray(decode(file))[..., 0], grey)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_whole_numbers_of_8_bits_with_a_sign_are_read_as_such(order, photometric):
    grey = scene()
    stored = grey if photometric == 1 else 255 - grey
    unsigned = tiff(stored.astype(np.uint8) ^ 128, order, 8, photometric)  # the same bits
    file = unsigned.replace(
        struct.pack(f"{order}HHIHH", 339, 3, 1, 1, 0), struct.pack(f"{order}HHIHH", 339, 3, 1, 2, 0)
    )
    assert file != unsigned
    assert np.corrcoef(np.asarray(decode(file))[..., 0].ravel(), grey.ravel())[0, 1] > 0.99


def test_a_header_that_says_more_bits_than_there_are_is_damaged():
    with pytest.raises(UnreadableImage):
        decode(
            tiff(scene().astype(np.uint32), "<", 32).replace(
                struct.pack("<HHII", 258, 3, 1, 32), struct.pack("<HHII", 258, 3, 1, 60000)
            )
        )


def test_colours_in_planes_of_more_than_8_bits_are_refused_not_made_noise():
    rgb = np.repeat(scene()[..., None], 3, axis=2).astype(np.uint32) * 257
    with pytest.raises(UnreadableImage, match=r"16 bits a channel, each channel in a plane.*save it as PNG"):
        decode(tiff(rgb, "<", 16, 2, planes=2))


def test_what_browsers_show_almost_black_is_rendered_too():
    deep = scene().astype(np.uint32)
    assert why_not_shown(read_image(png16(deep * 257))) is None
    assert "almost black" in str(why_not_shown(read_image(png16(deep * 16))))
    assert np.asarray(Image.open(io.BytesIO(to_png(decode(png16(deep * 16)))))).mean() > 50
    assert Image.open(io.BytesIO(to_png(decode(png16(deep * 257)), longest_side=48))).size == (48, 32)


def test_values_of_many_bits_are_computed_in_parts_as_in_one(monkeypatch):
    """A picture of 80 megapixels would otherwise take 70 bytes a pixel."""
    rng = np.random.default_rng(0)
    for shape in ((40, 30), (40, 30, 3), (40, 30, 4)):
        for high, kind in ((4000, np.uint16), (60_000, np.uint16), (2000, np.int16), (1, np.float32)):
            values = (rng.random(shape) * high).astype(kind)
            layout = Layout((30, 40), 16, 65535.0 if kind is np.uint16 else None, white_is_zero=high == 2000)
            whole = to_eight_bits(values, layout)
            with monkeypatch.context() as patched:
                patched.setattr(depth, "PART", 500)
                parts = to_eight_bits(values, layout)
            assert parts[1] == whole[1]
            np.testing.assert_array_equal(parts[0], whole[0])


@pytest.mark.parametrize("kind", [b"P6", b"P2"])
def test_a_ppm_file_whose_header_is_megabytes_of_comments_is_refused_at_once(kind):
    small, long = b"# made by hand\n", b"#" + b"x" * 100_000 + b"\n"
    raster = b"1 " * 60_000 if kind == b"P2" else bytes(120_000)

    def made(first, second):
        return kind + b"\n" + first + b"200 200\n" + second + b"255\n" + raster

    assert read_image(made(small, small)).size == (200, 200)
    for data in (made(long, small), made(small, long), made(b"#\n" * 40_000, small), kind + b" " * 100_000):
        with pytest.raises(UnreadableImage, match="without a header in its first 64 KiB"):
            read_image(data)

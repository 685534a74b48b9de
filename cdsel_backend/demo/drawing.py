"""Dermoscopy-like pictures drawn with numpy: skin, lesion, hair, and the camera of a site.

Nothing here claims to be a patient. The signs follow the ABCD rule of dermoscopy (Stolz et al., 1994:
asymmetry, border, colour, differential structure), so that a classifier has something honest to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

WIDTH, HEIGHT = 384, 288
TILE = 1024

Field = NDArray[Any]  # float32 throughout


def _colour(red: float, green: float, blue: float) -> Field:
    """An sRGB colour, 0-1, shaped (3, 1, 1) to meet pictures shaped (3, HEIGHT, WIDTH)."""
    return np.array([red, green, blue], np.float32).reshape(3, 1, 1)


LIGHT_BROWN = _colour(0.66, 0.45, 0.32)
MID_BROWN = _colour(0.47, 0.29, 0.20)
DARK_BROWN = _colour(0.27, 0.16, 0.12)
BLACK = _colour(0.12, 0.09, 0.09)
BLUE_GREY = _colour(0.42, 0.46, 0.56)
RED = _colour(0.74, 0.38, 0.36)
WHITE = _colour(0.89, 0.78, 0.76)
FAIR = _colour(0.90, 0.73, 0.66)
OLIVE = _colour(0.73, 0.54, 0.42)
ONE = _colour(1, 1, 1)


@dataclass(frozen=True)
class Lesion:
    """What the picture shows; every sign lies in [0, 1], higher being more suspicious."""

    asymmetry: float
    border: float
    colour: float
    size: float
    seed: int


@dataclass(frozen=True)
class Skin:
    """What the images of one patient share."""

    tone: float  # 0 fair ... 1 olive
    redness: float  # 0 ... 1
    furrows: float  # depth of the skin lines, 0 ... 1
    hairs: int  # mean number of hairs in view
    hair_shade: float  # 0 black ... 1 fair


@dataclass(frozen=True)
class Camera:
    """What a site leaves on every picture it takes."""

    gains: tuple[float, float, float]  # white balance, factors on red, green, blue
    lift: float  # light that veils the blacks
    field_radius: float | None  # round field of view, as a share of the width; None: none
    flash: float  # strength of the fall-off from an off-centre flash
    scale: bool  # whether a millimetre scale runs along the lower edge


class NoiseBank:
    """Tileable smooth noise of zero mean and unit variance, made once, cut anew for every picture."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        white = rng.standard_normal((TILE, TILE), dtype=np.float32)
        self._smooth = {
            s: _standardised(gaussian_filter(np.roll(white, (97 * s, 41 * s), (0, 1)), s, mode="wrap"))
            for s in (1, 2, 4, 8, 16, 32)
        }
        self._smooth[0] = white
        self._lines = [_streaky(np.roll(white, 311 * i, 0), angle) for i, angle in enumerate((0.4, 1.5, 2.5))]

    def cut(self, rng: np.random.Generator, sigma: int) -> Field:
        """A random window, (HEIGHT, WIDTH), of noise with this correlation length in pixels."""
        return _window(self._smooth[sigma], rng)

    def furrows(self, rng: np.random.Generator) -> Field:
        """Criss-crossing skin lines, (HEIGHT, WIDTH): near 1 on a line, 0 between."""
        flip = slice(None, None, 1 if rng.random() < 0.5 else -1)
        ridges = [np.exp(-np.square(_window(lines, rng) / 0.22)) for lines in self._lines]
        lines: Field = np.maximum.reduce(ridges)[:, flip]
        return lines


def _streaky(white: Field, angle: float) -> Field:
    """Noise whose correlation length is 12 pixels along `angle` and 2.2 across it."""
    fy, fx = np.meshgrid(np.fft.fftfreq(TILE), np.fft.rfftfreq(TILE), indexing="ij")
    along, across = fx * math.cos(angle) + fy * math.sin(angle), fy * math.cos(angle) - fx * math.sin(angle)
    response = np.exp(-2 * np.pi**2 * ((12 * along) ** 2 + (2.2 * across) ** 2))
    return _standardised(np.fft.irfft2(np.fft.rfft2(white) * response, s=white.shape).astype(np.float32))


def _standardised(field: Field) -> Field:
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def _window(tile: Field, rng: np.random.Generator) -> Field:
    top, left = rng.integers(TILE - HEIGHT), rng.integers(TILE - WIDTH)
    return tile[top : top + HEIGHT, left : left + WIDTH]


def _ramp(x: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t: Field = np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    ramp: Field = t * t * (3 - 2 * t)
    return ramp


def _blend(picture: Field, colour: Field, weight: Field) -> Field:
    mixed = colour - picture  # in place from here: half the time of drawing is memory traffic
    mixed *= weight
    mixed += picture
    return mixed


def draw(
    lesion: Lesion,
    skin: Skin,
    camera: Camera,
    bank: NoiseBank,
    *,
    shot: int = 0,
) -> Image.Image:
    """One picture, RGB, WIDTH x HEIGHT.

    `shot` above 0 shows the same lesion once more: moved, turned and lit a little differently.
    """
    rng = np.random.default_rng([lesion.seed, 1])  # what belongs to the lesion
    taken = np.random.default_rng([lesion.seed, 2, shot])  # what belongs to this shot of it
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = _skin(skin, bank, rng)
    picture = _paint_lesion(picture, lesion, bank, rng, x, y, taken if shot else None)
    picture = _hairs(picture, skin, rng)
    picture = _photograph(picture, camera, bank, taken, x, y)
    pixels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _skin(skin: Skin, bank: NoiseBank, rng: np.random.Generator) -> Field:
    tone = FAIR + (OLIVE - FAIR) * skin.tone
    pink = 1 + _colour(0.02, -0.07, -0.05) * skin.redness
    shade = 1 + 0.030 * bank.cut(rng, 32) + 0.020 * bank.cut(rng, 8) + 0.014 * bank.cut(rng, 2)
    picture = (tone * pink) * shade
    flush = _ramp(bank.cut(rng, 16), 0.3, 2.2) * (0.05 + 0.15 * skin.redness)
    picture = _blend(picture, RED, flush)
    lines = bank.furrows(rng) * (0.03 + 0.07 * skin.furrows)
    return picture * (1 - lines * _colour(0.7, 1.0, 1.1))


def _paint_lesion(
    picture: Field,
    lesion: Lesion,
    bank: NoiseBank,
    rng: np.random.Generator,
    x: Field,
    y: Field,
    moved: np.random.Generator | None,
) -> Field:
    radius = HEIGHT * (0.19 + 0.19 * lesion.size)
    centre_x = WIDTH * rng.uniform(0.44, 0.56)
    centre_y = HEIGHT * rng.uniform(0.43, 0.57)
    turn = rng.uniform(0, np.pi)
    if moved is not None:
        centre_x, centre_y = centre_x + moved.uniform(-10, 10), centre_y + moved.uniform(-8, 8)
        turn, radius = turn + moved.uniform(-0.08, 0.08), radius * moved.uniform(0.97, 1.03)
    flat = rng.uniform(0.78, 0.95) - 0.16 * lesion.asymmetry
    u = ((x - centre_x) * math.cos(turn) + (y - centre_y) * math.sin(turn)) / radius
    v = (-(x - centre_x) * math.sin(turn) + (y - centre_y) * math.cos(turn)) / (radius * flat)

    # The outline: an ellipse, bent by a few harmonics (asymmetry) and by noise (border).
    warp = 0.03 + 0.10 * lesion.border
    u = u + warp * bank.cut(rng, 16) + 0.4 * warp * bank.cut(rng, 4)
    v = v + warp * bank.cut(rng, 16) + 0.4 * warp * bank.cut(rng, 4)
    angle = np.arctan2(v, u)
    reach = np.ones_like(angle)
    for k in (1, 2, 3, 4):
        bend = lesion.asymmetry * rng.uniform(0.05, 0.20) / math.sqrt(k)
        reach = reach + bend * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    # Streaks: the edge of one sector runs out in spokes.
    sector = _ramp(np.cos(angle - rng.uniform(0, 2 * np.pi)), 0.35, 0.9)
    spokes = np.cos(rng.integers(18, 30) * angle + 2.0 * bank.cut(rng, 8))
    reach = reach + 0.20 * max(0.0, lesion.border - 0.35) * sector * spokes
    depth = reach - np.hypot(u, v)  # 0 on the outline, 1 at the centre
    soft = rng.uniform(0.10, 0.20) * (1.15 - 0.6 * lesion.border)
    inside = _ramp(depth, -soft, soft) * rng.uniform(0.86, 0.97)

    halo = np.exp(-np.square(np.clip(-depth, 0, None) / 0.30)) * rng.uniform(0.04, 0.16)
    picture = _blend(picture, RED, halo)
    body = _pigment(lesion, bank, rng, depth)
    body = _network(body, lesion, bank, rng, x, y, depth)
    body = _globules(body, lesion, rng, centre_x, centre_y, radius)
    return _blend(picture, body, inside)


def _pigment(lesion: Lesion, bank: NoiseBank, rng: np.random.Generator, depth: Field) -> Field:
    """Colours inside the outline: an even brown, then patches of the suspicious ones."""
    base = LIGHT_BROWN + (MID_BROWN - LIGHT_BROWN) * rng.uniform(0.0, 0.9)
    centre = MID_BROWN + (DARK_BROWN - MID_BROWN) * rng.uniform(0.0, 0.8)
    patchy = bank.cut(rng, 16)
    body = np.broadcast_to(base, (3, *depth.shape))
    body = _blend(body, centre, _ramp(depth + 0.07 * patchy, 0.15, 0.85) * rng.uniform(0.35, 0.9))
    strength = lesion.colour
    body = _blend(body, DARK_BROWN, _ramp(patchy, 0.9 - 1.1 * strength, 1.8) * (0.25 + 0.7 * strength))
    for colour, rare, most in (
        (BLACK, 1.5, 0.95),
        (BLUE_GREY, 1.4, 0.80),
        (RED, 1.5, 0.65),
        (WHITE, 1.7, 0.75),
    ):
        present = rng.random() < 0.12 + 0.75 * strength
        field = 0.75 * bank.cut(rng, 32) + 0.55 * bank.cut(rng, 16) + 0.25 * bank.cut(rng, 8)
        weight = _ramp(field, rare - 1.1 * strength, rare + 1.0 - 0.6 * strength) * most * strength
        if present:
            body = _blend(body, colour, weight)
    grain = 1 + 0.05 * bank.cut(rng, 2) + 0.035 * bank.cut(rng, 1)
    return body * grain


def _network(
    body: Field,
    lesion: Lesion,
    bank: NoiseBank,
    rng: np.random.Generator,
    x: Field,
    y: Field,
    depth: Field,
) -> Field:
    """The pigment network: a honeycomb, regular in the harmless, bent and broken in the suspicious."""
    bent = 1.2 + 5.0 * lesion.border
    gx, gy = x + bent * bank.cut(rng, 8), y + bent * bank.cut(rng, 8)
    pitch, turn = rng.uniform(5.5, 8.5), rng.uniform(0, np.pi)
    waves = [
        np.cos((gx * math.cos(turn + a) + gy * math.sin(turn + a)) * (2 * math.pi / pitch))
        for a in (0.0, math.pi / 3, 2 * math.pi / 3)
    ]
    lines = 1 - _ramp(np.add.reduce(waves), -0.9, 0.7)
    rim = _ramp(depth, -0.05, 0.15) * (1 - 0.75 * _ramp(depth, 0.45, 0.9))
    broken = _ramp(bank.cut(rng, 16), -1.6 + 1.4 * lesion.border, 0.2 + 1.2 * lesion.border)
    return _blend(body, DARK_BROWN, lines * rim * broken * rng.uniform(0.05, 0.42))


def _globules(
    body: Field,
    lesion: Lesion,
    rng: np.random.Generator,
    centre_x: float,
    centre_y: float,
    radius: float,
) -> Field:
    """Dots and globules: few and alike, or many, of every size and to one side."""
    layer = Image.new("L", (2 * WIDTH, 2 * HEIGHT))
    pen = ImageDraw.Draw(layer)
    aside = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.poisson(5 + 22 * lesion.colour * rng.random())):
        away = radius * math.sqrt(rng.random()) * 0.85
        toward = (
            rng.uniform(0, 2 * np.pi) if rng.random() > 0.6 * lesion.asymmetry else aside + rng.normal(0, 0.5)
        )
        cx, cy = centre_x + away * math.cos(toward), centre_y + 0.85 * away * math.sin(toward)
        r = rng.uniform(1.0, 2.0) + rng.exponential(1.2) * lesion.border
        stretch = rng.uniform(0.8, 1.2)
        box = (2 * (cx - r * stretch), 2 * (cy - r), 2 * (cx + r * stretch), 2 * (cy + r))
        pen.ellipse(box, fill=int(rng.uniform(110, 215)))
    dots = np.asarray(layer.reduce(2), np.float32) / 255
    return _blend(body, BLACK + 0.06, gaussian_filter(dots, 0.7))


def _hairs(picture: Field, skin: Skin, rng: np.random.Generator) -> Field:
    count = rng.poisson(skin.hairs)
    if not count:
        return picture
    layer = Image.new("L", (2 * WIDTH, 2 * HEIGHT))
    pen = ImageDraw.Draw(layer)
    lie = rng.uniform(0, 2 * np.pi)
    for _ in range(count):
        way, curl = lie + rng.normal(0, 0.5), rng.normal(0, 0.9)
        t = np.linspace(0, 1, 24)
        heading = way + curl * (t - 0.5)
        step = rng.uniform(0.4, 1.1) * 2 * HEIGHT / len(t)
        start = rng.uniform(-0.1, 1.1, 2) * (2 * WIDTH, 2 * HEIGHT)
        points = start + np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]) * step, axis=0)
        pen.line([tuple(p) for p in points], fill=int(rng.uniform(150, 235)), width=int(rng.integers(2, 5)))
    strands = gaussian_filter(np.asarray(layer.reduce(2), np.float32) / 255, 0.45)
    shade = _colour(0.13, 0.09, 0.07) + _colour(0.40, 0.30, 0.18) * skin.hair_shade
    shadow = np.roll(gaussian_filter(strands, 1.6), (2, 2), (0, 1))
    return _blend(picture * (1 - 0.16 * shadow), shade, strands)


def _photograph(
    picture: Field, camera: Camera, bank: NoiseBank, taken: np.random.Generator, x: Field, y: Field
) -> Field:
    """The site's light, colour and optics, then the sensor's noise."""
    if camera.scale:
        picture = _millimetre_scale(picture, taken)
    across, down = taken.uniform(0.30, 0.44) * WIDTH, taken.uniform(0.24, 0.40) * HEIGHT
    fall = np.hypot(x - across, y - down) / WIDTH
    picture = picture * (1 + camera.flash * (0.32 - 0.9 * fall))
    glints = _ramp(bank.cut(taken, 2) + 0.9 * bank.cut(taken, 16), 3.7, 4.4)
    picture = _blend(picture, ONE, 0.7 * glints)
    gains = _colour(*camera.gains) * _colour(*taken.normal(1, 0.015, 3))
    picture = (camera.lift + (1 - camera.lift) * picture) * gains * taken.uniform(0.96, 1.04)
    if camera.field_radius is not None:
        cx, cy = WIDTH * taken.uniform(0.49, 0.51), HEIGHT * taken.uniform(0.49, 0.51)
        edge = camera.field_radius * taken.uniform(0.975, 1.025) - np.hypot(x - cx, y - cy) / WIDTH
        picture = picture * (0.62 + 0.38 * _ramp(edge, -0.02, 0.30))
        ring = np.exp(-np.square((edge - 0.012) / 0.006)) * 0.22  # where the gel meets the lens
        picture = _blend(picture, _colour(0.95, 0.88, 0.75), ring)
        picture = picture * (0.03 + 0.97 * _ramp(edge, -0.006, 0.006))
    return picture + 0.008 * bank.cut(taken, 0)


def _millimetre_scale(picture: Field, taken: np.random.Generator) -> Field:
    layer = Image.new("L", (2 * WIDTH, 2 * HEIGHT))
    pen = ImageDraw.Draw(layer)
    start, step, base = taken.uniform(10, 40), 29.0, 2 * HEIGHT - taken.uniform(14, 20)
    for tick in range(int((2 * WIDTH - start) / step) + 1):
        long = 30 if tick % 5 == 0 else 17
        pen.line([(start + tick * step, base), (start + tick * step, base - long)], fill=190, width=3)
    pen.line([(0, base), (2 * WIDTH, base)], fill=190, width=3)
    return _blend(picture, _colour(0.16, 0.15, 0.17), np.asarray(layer.reduce(2), np.float32) / 255)

"""Speed of embedding on this machine: ours against a plain timm loop, as one JSON line.

    python tests/benchmarks/embedding.py [--images 200] [--device cpu]

The plain loop is what most scripts do: decode all of a batch of 64, then one pass of the network as timm
made it. Ratios, taken in turns in one process, mean more than images a second on a busy machine.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from cdsel_backend.pool import network
from cdsel_backend.pool.backbones import Backbone, load_backbone
from cdsel_backend.pool.decode import decode
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.network import DEFAULT

ROUNDS = 3


def draw(n: int, size: tuple[int, int]) -> list[bytes]:
    """JPEGs of coarse noise, about as large as photographs of that size."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(n):
        coarse = rng.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        out.append(file.getvalue())
    return out


def plain(model: torch.nn.Module, backbone: Backbone, images: list[bytes], batch: int = 64) -> np.ndarray:
    """The usual loop; vectors (n, dim)."""
    parts = []
    for start in range(0, len(images), batch):
        pixels = np.stack([backbone.prepare(decode(data)) for data in images[start : start + batch]])
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous().to(backbone.device)
        scaled = (scaled / 255 - 127 / 255) / (128 / 255)
        with torch.no_grad():
            parts.append(model(scaled).cpu().numpy())
    return np.concatenate(parts)


def ours(backbone: Backbone, images: list[bytes]) -> np.ndarray:
    """What the loop does; vectors (n, dim)."""
    return np.stack([item.vector for item in embed_images(backbone, enumerate(images))])


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Time of one run: on the wall, and on all cores together."""
    start, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    images = draw(options.images, (600, 450))
    backbone = load_backbone(device=options.device, features="last", view="fast")
    model = network._timm().create_model(DEFAULT, num_classes=0)
    network._load_by_position(model, network._packaged_weights())
    model.eval().to(backbone.device)
    difference = float(np.abs(plain(model, backbone, images[:16]) - ours(backbone, images[:16])).max())
    pixels = np.stack([backbone.prepare(decode(data)) for data in images[:8]])
    runs: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": [], "decode": [], "network": []}
    batches = range(len(images) // len(pixels))
    for _ in range(ROUNDS):
        runs["plain"].append(seconds(lambda: plain(model, backbone, images)))
        runs["ours"].append(seconds(lambda: ours(backbone, images)))
        runs["decode"].append(seconds(lambda: [backbone.prepare(decode(data)) for data in images]))
        runs["network"].append(seconds(lambda: [backbone.embed_prepared(pixels) for _ in batches]))
    wall = {name: min(one for one, _ in times) for name, times in runs.items()}
    cpu = {name: min(one for _, one in times) for name, times in runs.items()}
    print(
        json.dumps(
            {
                "benchmark": "embedding",
                "device": str(backbone.device),
                "torch_threads": torch.get_num_threads(),
                "images": len(images),
                "size": "600x450",
                "images_per_second": {name: round(len(images) / one, 1) for name, one in wall.items()},
                "times_faster": round(wall["plain"] / wall["ours"], 2),
                "times_less_cpu": round(cpu["plain"] / cpu["ours"], 2),
                "largest_difference": difference,
            }
        )
    )


if __name__ == "__main__":
    main()

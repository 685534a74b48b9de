"""Speed of embedding on this machine, as one JSON line: a plain timm loop, our stages alone, and the whole pipeline.

    python tests/benchmarks/embedding.py --images FOLDER --backbone NAME [--limit N] [--weights random]

`plain`, `forward`, `decode`, `whole` are images a second: of the loop that most scripts have (decode a batch of 64,
then one pass of the network as timm made it), of our fastest runtime alone, of reading, decoding and resizing alone,
and of all of it overlapped, as the worker runs it. On a CPU decoding and the network share the cores; a stage alone
has those it would have in the pipeline, half of them (on a GPU: all).
`worker` is the rate of the worker's own step, from a folder that is its source to vectors that are committed;
`processes`, where some are asked for, that of the same step with so many of them (`pool/processes.py`), once they are
ready: until then, some `ready_s` seconds, it goes on alone.
`gpu_decodes` says whether the GPU decodes, too. `times_plain` is whole / plain,
`of_slower_stage` whole / the slower of decode and forward. `cpu_ms` are CPU milliseconds an image, which mean
something on a busy machine, too. `cosine` is the lowest of our vectors to the loop's. `costs`, where it is asked for,
is as in `lock.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from costs import measured
from PIL import Image
from plainly import plainly

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.pool import runtime_openvino as openvino
from cdsel_backend.pool.backbones import Backbone, load_backbone
from cdsel_backend.pool.decode import decode
from cdsel_backend.pool.decode_gpu import GpuDecoder
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.network import DEFAULT, Network, load_network
from cdsel_backend.pool.prepare import CHUNK
from cdsel_backend.pool.processes import EmbeddingProcesses, processes_for
from cdsel_backend.pool.runtime import TRIAL, WORTH, agreement
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.embedding import embed
from cdsel_backend.reconcile.embedding_processes import SAMPLE, PoolImages
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

CONFIG = (Path(__file__).parents[2] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
NOBODY = "http://127.0.0.1:9"
BATCH = 64
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def plain(network: Network, files: list[Path], device: torch.device) -> np.ndarray:
    """The usual loop; vectors (n, dim)."""
    height, width = network.size
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (network.mean, network.std)
    )
    parts = []
    for start in range(0, len(files), BATCH):
        pictures = [
            np.asarray(Image.open(file).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
            for file in files[start : start + BATCH]
        ]
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().to(device).float() / 255
        with torch.no_grad():
            parts.append(network.model((batch - mean) / std).float().cpu().numpy())
    return np.concatenate(parts)


def in_threads(function: Callable[[int], object], count: int, threads: int) -> None:
    """Call a function with 0 ... count - 1, some at once."""
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(function, range(count)))


def read(backbone: Backbone, on_gpu: GpuDecoder | None, files: list[Path]) -> None:
    """Read, decode and resize images, as the pipeline does."""
    read = [file.read_bytes() for file in files]
    shrunk = on_gpu.read(read) if on_gpu else [None] * len(read)
    for data, done in zip(read, shrunk, strict=True):
        if done is None:
            backbone.prepare(decode(data))


def warmed(backbone: Backbone, pixels: np.ndarray) -> None:
    """Show the runtime as many pictures as it wants before it looks for a faster one."""
    for start in range(0, WORTH + TRIAL, BATCH):
        backbone.embed_prepared(np.roll(pixels, start, axis=0)[:BATCH])


class Worker:
    """The worker's step for the images of a folder, from listed to committed."""

    def __init__(
        self, backbone: Backbone, folder: Path, data: Path, settings: dict[str, object] | None = None
    ) -> None:
        """Take a backbone that is ready, and the settings by which others are loaded."""

        class Own(Context):
            def backbone(self, settings: object) -> Backbone:
                return backbone

        self.server = ServerSettings(data_dir=data, label_studio_api_key="0" * 40)
        self.store = Store.open(self.server)
        self.context = Own(self.store, self.server, LabelStudio(NOBODY, "0" * 40))
        self.project = self.store.connect_project(
            NOBODY, 1, label_config=CONFIG, queue_project=1, layers={"extra parameters": settings or {}}
        )
        source = self.store.add_source(self.project, str(folder), {})
        for _ in take_in(self.store, source, self.server.data_dir):
            pass

    def state(self) -> State:
        return State(self.store, self.project)

    def step(self) -> int:
        """Embed all; returns how many have a vector."""
        while embed(self.context, self.state()):
            pass
        return self.store.embedding_progress(self.project)[0]


@contextmanager
def worker(backbone: Backbone, folder: Path) -> Iterator[Callable[[], int]]:
    """The worker's step: returns how many images it embedded."""
    with tempfile.TemporaryDirectory() as name:
        own = Worker(backbone, folder, Path(name))
        yield own.step
        own.store.close()


def in_processes(
    backbone: Backbone, files: list[Path], devices: list[str], settings: dict[str, object]
) -> dict[str, float]:
    """Images a second of the worker's step in processes, and the seconds until they were ready."""
    with copied(files) as folder, tempfile.TemporaryDirectory() as name:
        own = Worker(backbone, folder, Path(name), settings)
        images = PoolImages(own.server, NOBODY, own.project, backbone.fingerprint)
        sample = own.store.without_vector(own.project, limit=SAMPLE, now=time.time())
        loads = [own.context.loader(own.state().settings, device=device) for device in devices]
        begun = time.perf_counter()
        processes = EmbeddingProcesses(loads, images, sample, max_pixels=own.server.max_image_pixels)
        while (ready := processes.stream(images, [], ahead=1)) is None:
            if not processes.alive:
                sys.exit("the processes ended before they were ready")
            time.sleep(0.1)
        ready.close()
        taken = time.perf_counter() - begun
        own.context.embedding[backbone.fingerprint] = processes
        rate = seconds(own.step)[0]
        embedded = own.store.embedding_progress(own.project)[0]
        own.store.close()
    return {"processes": round(len(files) / rate, 1), "ready_s": round(taken, 1), "embedded": embedded}


@contextmanager
def copied(files: list[Path]) -> Iterator[Path]:
    """A folder of these files alone."""
    with tempfile.TemporaryDirectory() as name:
        for number, file in enumerate(files):
            shutil.copy(file, Path(name, f"{number}{file.suffix}"))
        yield Path(name)


def worker_speed(backbone: Backbone, files: list[Path]) -> float:
    """Images a second of the worker's step."""
    with copied(files) as folder, worker(backbone, folder) as step:
        begun = time.perf_counter()
        return step() / (time.perf_counter() - begun)


def costs(backbone: Backbone, files: list[Path]) -> dict[str, object]:
    """What an image costs in the stream, and in the worker's step."""

    @contextmanager
    def stream() -> Iterator[Callable[[], int]]:
        items = embed_images(backbone, ((file, file.read_bytes) for file in files), decoder=backbone.decoder)
        yield lambda: sum(1 for _ in items)

    with copied(files) as folder:
        return {
            "whole": measured(stream, rounds=1),
            "worker": measured(lambda: worker(backbone, folder), rounds=1),
        }


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Time of one run: on the wall, and on all cores together."""
    start, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of images")
    parser.add_argument("--backbone", default=DEFAULT)
    parser.add_argument("--weights", help="see `load_network`: a file, or random")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument(
        "--plain", type=int, help="images of the plain loop, which may take minutes; all by default"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("auto", "float32"), default="auto")
    parser.add_argument("--features", choices=("last", "depths"), default="last")
    parser.add_argument(
        "--processes", type=int, default=0, help="see `processes`; on a GPU as many as the worker would start"
    )
    parser.add_argument(
        "--costs", action="store_true", help="say what CPU and lock an image takes, and where"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    files = sorted(file for file in options.images.rglob("*") if file.suffix.lower() in SUFFIXES)
    files = files[: options.limit]
    if not files:
        parser.error(f"--images: {options.images} holds no images")
    with plainly(parser):
        backbone = load_backbone(
            options.backbone,
            weights=options.weights,
            device=options.device,
            features=options.features,
            view="fast",
            precision=options.precision,
        )
        network = load_network(options.backbone, weights=options.weights)
    network.model.eval().to(backbone.device)
    some = np.stack([backbone.prepare(decode(file.read_bytes())) for file in files[:BATCH]])
    warmed(backbone, some)
    list(
        embed_images(
            backbone, enumerate(f.read_bytes() for f in files[: 2 * TRIAL]), decoder=backbone.decoder
        )
    )
    on_gpu = backbone.decoder if backbone.decoder is not None and backbone.decoder.chosen else None
    chunk = CHUNK if on_gpu else 1
    cores = len(os.sched_getaffinity(0))
    share = cores if backbone.device.type == "cuda" else max(1, cores // 2)
    passes = max(1, len(files) // backbone.batch)
    batch = np.resize(some, (backbone.batch, *some.shape[1:]))
    stages: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(network, files[: options.plain], backbone.device),
        "forward": lambda: in_threads(
            lambda _: backbone.embed_prepared(batch), passes, max(1, backbone.parallel * share // cores)
        ),
        "decode": lambda: in_threads(
            lambda at: read(backbone, on_gpu, files[at * chunk : (at + 1) * chunk]),
            -(-len(files) // chunk),
            on_gpu.window // chunk if on_gpu else share,
        ),
        "whole": lambda: list(
            embed_images(backbone, ((file, file.read_bytes) for file in files), decoder=backbone.decoder)
        ),
    }
    counts = dict.fromkeys(stages, len(files)) | {
        "plain": len(files[: options.plain]),
        "forward": passes * backbone.batch,
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in stages}
    for _ in range(options.rounds):  # in turns: what else the machine does meets all of them
        for name, stage in stages.items():
            runs[name].append(seconds(stage))
    speed = {name: counts[name] / min(wall for wall, _ in runs[name]) for name in stages}
    cpu = {name: 1000 * min(used for _, used in runs[name]) / counts[name] for name in stages}
    ours = np.stack(
        [item.vector for item in embed_images(backbone, enumerate(f.read_bytes() for f in files[:BATCH]))]
    )
    same = options.features == "last"
    devices = [str(device) for device in processes_for(backbone.device)]
    if options.processes:
        devices = [str(backbone.device)] * options.processes
    print(
        json.dumps(
            {
                "benchmark": "embedding",
                **{name: round(value, 1) for name, value in speed.items()},
                "worker": round(worker_speed(backbone, files), 1),
                "times_plain": round(speed["whole"] / speed["plain"], 2),
                "of_slower_stage": round(speed["whole"] / min(speed["decode"], speed["forward"]), 2),
                "cpu_ms": {name: round(value, 2) for name, value in cpu.items()},
                "cosine": round(agreement(ours, plain(network, files[:BATCH], backbone.device)), 5)
                if same
                else None,
                "backbone": options.backbone,
                "runtime": backbone.runtime.name,
                "batch": backbone.batch,
                "openvino": openvino.available(),
                "gpu_decodes": on_gpu is not None,
                "images": len(files),
                "cores": cores,
                **(
                    in_processes(
                        backbone,
                        files,
                        devices,
                        {
                            "backbone": options.backbone,
                            "backbone_weights": options.weights,
                            "features": options.features,
                            "view": "fast",
                        },
                    )
                    if devices
                    else {}
                ),
                **({"costs": costs(backbone, files)} if options.costs else {}),
            }
        )
    )


if __name__ == "__main__":
    main()

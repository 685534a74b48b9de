"""Whether all GPUs of a machine, one or several, embed as they should; at most five minutes, one JSON line.

    python tests/benchmarks/gpus.py [--device cpu --images 64 --backbone test_efficientnet]

Each part is a process of its own, and what it finds is also written to stderr as it ends; `ok` says whether all is as
it should be, `failed` names what is not. `cards`: name, compute capability, bfloat16, free and whole memory in GB.
`agreement`: for each GPU alone, the lowest cosine of its vectors to the CPU's in float32 (>= .9999 expected), and by
the way that it finds (>= .999), with that way. `shares`: how many of the images each had when all embed at once, and
images a second of one and of all. `memory`: the last GPU has memory for a quarter of a batch, then for no network at
all (by `set_per_process_memory_fraction`): its batches become smaller, then it is given up, and no vector differs.
`broken`: a kernel of the last GPU fails (a device-side assert), after which every call on it does: it is given up, and
the others or the CPU go on. `visible`: with CUDA_VISIBLE_DEVICES empty, each GPU's UUID, the numbers backwards, and one
that is not there: what `auto` finds, and which cards. `processes`: the worker's step with the processes that it would
start, one of them killed midway: images of each process, and that none is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn import jpeg
from embedding import in_processes
from plainly import plainly

from cdsel_backend.pool import processes, runtime_cuda
from cdsel_backend.pool.backbones import Backbone, load_backbone
from cdsel_backend.pool.devices import all_gpus, described, find_device, has_bfloat16
from cdsel_backend.pool.prepare import CORES
from cdsel_backend.pool.runtime import SAME, TRIAL, Pixels, TorchRuntime, Vectors, agreement, run_all
from cdsel_backend.pool.runtime_cuda import DeviceRuntime, Way
from cdsel_backend.pool.runtime_ways import find_cuda

LIMIT = 280.0  # seconds, for all parts together


class Parts:
    """The parts; each returns what it found, and what is wrong in `failed`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.failed: list[str] = []
        self.real = options.device != "cpu"
        device = torch.device(options.device)
        self.gpus = all_gpus(device) if self.real else [torch.device("cpu", 0), torch.device("cpu", 1)]

    def expect(self, true: object, what: str) -> None:
        if not true:
            self.failed.append(what)

    def backbone(self, device: str = "cpu", **others: Any) -> Backbone:
        return load_backbone(
            self.options.backbone, weights="random", device=device, features="last", view="fast", **others
        )

    def trial(self) -> tuple[torch.nn.Module, Pixels, Vectors]:
        """The network, some pictures, and the CPU's vectors of them."""
        network = self.backbone()
        rng = np.random.default_rng(0)
        coarse = torch.from_numpy(rng.integers(0, 256, (TRIAL, 3, 7, 7), dtype=np.uint8))
        smooth = torch.nn.functional.interpolate(coarse, size=network.size, mode="bicubic", antialias=True)
        pixels = smooth.permute(0, 2, 3, 1).contiguous().numpy()
        return network.encoder, pixels, TorchRuntime(network.encoder)(pixels)

    def all_of(self, encoder: torch.nn.Module) -> DeviceRuntime:
        return DeviceRuntime(encoder, [Way(gpu) for gpu in self.gpus], fallback=lambda: TorchRuntime(encoder))

    def cards(self) -> object:
        if not self.real:
            return None
        found = {}
        for gpu in self.gpus:
            free, whole = torch.cuda.mem_get_info(gpu)
            found[described(gpu)] = [
                torch.cuda.get_device_capability(gpu),
                has_bfloat16(gpu),
                round(free / 2**30, 1),
                round(whole / 2**30, 1),
            ]
        return found

    def agreement(self) -> object:
        encoder, pixels, due = self.trial()
        found = {}
        for gpu in self.gpus:
            plain = DeviceRuntime(encoder, [Way(gpu)])
            exact = agreement(run_all(plain, pixels), due)
            fast = find_cuda(encoder, plain, pixels, due, "auto", compiling=self.options.compile)
            assert fast is not None
            close = agreement(run_all(fast, pixels), due)
            found[str(gpu)] = [round(exact, 6), round(close, 6), *map(str, fast.ways), fast.batch]
            self.expect(exact >= SAME, f"{gpu}: cosine {exact} in float32")
            self.expect(close >= 0.999 and not fast.problems, f"{gpu}: cosine {close}, {fast.problems}")
        return found

    def shares(self) -> object:
        encoder, pixels, due = self.trial()
        had: Counter[str] = Counter()
        run = runtime_cuda._run

        def counted(call: Any, way: Way, pictures: Pixels) -> Vectors:
            vectors = run(call, way, pictures)
            had[str(way.device)] += len(pictures)
            return vectors

        runtime_cuda._run = counted
        times = max(1, 4096 * len(self.gpus) // len(pixels)) if self.real else 4
        many, rates = np.concatenate([pixels] * times), {}
        for name, gpus in (("one", self.gpus[:1]), ("all", self.gpus)):
            runtime = DeviceRuntime(encoder, [Way(gpu) for gpu in gpus])
            run_all(runtime, np.concatenate([pixels] * len(gpus) * 4))  # the first call of all prepares
            had.clear()
            begun = time.perf_counter()
            vectors = run_all(runtime, many)
            rates[name] = round(len(many) / (time.perf_counter() - begun))
            self.expect(agreement(vectors, np.concatenate([due] * times)) >= SAME, f"vectors of {name}")
        self.expect(len(had) == len(self.gpus), f"only {sorted(had)} embedded")
        return {"images": dict(had), "per_second": rates}

    def memory(self) -> object:
        encoder, pixels, due = self.trial()
        if not self.real:
            return None
        last = self.gpus[-1]
        whole = torch.cuda.get_device_properties(last).total_memory
        runtime = DeviceRuntime(encoder, [Way(last)])
        network = torch.cuda.memory_allocated(last)
        runtime(pixels)
        batch = torch.cuda.max_memory_reserved(last) - network
        found: dict[str, object] = {"network_mb": network >> 20, "batch_mb": batch >> 20}
        for name, room in (("quarter", network + batch // 4), ("none", network // 4)):
            del runtime
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(room / whole, last)
            runtime = self.all_of(encoder)
            many = np.concatenate([pixels] * 8 * len(self.gpus))
            vectors = run_all(runtime, many)
            cosine = agreement(vectors, np.concatenate([due] * 8 * len(self.gpus)))
            found[name] = [str(runtime.ways), runtime.problems, round(cosine, 6)]
            self.expect(cosine >= SAME, f"memory for {name}: cosine {cosine}")
            ways = {way.device: way.batch for way in runtime.ways}
            if name == "none":
                self.expect(last not in ways and runtime.problems, f"memory for {name}: {ways}")
            else:
                self.expect(ways.get(last, 0) < 64, f"memory for a {name} of a batch: {ways}")
        return found

    def broken(self) -> object:
        encoder, pixels, due = self.trial()
        runtime = self.all_of(encoder)
        before = agreement(run_all(runtime, pixels), due)
        if self.real:
            try:
                one = torch.zeros(1, device=self.gpus[-1])
                one[torch.full((1,), 99, device=self.gpus[-1])] += 1
                torch.cuda.synchronize(self.gpus[-1])
            except RuntimeError as error:
                print(str(error).partition("\n")[0], file=sys.stderr)
        times = 4 * len(self.gpus)
        after = agreement(run_all(runtime, np.concatenate([pixels] * times)), np.concatenate([due] * times))
        left = [str(way.device) for way in runtime.ways]
        self.expect(min(before, after) >= SAME, f"after a GPU broke: cosine {after}")
        if self.real:
            self.expect(str(self.gpus[-1]) not in left, f"the broken {self.gpus[-1]} goes on")
            self.expect(len(left) == len(self.gpus) - 1, f"with it went others: {left} are left")
        return {"left": left, "problems": runtime.problems}

    def seen(self) -> object:
        """Of a process with its own CUDA_VISIBLE_DEVICES."""
        device = find_device("auto")
        cards = all_gpus(device) if device.type == "cuda" else []
        backbone = self.backbone("auto")
        vectors = backbone.embed_prepared(np.zeros((8, *backbone.size, 3), dtype=np.uint8))
        due = self.backbone().embed_prepared(backbone.example)
        self.expect(agreement(vectors, np.repeat(due, 8, axis=0)) >= SAME, f"vectors on {device}")
        self.expect(not backbone.problems, str(backbone.problems))
        return {
            "auto": str(device),
            "cards": [str(torch.cuda.get_device_properties(card).uuid) for card in cards],
            "runtime": backbone.runtime.name,
        }

    def visible(self) -> object:
        count = len(self.gpus) if self.real else 0
        uuids = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in self.gpus] if self.real else []
        expected = {"": [], "99": [], ",".join(map(str, reversed(range(count)))): uuids[::-1]}
        expected |= {f"GPU-{uuid}": [uuid] for uuid in uuids[-2:]}
        if os.environ.get("CUDA_VISIBLE_DEVICES"):  # its numbers are of the whole machine
            expected = {name: cards for name, cards in expected.items() if not name[:1].isdigit()}
        found = {}
        for text, cards in expected.items():
            found[text] = seen = self.run("seen", {"CUDA_VISIBLE_DEVICES": text})
            same = seen.get("found", {}).get("cards") == cards
            self.expect(same and seen.get("ok"), f"CUDA_VISIBLE_DEVICES={text!r}: {seen}")
        return found

    def processes(self) -> object:
        devices = [str(gpu) for gpu in processes.processes_for(torch.device(self.options.device))] or (
            [str(gpu) for gpu in self.gpus[:1]] * 2 if self.real else ["cpu", "cpu"]
        )
        count = max(self.options.images, 2 * processes.CHUNK * len(devices))  # several chunks for each
        had: Counter[int] = Counter()
        take, victim = processes.ProcessStream.take, threading.Event()

        def counted(stream: Any, process: Any, packed: Any) -> None:
            had[process._process.pid] += len(packed[0])
            take(stream, process, packed)
            if sum(had.values()) > count // 3 and not victim.is_set() and len(devices) > 1:
                victim.set()
                process._process.kill()

        processes.ProcessStream.take = counted  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as name:
            files = [Path(name) / f"{number}.jpg" for number in range(count)]
            with ThreadPoolExecutor(CORES) as threads:
                list(threads.map(lambda file: file.write_bytes(jpeg(int(file.stem))), files))
            backbone = self.backbone(self.options.device)
            settings = {
                "backbone": self.options.backbone,
                "backbone_weights": "random",
                "features": "last",
                "view": "fast",
            }
            rates = in_processes(backbone, files, devices, settings)
        self.expect(rates["embedded"] == len(files), f"{rates['embedded']} of {len(files)} have a vector")
        self.expect(len(had) == len(devices), f"{len(had)} of {len(devices)} processes embedded")
        return {**rates, "devices": devices, "images": sorted(had.values())}

    def run(self, part: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """A part in a process of its own."""
        command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, timeout=LIMIT
        )
        try:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            return {"ok": False, "failed": [done.stderr[-2000:]]}
        return found


PARTS = ("cards", "agreement", "shares", "memory", "broken", "visible", "processes")


def main() -> None:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--images", type=int, default=4096, help="of the part `processes`")
    parser.add_argument("--compile", action="store_true", help="try torch.compile, too, which takes minutes")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.part:
        with plainly(parser):
            find_device(options.device)
    parts = Parts(options)
    if options.part:
        method: Callable[[], object] = getattr(parts, options.part)
        found = method()
        print(json.dumps({"found": found, "ok": not parts.failed, "failed": parts.failed}))
        sys.stdout.flush()
        os._exit(0)  # a GPU that broke must not hold the end up
    begun, whole, failed = time.monotonic(), {}, []
    for part in options.only:
        if time.monotonic() - begun > LIMIT:
            failed.append(f"{part}: no time was left")
            continue
        result = parts.run(part)
        whole[part] = result.get("found")
        failed += [f"{part}: {what}" for what in result["failed"]]
        print(part, json.dumps(result), round(time.monotonic() - begun), "s", file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "gpus", **whole, "ok": not failed, "failed": failed}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

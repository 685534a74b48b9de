"""Embedding in several processes: the same vectors, and nothing lost where one of them ends."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.decode import MAX_PIXELS, UnreadableImage
from cdsel_backend.pool.decode_journal import CRASHED, DecodeJournal
from cdsel_backend.pool.embed import EmbeddingStream, embed_images
from cdsel_backend.pool.process_service import _sendable
from cdsel_backend.pool.processes import EmbeddingProcesses, processes_for
from cdsel_backend.pool.source import SourceError
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile import embedding_processes
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.embedding import embed
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

PATIENCE = 300.0
NETWORK = "test_efficientnet"
CHUNK = 40  # images, as a process is handed them here
IMAGES = 4 * CHUNK + 10  # too few to look for a faster runtime, which takes a while
BROKEN, TWIN, GONE, AWAY = 5, 17, 100, -1  # keys
CONFIG = (Path(__file__).parents[1] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")

load = partial(
    load_backbone, NETWORK, weights="random", device="cpu", features="last", view="fast", precision="float32"
)


class OnGpu:
    """A runtime whose GPU is lost once there is a file that says so."""

    name, batch, parallel = "played", 8, 1

    def __init__(self, runtime, lost: Path) -> None:
        self.runtime, self.lost = runtime, lost

    @property
    def problems(self) -> list[str]:
        return ["cuda:1 embeds no more"] if self.lost.exists() else []

    def __call__(self, pixels):
        return self.runtime(pixels)


def load_on_gpu(lost: Path):
    backbone = load()
    backbone.runtime = OnGpu(backbone.runtime, lost)
    return backbone


def drawn_jpeg(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def read(folder: Path, key: int) -> bytes:
    if key == AWAY:
        raise SourceError("the archive is away")
    if key == GONE:
        raise UnreadableImage("it was deleted")
    return (folder / f"{key}.jpg").read_bytes()


def opened(folder: Path, known: frozenset[str] = frozenset()) -> tuple[Callable[[int], bytes], object]:
    """What a process reads."""
    return partial(read, folder), known.intersection


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Several chunks of few images."""
    monkeypatch.setattr("cdsel_backend.pool.processes.CHUNK", CHUNK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, of which one is damaged and two are the same."""
    folder = tmp_path_factory.mktemp("images")
    drawn = [drawn_jpeg(seed) for seed in range(50)]
    for key in range(IMAGES):
        data = drawn[key % len(drawn)]  # with a comment of its own, so that its content is
        (folder / f"{key}.jpg").write_bytes(
            data[:2] + b"\xff\xfe\x00\x06" + key.to_bytes(4, "big") + data[2:]
        )
    (folder / f"{BROKEN}.jpg").write_bytes(b"no picture")
    (folder / f"{TWIN}.jpg").write_bytes((folder / "16.jpg").read_bytes())
    return folder


def wait_until(ready):
    until = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < until, "the processes do not get ready"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def processes(folder):
    """Three processes that are ready; the last one's GPU may be lost."""
    loads = [load, load, partial(load_on_gpu, folder / "lost")]
    found = EmbeddingProcesses(loads, partial(opened, folder), list(range(8)), max_pixels=MAX_PIXELS)
    assert found.stream(partial(opened, folder), [], ahead=1000) is None, "they cannot be ready yet"
    wait_until(lambda: all(process.ready for process in found._processes))
    yield found
    found.stop()


def taken(stream):
    with stream:
        while not stream.ended:
            yield from stream.next_batch()


def test_processes_find_what_one_finds(processes, folder):
    for process in processes._processes:  # a service manager sends it to every process: the worker stops them
        os.kill(process._process.pid, signal.SIGTERM)
    keys = list(range(IMAGES))
    here = {
        item.key: item
        for item in embed_images(load(), ((key, partial(read, folder, key)) for key in keys), once=True)
    }
    there = {
        item.key: item for item in taken(processes.stream(partial(opened, folder), iter(keys), ahead=1000))
    }
    assert there.keys() == here.keys()
    for key, item in there.items():
        assert (item.content_hash, item.error, item.note, item.measures) == (
            here[key].content_hash,
            here[key].error,
            here[key].note,
            here[key].measures,
        )
    assert there[GONE].error == "it was deleted"
    assert there[BROKEN].error
    shared = [key for key in keys if here[key].vector is not None and there[key].vector is not None]
    assert len(shared) >= len(keys) - 4
    np.testing.assert_allclose(
        np.stack([there[key].vector for key in shared]),
        np.stack([here[key].vector for key in shared]),
        rtol=1e-4,
        atol=1e-5,
    )
    assert there[TWIN].vector is not None or there[16].vector is not None


def test_contents_that_have_a_vector_get_none_again(processes, folder):
    keys = [key for key in range(IMAGES) if key not in (BROKEN, GONE)]
    hashes = frozenset(
        item.content_hash for item in embed_images(load(), ((k, partial(read, folder, k)) for k in keys))
    )
    found = list(taken(processes.stream(partial(opened, folder, hashes), iter(keys), ahead=10_000)))
    assert sorted(item.key for item in found) == keys
    assert all(item.vector is None and item.error is None and item.measures for item in found)


def test_only_one_stream_at_a_time_and_little_waits(processes, folder):
    handed = Counter()

    def keys():
        for key in range(50, IMAGES):
            handed["out"] += 1
            yield key

    stream = processes.stream(partial(opened, folder), keys(), ahead=1)
    assert processes.busy
    assert processes.stream(partial(opened, folder), [], ahead=1) is None
    first = stream.next_batch(PATIENCE)
    assert first
    stream.close()  # what is under way is waited for, and dropped
    assert not processes.busy
    again = list(taken(processes.stream(partial(opened, folder), range(60, 70), ahead=1000)))
    assert sorted(item.key for item in again) == list(range(60, 70))


def test_a_source_that_is_away_ends_the_stream_with_its_message(processes, folder):
    keys = [*range(20, 40), AWAY, *range(40, 59)]
    found = []
    with pytest.raises(SourceError, match="the archive is away"):
        found.extend(taken(processes.stream(partial(opened, folder), keys, ahead=1000)))
    assert [item.key for item in found] == list(range(20, 40)), "what came before it is kept"

    handed = Counter()

    def endless():
        """All processes meet it, and more images than they may have at once."""
        while True:
            handed["out"] += 1
            yield AWAY if handed["out"] % CHUNK == 0 else 20

    with pytest.raises(SourceError, match="the archive is away"):
        list(taken(processes.stream(partial(opened, folder), endless(), ahead=10**9)))

    def broken():
        yield 20
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError, match="the database is away"):
        list(taken(processes.stream(partial(opened, folder), broken(), ahead=1000)))
    assert len(list(taken(processes.stream(partial(opened, folder), range(20, 30), ahead=1000)))) == 10


class Odd(SourceError):
    """As an error of a library may be: out of its pickle it does not come."""

    def __init__(self, host: str, *, port: int) -> None:
        super().__init__(f"{host}:{port} is away")


def test_whatever_error_there_is_arrives_with_its_message():
    """One that cannot be unpickled would leave the stream waiting for ever."""
    for error, kind in (
        (Odd("host", port=1), SourceError),
        (SourceError("away"), SourceError),
        (KeyError("x"), KeyError),
    ):
        arrived = pickle.loads(pickle.dumps(_sendable(error)))
        assert isinstance(arrived, kind)
        assert str(arrived) == str(error)


@pytest.fixture
def project(tmp_path, folder):
    """A project whose pool is the folder: its context, and what reads its state."""
    server = ServerSettings(data_dir=tmp_path, label_studio_api_key="0" * 40, device="cpu")
    store = Store.open(server)
    context = Context(store, server, LabelStudio("http://127.0.0.1:9", "0" * 40))
    layers = {"backbone": NETWORK, "backbone_weights": "random", "view": "fast"}
    number = store.connect_project(
        "http://127.0.0.1:9", 7, label_config=CONFIG, queue_project=7, layers={"extra parameters": layers}
    )
    for _ in take_in(store, store.add_source(number, str(folder), {}), server.data_dir):
        pass
    yield context, partial(State, store, number)
    context.stop_embedding()
    store.close()


def test_the_step_goes_over_to_processes_and_ends_them_when_all_is_embedded(project, folder, monkeypatch):
    context, state = project
    monkeypatch.setattr(embedding_processes, "MANY", 20)
    monkeypatch.setattr(embedding_processes, "processes_for", lambda device: [device])
    monkeypatch.setattr(embedding_processes, "FAST", 0)
    monkeypatch.setattr("cdsel_backend.reconcile.embedding.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("cdsel_backend.reconcile.embedding.SAMPLE", 8)
    monkeypatch.setattr(embedding_processes, "SAMPLE", 8)
    monkeypatch.setattr("cdsel_backend.reconcile.embedding.MOST_IMAGES", 60)
    assert embed(context, state())
    backbone = state().project.backbone
    processes = context.embedding[backbone]
    wait_until(lambda: all(process.ready for process in processes._processes))
    monkeypatch.setattr("cdsel_backend.reconcile.embedding.MOST_IMAGES", 100_000)
    before = context.store.embedding_progress(state().project.id)[0]
    assert before < IMAGES - 50
    monkeypatch.setattr(EmbeddingStream, "__init__", None)  # from here on no image is embedded here
    assert embed(context, state())
    embedded, unusable, total = context.store.embedding_progress(state().project.id)
    assert (embedded + unusable, unusable) == (total, 1)
    alive = [process._process for process in processes._processes]
    assert all(process.is_alive() for process in alive)
    while embed(context, state()):  # two of one content may have come to two processes
        pass
    assert not context.embedding
    vars(context.backbone(state().settings))["decoder"] = decoder = SimpleNamespace(
        problems=["cuda:1 is lost"]
    )
    embed(context, state())
    assert [problem.message for problem in state().problems] == ["cuda:1 is lost"]
    decoder.problems.clear()
    embed(context, state())
    assert not state().problems
    wait_until(lambda: not any(process.is_alive() for process in alive))
    rows = [row for row in state().items if row.problem is None][::20]
    ids, positions = context.store.positions(state().project.id, backbone, [row.id for row in rows])
    kept = dict(zip(ids.tolist(), context.store.vectors_kept.rows(backbone, positions), strict=True))
    items = ((row.id, partial((folder / Path(row.image).name).read_bytes)) for row in rows)
    monkeypatch.undo()
    for item in embed_images(context.backbone(state().settings), items):
        np.testing.assert_allclose(kept[item.key], item.vector, rtol=2e-3, atol=2e-3)


def test_a_cpu_is_kept_busy_by_one_process():
    assert processes_for(torch.device("cpu")) == []


def test_each_gpu_has_a_process_however_few_the_cores(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cores, counts = {4: 0, 8: 4, 16: 4, 24: 6, 48: 12, 96: 12}, {}
    for number in cores:
        monkeypatch.setattr("cdsel_backend.pool.processes.CORES", number)
        gpus = processes_for(torch.device("cuda"))
        counts[number] = len(gpus)
        assert not gpus or {gpu.index for gpu in gpus} == {0, 1, 2, 3}
        assert {gpu.index for gpu in processes_for(torch.device("cuda", 2))} <= {2}
    assert counts == cores


def test_a_process_whose_gpu_is_lost_ends_and_says_so(processes, folder):
    (folder / "lost").touch()
    left, rounds = set(range(20, IMAGES)), 0
    while left and rounds < 3:
        stream = processes.stream(partial(opened, folder), iter(sorted(left)), ahead=10_000)
        found = Counter(item.key for item in taken(stream))
        assert set(found.values()) == {1}
        left -= found.keys()
        rounds += 1
    assert not left, "the others embed what it had"
    wait_until(lambda: processes.problems)
    [problem] = processes.problems
    assert "embedded again: cuda:1 embeds no more" in problem


def test_of_a_process_that_is_killed_only_its_own_images_are_left(processes, folder, monkeypatch):
    """The last test: it ends all."""
    victim, other = (process._process for process in processes._processes if process.alive)
    stream = processes.stream(partial(opened, folder), iter(range(20, IMAGES)), ahead=10_000)
    found = stream.next_batch(PATIENCE)
    os.kill(victim.pid, signal.SIGKILL)
    found += taken(stream)
    counted = Counter(item.key for item in found)
    assert set(counted.values()) == {1}
    left = sorted(set(range(20, IMAGES)) - counted.keys())
    again = list(taken(processes.stream(partial(opened, folder), left, ahead=10_000)))
    assert sorted(item.key for item in again) == left
    os.kill(other.pid, signal.SIGSTOP)  # as one whose GPU does not answer
    monkeypatch.setattr("cdsel_backend.pool.processes.HANGS_AFTER", 1.0)
    monkeypatch.setattr("cdsel_backend.pool.processes.LOOK_SECONDS", 0.1)
    assert list(taken(processes.stream(partial(opened, folder), left, ahead=10_000))) == []
    wait_until(lambda: not processes.alive and len(processes.problems) == 3)
    assert "SIGKILL, as where memory runs out" in " ".join(processes.problems)
    assert "gave nothing for" in " ".join(processes.problems)
    assert processes.stream(partial(opened, folder), left, ahead=10_000) is None


CRASHING = """
import signal
from PIL import Image
opened = Image.open
def crash(file, *arguments, **options):
    if b"crash" in file.getvalue():
        signal.raise_signal(signal.SIGSEGV)  # in this thread, as a decoder crashes; another could go on a little
    return opened(file, *arguments, **options)
Image.open = crash
"""
PREPARING = """
import json, sys
from pathlib import Path
import numpy as np
from cdsel_backend.pool.decode_journal import keep_journal
from cdsel_backend.pool.prepare import Preparation
folder = Path(sys.argv[1])
keep_journal(folder / "data")
prepare = Preparation(np.asarray, known=lambda _: (), once=True, max_pixels=10**6, decoder=None)
found = {}
for path in sorted(folder.glob("*.jpg")):
    ((item, _),), _ = prepare([(path.name, path.read_bytes)])
    found[path.name] = item.error
print(json.dumps(found))
"""


SHOWING = """
import subprocess, sys
from pathlib import Path
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.server.pages.thumbnails import Thumbnails
from cdsel_backend.settings import ServerSettings
folder = Path(sys.argv[1])
Thumbnails._read = lambda self, state, item: item
thumbnails = Thumbnails(ServerSettings(data_dir=folder / "data"))
for name in ("1.jpg", "2.jpg"):
    if name == "2.jpg":  # another process dies of it meanwhile
        print(subprocess.run([sys.executable, "-c", *sys.argv[2:0:-1]]).returncode)
    data = (folder / name).read_bytes()
    for make in (lambda: thumbnails._picture(None, data), lambda: thumbnails._make(None, data, folder / "data/kept")):
        try:
            make()
            print(name, "shown")
        except UnreadableImage as fault:
            print(name, fault)
"""
TUNING = """
import sys
from pathlib import Path
from types import SimpleNamespace as Some
import numpy as np
from cdsel_backend.pool.decode_journal import keep_journal
from cdsel_backend.reconcile import tuning
folder = Path(sys.argv[1])
keep_journal(folder / "data")
tuning.ProjectPool = lambda studio, state: Some(read=lambda name: (folder / name).read_bytes())
tuning.source_item = lambda row: row.id
flat = lambda pixels: pixels.reshape(len(pixels), -1)
network = Some(batch=1, parallel=1, prepare=np.asarray, embed_prepared=flat)
context = Some(studio=None, server=Some(max_image_pixels=10**6))
rows = [Some(id=path.name) for path in sorted(folder.glob("*.jpg"))]
print(*(name for name, _, _ in tuning._embed(context, Some(project=Some(pool_project=7)), network, rows)))
"""


def test_a_file_that_ends_its_process_is_refused_by_the_next_one_and_the_others_go_on(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    for name, more in (("1.jpg", b""), ("2.jpg", b"crash"), ("3.jpg", b"")):
        (tmp_path / name).write_bytes(drawn_jpeg(int(name[0])) + more)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    scripts = [SHOWING, TUNING], [TUNING], [PREPARING]
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), *more],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for script, *more in scripts
    ]
    assert [run.returncode for run in runs] == [0, 0, 0], (runs[0].stdout, runs[0].stderr)
    # A fine-tune, which dies of it here, decodes, too, and so do the pages.
    shown = runs[0].stdout.splitlines()
    assert shown[:3] == ["1.jpg shown", "1.jpg shown", str(-signal.SIGSEGV)]
    assert all("decoding it ends the process (SIGSEGV)" in line for line in shown[3:])
    assert len(shown) == 5
    assert runs[1].stdout.split() == ["1.jpg", "3.jpg"]
    assert (
        "1 image cannot be read for the fine-tuned network, such as item 2.jpg: decoding it" in runs[1].stderr
    )
    found = json.loads(runs[2].stdout)
    assert (found["1.jpg"], found["3.jpg"]) == (None, None)
    assert "decoding it ends the process (SIGSEGV)" in found["2.jpg"]


def test_a_file_that_ends_a_process_is_refused_on_a_full_disk_too(tmp_path, monkeypatch):
    journal = DecodeJournal(tmp_path)
    (tmp_path / CRASHED).mkdir()  # nothing can be written there
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -signal.SIGSEGV))
    for _ in range(2):
        with pytest.raises(UnreadableImage, match="decoding it ends the process"):
            journal.try_apart("a" * 64, b"", max_pixels=1)


def test_a_journal_belongs_to_a_living_process_from_its_first_moment_on(tmp_path, monkeypatch):
    other, lock, looks = DecodeJournal(tmp_path), fcntl.flock, [1]

    def late(file, how):
        if looks:
            looks.clear()
            other.collect()  # as another process does at each image
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    own = DecodeJournal(tmp_path)
    assert own._own.exists()
    with own.decoding(["a" * 64]):
        other.collect()
    assert not other.suspects("a" * 64)

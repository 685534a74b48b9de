"""The demo from end to end: start, import, connect, then label by script or wait for a human."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from typing_extensions import Self

from cdsel_backend.demo.annotator import Annotator
from cdsel_backend.demo.backend import LocalBackend
from cdsel_backend.demo.images import LabelledImages, label_config, read_images
from cdsel_backend.demo.live import SAMPLE_SIZE, Demo, DemoFailed, Options, confounding, progress_bar
from cdsel_backend.demo.sample import GROUP_COLUMN, IMAGE_COLUMN, LABEL_COLUMN, draw_sample
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.phrases import number_of
from cdsel_backend.store.records import Json
from cdsel_backend.whole_file import write_whole


def run_demo(options: Options, console: Console) -> None:
    """Run a demo to its end: the last round when `auto`, Ctrl-C otherwise.

    Every process that it starts has ended when it comes back, however it does.

    Raises:
        UsageError, LabelStudioMissing, DidNotStart, DemoFailed, OutOfOrder, LabelStudioError: in words.
        FileExistsError: `data_dir` holds something already.
    """
    if options.data_dir is not None and options.data_dir.exists() and any(options.data_dir.iterdir()):
        raise FileExistsError(f"--data-dir: {options.data_dir} is not empty: name a new folder")
    images = _read_own(options) if options.metadata is not None else None
    home = (options.data_dir or Path(tempfile.mkdtemp(prefix="cdsel-demo-"))).resolve()
    try:
        started = time.monotonic()
        with ExitStack() as stack:
            demo = _start(options, images, home, stack, console)
            demo.started = started
            (_label_by_script if options.auto else _label_by_hand)(demo)
    finally:
        if options.data_dir is None:
            shutil.rmtree(home, ignore_errors=True)


def _read_own(options: Options) -> LabelledImages:
    assert options.metadata is not None
    return read_images(
        options.metadata,
        options.images or options.metadata.parent,
        image_column=options.image_column,
        label=options.label,
        group=options.group,
        ignore=options.ignore,
        limit=options.limit,
        seed=options.seed,
    )


class _Ended(Exception):
    """The demo ends while the sample pool is being drawn."""


class _Drawing:
    """The sample pool, drawn while the servers start: neither keeps two cores busy."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._ended = False
        self._so_far = (0, 0)
        self._painter = ThreadPoolExecutor(1, "drawing")
        self._drawn = self._painter.submit(_draw, options, folder, self._progress)

    def _progress(self, done: int, total: int) -> None:
        self._so_far = (done, total)
        if self._ended:
            raise _Ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._painter.shutdown()

    def result(self, console: Console) -> LabelledImages:
        """The pool, once it is drawn."""
        with progress_bar(console, "drawing the sample pool") as show:
            while True:
                try:
                    return self._drawn.result(timeout=0.1)
                except LateError:
                    if self._drawn.done():
                        raise
                    show("drawing the sample pool", *self._so_far)


def _draw(options: Options, folder: Path, progress: Callable[[int, int], None]) -> LabelledImages:
    table = draw_sample(folder, n=options.limit or SAMPLE_SIZE, seed=options.seed, progress=progress)
    return read_images(
        table,
        folder,
        image_column=IMAGE_COLUMN,
        label=LABEL_COLUMN,
        group=GROUP_COLUMN,
        limit=options.limit,
        seed=options.seed,
    )


def _start(
    options: Options, images: LabelledImages | None, home: Path, stack: ExitStack, console: Console
) -> Demo:
    """Start Label Studio and the backend, make the project, import the pool (drawn meanwhile if None), connect."""
    drawing = stack.enter_context(_Drawing(options, home / "pool")) if images is None else None
    studio = LocalStudio(
        home / "label-studio", document_root=home if images is None else images.folder.parent
    )
    with progress_bar(console, "starting Label Studio (the first start makes its database)"):
        stack.enter_context(studio)
    with progress_bar(console, "starting the backend"):
        backend = stack.enter_context(LocalBackend(studio, home / "backend"))
    client = LabelStudio(studio.url, studio.token)
    if images is None:
        assert drawing is not None
        images = drawing.result(console)
    with progress_bar(console, f"importing {number_of(len(images.files), 'task')}"):
        pool = client.create_project(
            "Skin lesions" if options.metadata is None else images.folder.name[:30],
            label_config(images.classes),
        )
        client.add_local_storage(pool, str(images.folder))
        task_ids = client.import_tasks(pool, images.tasks(studio.document_root))
    settings: dict[str, object] = {
        "budget": options.total,
        "round_size": options.round_size,
        "retrain_every": options.round_size,
        "seed": options.seed,
    }
    if options.auto:
        settings["refill_at"] = 0  # every round is measured once all of it is labelled
    if images.group:
        settings["group"] = images.group
    if options.ignore:
        settings["ignore"] = list(options.ignore)
    client.connect_backend(pool, backend.url, "cdsel", extra_params=json.dumps(settings))
    return Demo(options, images, studio, backend, client, console, pool, task_ids)


def _welcome(demo: Demo, status: Json) -> None:
    say, studio = demo.console.print, demo.studio
    unusable = f", {len(status['unusable'])} of them unusable" if status["unusable"] else ""
    say(f"pool: {number_of(status['items'], 'image')}{unusable}")
    for found in confounding(status):
        say(f"confounder     {found['sentence']}")
    say(f"Label Studio   {studio.url}")
    say(f"login          {studio.email}   password {studio.password}")
    say(f"queue project  {studio.url}/projects/{status['queue_project']}/data")
    say(f"pool project   {studio.url}/projects/{demo.pool_project}/data")
    say(f"dashboard      {demo.backend.url}/projects/{demo.pool_project}")
    ready = f"queue ready: {status['open']} of a budget of {status['budget']}"
    seconds = time.monotonic() - demo.started
    say(f"{ready} (after {seconds:.0f} s)", style="bold green")


def _label_by_script(demo: Demo) -> None:
    truth = dict(zip(demo.task_ids, demo.images.truth, strict=True))
    space = parse_label_space(label_config(demo.images.classes))
    annotator = Annotator(demo.client, space, truth)
    status: Json | None = None
    for number in range(1, demo.options.rounds + 1):
        if status is not None and not status["left"] and not status["open"]:
            demo.console.print(f"the budget of {status['budget']} is used up after round {number - 1}")
            break
        pushed = demo.wait_for_round(number)
        if pushed is None:
            demo.console.print(f"the pool is used up after round {number - 1}")
            break
        if number == 1:
            _welcome(demo, pushed)
        _label_round(demo, annotator, number, pushed)
        status = demo.wait_for_model(number)
        demo.close_round(number, status)
        given = len(annotator.ranks)
        if not given == status["labelled"] <= status["budget"]:
            raise DemoFailed(
                f"{number_of(given, 'label was', 'labels were')} given and the backend has {status['labelled']}; "
                f"the budget is {status['budget']}"
            )
    if status is None:
        raise DemoFailed("the backend selected nothing: the pool holds no usable image")
    plain = demo.compare(status)
    if demo.options.json_out is not None:
        text = json.dumps(demo.report(status, plain), indent=2)
        write_whole(demo.options.json_out, f"{text}\n".encode())


def _label_round(demo: Demo, annotator: Annotator, number: int, status: Json) -> None:
    words, total = f"labelling round {number}", int(status["budget"])
    with progress_bar(demo.console, words) as show:
        annotator.label_all(status["queue_project"], labelled=lambda rank: show(words, rank, total))


def _label_first(demo: Demo, status: Json) -> Json:
    """Label so many images by script as `--labels` says, and wait for their model."""
    wanted, words = demo.options.labels, "labelling by script"
    truth = dict(zip(demo.task_ids, demo.images.truth, strict=True))
    annotator = Annotator(demo.client, parse_label_space(label_config(demo.images.classes)), truth)
    with progress_bar(demo.console, words) as show:
        while (done := len(annotator.ranks)) < wanted:
            annotator.label_all(
                status["queue_project"],
                most=wanted - done,
                labelled=lambda _: show(words, len(annotator.ranks), wanted),
            )
            if len(annotator.ranks) < wanted:
                status = demo.wait_for_open()
                if not status["open"]:
                    break
    done = len(annotator.ranks)
    demo.console.print(f"{number_of(done, 'label is', 'labels are')} simulated, with the time that each took")
    return demo.wait_for_labels(done)


def _label_by_hand(demo: Demo) -> None:
    status = demo.wait_for_round(1)
    if status is None:
        raise DemoFailed("the backend selected nothing: the pool holds no usable image")
    if demo.options.labels:
        status = _label_first(demo, status)
    _welcome(demo, status)
    demo.console.print("Open the queue project, press Label All Tasks, and label. Ctrl-C ends the demo.")
    while True:
        time.sleep(2)
        demo.backend.check()
        status = demo.status() or status
        number = len(demo.rounds) + 1
        rows: Sequence[Json] = status["rounds"]
        if len(rows) >= number and rows[number - 1]["model_version"]:
            demo.close_round(number, status)
            if not status["left"] and not status["open"]:
                demo.console.print(
                    "the budget is used up: raise it under Settings > Model of the pool project"
                )
        elif len(rows) > number:  # the round brought no model
            demo.close_round(number, status)

"""What tests share: one real Label Studio a session, and small projects in it."""

from __future__ import annotations

import os

# Before numpy and torch are imported. Test processes share the cores: more BLAS threads than one each would spend their
# time waiting for one another, and a training of a second takes ten.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import csv
import functools
import gc
import io
import itertools
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from _pytest.fixtures import FuncFixtureInfo
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, sync_playwright
from postgres import postgres
from serving import running_app
from sqlalchemy import create_engine, text

from cdsel_backend.demo.sample import IMAGE_COLUMN, LABEL_COLUMN, METADATA, draw_sample
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store

if TYPE_CHECKING:
    from backend import Backend
    from filled import Filled

    from cdsel_backend.labelstudio.client import LabelStudio

LABEL_CONFIG = (Path(__file__).parents[1] / "label_config" / "single_choice.xml").read_text(encoding="utf-8")
NUMBER = itertools.count(1)
_LONG = """
adapt annotators backbones_command confounders demo depths doctor embedding_processes finetune insight intake kills
label_kinds labels_export leases listing loop machine model_export new_vectors operations outages outside_pool pages
pool postgres prefix presence presence_loop quality reconcile refill replaced round runtime sample serving simulate slow
studio training training_process verdicts versions workers
"""
LONG = frozenset(_LONG.split())
"""Files (`test_NAME.py`) whose tests train, embed, simulate or start programs: none of them is fast."""
NOT_FAST = ("slow", "long", "versions", "label_studio_ml")
"""Marks of tests that are not fast, wherever they stand."""
STUDIO, SECOND_STUDIO = "a Label Studio", "a second Label Studio"
"""Two processes share the tests with the session's Label Studio: together they take a third of the run."""
OF_THE_FIRST = (
    "books",
    "doctor",
    "loop",
    "lost_and_restored",
    "outside_pool",
    "presence_loop",
    "refill",
    "reused_numbers",
)  # half of their time
FILLED = "a filled project"
"""To fill the project that many tests look at takes a quarter of a minute: once is enough."""
TOGETHER = {"gallery_browser": FILLED, "pages_browser": FILLED}
LONGEST = (
    STUDIO,
    SECOND_STUDIO,
    "kills",
    FILLED,
    "demo",
    "training_process",
    "simulate",
    "confounders",
    "quality",
    "insight",
    "pages",
    "label_kinds",
    "finetune",
    "model_export",
    "reconcile",
    "embedding_processes",
    "depths",
    "annotators",
    "training",
    "verdicts",
    "presence",
    "runtime",
    "pool",
    "security_docker",
    "intake",
    "slow",
    "decode_gpu",
    "gallery",
    "backbones_command",
    "decode",
    "machine",
    "outages",
    "leases",
)
"""Groups that start first, or a process would begin the last of them when all others are done."""
SESSION_CLIENTS: list[LabelStudio] = []
"""One, once the session's Label Studio runs."""
SERVERS = {"studio", "new_postgresql", "chromium", "filled"}  # fixtures that start or train something large
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first that is found is used: without windows of its own Chromium takes a third of the time for a page."""
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
UNKNOWN = "/projects/99"
"""A page that answers 404."""
PICTURE = 1000  # pixels across a picture of the README


@dataclass(frozen=True)
class PoolProject:
    """A pool project in the session's Label Studio, with the truth its tasks do not hold."""

    id: int
    folder: Path
    """Where its images lie; `task.data["image"]` ends in the path below it."""
    task_ids: list[int]
    truth: dict[int, str]
    """Task id -> class."""
    unusable: list[int]
    """Tasks whose file is truncated or missing."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    yield store
    store.close()


@pytest.fixture(scope="session")
def new_postgresql() -> Iterator[Callable[[], str]]:
    """A function that makes an empty PostgreSQL database and returns its address."""
    with postgres() as port:
        server = f"postgresql+psycopg://postgres@127.0.0.1:{port}"
        engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")

        def make() -> str:
            name = f"fresh_{next(NUMBER)}"
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            return f"{server}/{name}"

        yield make
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, on either kind of server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.sqlite3'}"
    make: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return make()


@pytest.fixture(scope="session")
def studio() -> Iterator[LocalStudio]:
    """A running Label Studio. Local files may lie in folders of `studio.document_root`."""
    from cdsel_backend.labelstudio.client import LabelStudio

    with LocalStudio(legacy_token=True) as running:
        SESSION_CLIENTS.append(LabelStudio(running.url, running.token))
        yield running
        SESSION_CLIENTS.clear()


@pytest.fixture(scope="session")
def browser(studio: LocalStudio) -> Iterator[httpx.Client]:
    """A client logged in to `studio` as a browser is."""
    with studio.session() as client:
        yield client


@pytest.fixture(scope="session")
def client(studio: LocalStudio) -> LabelStudio:
    """`studio` as the loop asks it."""
    from cdsel_backend.labelstudio.client import LabelStudio

    return LabelStudio(studio.url, studio.token)


@pytest.fixture(scope="module", autouse=True)
def no_projects_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delete what a file's tests left in the session's Label Studio: backends would go on asking for it, and list it
    all in search of a queue that was lost."""
    yield
    if any("studio" in servers_of(item) for item in request.session.items if item.path == request.path):
        for client in SESSION_CLIENTS:
            for project in list(client.projects()):
                client.request("DELETE", f"/api/projects/{project['id']}/")


@pytest.fixture(scope="session")
def backend(studio: LocalStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A running `cdsel serve` on `studio`, for all tests that neither end it nor set it up in their own way."""
    from backend import Backend

    with Backend(tmp_path_factory.mktemp("backend"), studio.url, studio.token) as running:
        yield running


def pytest_configure() -> None:
    # A test run that is told to end (a time limit, a cancelled job) tears its servers down as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell has what it starts in the background ignore Ctrl-C, and so would the programs that tests end so.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Three more processes than cores: those that wait for a server leave their core to the others."""
    return (os.cpu_count() or 1) + 3


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import, for the fast tests, the files that have none: half of the time would be their imports."""
    long = collection_path.stem.removeprefix("test_") in LONG
    return True if long and config.getoption("markexpr") == "fast" else None


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks, and pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` what needs no server, no browser and little time; say what has to run in one process.

    With several workers the tests on a Label Studio run in two of them, and every other file in one: its fixtures are
    made once.
    """
    order = {}
    for item in items:
        used, name = servers_of(item), item.path.stem.removeprefix("test_")
        if not used and name not in LONG and not any(map(item.get_closest_marker, NOT_FAST)):
            item.add_marker("fast")
        group = TOGETHER.get(name, name)
        if "studio" in used:
            group = STUDIO if name in OF_THE_FIRST else SECOND_STUDIO
        elif "filled" in used:
            group = FILLED
        item.add_marker(pytest.mark.xdist_group(group))
        order[item] = LONGEST.index(group) if group in LONGEST else len(LONGEST)
    items.sort(key=order.__getitem__)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what the imports made: it would look at a million objects every few tests."""
    gc.collect()
    gc.freeze()


def servers_of(item: pytest.Item) -> set[str]:
    """The fixtures of `SERVERS` that a test uses."""
    info: FuncFixtureInfo | None = getattr(item, "_fixtureinfo", None)
    fixtures = info.name2fixturedefs if info is not None else {}
    # Some tests have a small server of their own by the same name.
    used = {name for name in SERVERS & fixtures.keys() if fixtures[name][-1].func.__module__ == __name__}
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return used | ({"new_postgresql"} if parameters.get("database_url") == "postgresql" else set())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="write the README's pictures into this folder (-m pictures)")
    parser.addoption(
        "--label-studio",
        help="releases of Label Studio to run the loop on (-m versions), with commas; by default those of the README",
    )
    parser.addoption(
        "--label-studio-ml",
        help="what pip takes for label-studio-ml 2.x, such as a folder (-m label_studio_ml); by default its repository",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What -m versions found: a line for each release."""
    reports = [report for group in ("passed", "failed") for report in terminalreporter.getreports(group)]
    lines = [text for report in reports for name, text in report.user_properties if name == "release"]
    if lines:
        terminalreporter.section("Label Studio")
    for line in lines:
        terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def picture(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that keeps a page, or the part `clip` (left, top, right, bottom) of it, as a picture of the README."""
    named: str | None = request.config.getoption("--pictures")
    folder = Path(named) if named else None

    def keep(page: Page, name: str, clip: tuple[int, int, int, int] | None = None) -> None:
        if folder is None:
            return
        taken = Image.open(io.BytesIO(page.screenshot(full_page=clip is not None, animations="disabled")))
        taken = taken.crop(clip) if clip else taken
        small = taken.convert("RGB").resize((PICTURE, round(taken.height * PICTURE / taken.width)))
        small.save(folder / f"{name}.webp", quality=78, method=6)

    return keep


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real browser; tests that look at pages are skipped where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no chromium on this machine: pages are not looked at")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-quic", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the pages go: the folder that CDSEL_SCREENSHOTS names, or pytest's own."""
    named = os.environ.get("CDSEL_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def served(server: ServerSettings, store: Store) -> AbstractContextManager[str]:
    """The pages of a store, and where they are."""
    return running_app(create_app(server, store))


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A project in the middle of its life, for all tests that only look at it."""
    from filled import fill, images_served  # brings torch, which few tests need

    folder = tmp_path_factory.mktemp("filled")
    with images_served(folder / "images") as images:
        yield fill(folder / "data", images, folder / "images")


@pytest.fixture(scope="session")
def address(filled: Filled) -> Iterator[str]:
    """Where the pages of `filled` are."""
    with served(filled.server, filled.store) as address:
        yield address


@pytest.fixture
def serve() -> Iterator[Callable[[ServerSettings, Store], str]]:
    """A function that serves a store's pages until the test's tabs are closed: an open page asks for news."""
    with contextlib.ExitStack() as servers:
        yield lambda server, store: servers.enter_context(served(server, store))


@pytest.fixture
def tab(chromium: Browser, serve: object) -> Iterator[Callable[..., Page]]:
    """A function that opens a tab; whatever the pages complain of in the console fails the test.

    The tabs are closed before what `serve` serves.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_tab(viewport: ViewportSize = DESKTOP, **options: Any) -> Page:
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: complaints.append(said.text) if _is_complaint(said) else None,
        )
        page.on("pageerror", lambda fault: complaints.append(str(fault)))
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(said: ConsoleMessage) -> bool:
    address = said.location["url"]
    meant = ("status of 404" in said.text and address.endswith(UNKNOWN)) or (
        "status of 401" in said.text and address.endswith("/login")
    )
    # On a machine that is busy a thumbnail comes at the second try.
    meant |= "status of 503" in said.text and "/thumbnails/" in address
    return said.type in ("error", "warning") and not meant


@pytest.fixture
def pool_project(studio: LocalStudio, browser: httpx.Client) -> Iterator[PoolProject]:
    """A new pool project of 40 drawn images (one truncated, one missing), with its local storage."""
    made = make_pool(studio, browser)
    yield made
    browser.delete(f"/api/projects/{made.id}")


@functools.cache
def drawn_pool() -> tempfile.TemporaryDirectory[str]:
    """The images of all pool projects: to draw them takes two seconds."""
    folder = tempfile.TemporaryDirectory(prefix="cdsel-drawn-")
    draw_sample(Path(folder.name), n=40, seed=0)
    return folder


def make_pool(studio: LocalStudio, browser: httpx.Client) -> PoolProject:
    """The pool project of `pool_project`, in any Label Studio; `browser` is logged in to it."""
    number = next(NUMBER)
    folder = studio.document_root / f"pool-{number}"
    shutil.copytree(drawn_pool().name, folder)
    with (folder / METADATA).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    project = _post(
        browser,
        "/api/projects",
        {"title": f"Pool {number}", "label_config": LABEL_CONFIG, "maximum_annotations": 1},
    )["id"]
    storage = {"project": project, "path": str(folder), "use_blob_urls": True}
    _post(browser, "/api/storages/localfiles", storage)
    tasks = [
        {"image": f"/data/local-files/?d={folder.name}/{row[IMAGE_COLUMN]}"}
        | {name: value for name, value in row.items() if name not in (IMAGE_COLUMN, LABEL_COLUMN)}
        for row in rows
    ]
    ids = _post(browser, f"/api/projects/{project}/import?return_task_ids=true", tasks)["task_ids"]
    truth = {task: row[LABEL_COLUMN] for task, row in zip(ids, rows, strict=True)}
    unusable = [task for task, row in zip(ids, rows, strict=True) if not _whole(folder / row[IMAGE_COLUMN])]
    return PoolProject(project, folder, ids, truth, unusable)


def _post(client: httpx.Client, path: str, content: object) -> dict:
    reply = client.post(path, json=content)
    assert reply.status_code in (200, 201), f"{path} answered {reply.status_code}: {reply.text[:500]}"
    return reply.json()


def _whole(path: Path) -> bool:
    return path.exists() and path.read_bytes().endswith(b"\xff\xd9")  # the JPEG end marker
